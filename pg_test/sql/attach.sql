-- Application tables whose rows become messages.
SET cdp.clock = '2026-03-31 12:00:00+00';
SET timezone = 'UTC';
CREATE VIEW taken AS
    SELECT type, event, user_id, "timestamp", COALESCE(properties, '{}') || COALESCE(traits, '{}') AS content,
        CASE WHEN message_id LIKE 'public.%' THEN message_id ELSE 'made here' END AS message_id
    FROM cdp.events ORDER BY "timestamp", message_id, user_id;

-- Columns and SQL; what was there; a filter; another namespace is another matter.
CREATE TABLE "Order Lines" ("Id" bigint, line int, customer text, cents int, status text, ordered timestamp, note text, PRIMARY KEY ("Id", line));
INSERT INTO "Order Lines" VALUES (1, 1, 'ada', 1000, 'paid', '2026-03-01 10:00', 'a'), (1, 2, 'ada', 500, 'open', '2026-03-02', NULL);
SELECT (cdp.attach('"Order Lines"', 'Bought', 'customer', 'ordered', ARRAY['Id', 'cents / 100.0 AS "the amount"', 'note'],
    filter => 'status = ''paid'' -- not the open ones', backfill => true, "on" => '{insert,update}')).source;
SELECT namespace, source, event, user_id, "timestamp", properties, filter, "on" FROM cdp.attachments;
SELECT * FROM taken;
-- Again, and nothing twice.
SELECT (cdp.attach('"Order Lines"', 'Bought', 'customer', 'ordered', ARRAY['Id', 'cents / 100.0 AS "the amount"', 'note'],
    filter => 'status = ''paid''', backfill => true, "on" => '{insert,update}')).source;
SELECT count(*) FROM cdp.events;
SELECT count(*) FROM cdp.attachments;

-- INSERT, COPY, upsert, and updates: those that matter.
INSERT INTO "Order Lines" VALUES (2, 1, 'bob', 200, 'paid', '2026-03-03', NULL), (2, 2, 'bob', 300, 'open', '2026-03-04', NULL);
COPY "Order Lines" FROM STDIN;
3	1	cy	999	paid	2026-03-05	copied
\.
UPDATE "Order Lines" SET status = 'paid' WHERE line = 2;
UPDATE "Order Lines" SET status = 'paid';
UPDATE "Order Lines" SET cents = 250 WHERE "Id" = 2 AND line = 1;
UPDATE "Order Lines" SET ordered = '2026-03-30' WHERE "Id" = 2 AND line = 1;
INSERT INTO "Order Lines" VALUES (3, 1, 'cy', 999, 'paid', '2026-03-05', 'other'), (4, 1, 'dan', 1, 'paid', '2026-03-06', NULL)
    ON CONFLICT ("Id", line) DO UPDATE SET note = excluded.note;
SELECT * FROM taken;

-- The application's transaction decides.
BEGIN;
INSERT INTO "Order Lines" VALUES (5, 1, 'eve', 1, 'paid', '2026-03-07', NULL);
SELECT count(*) FROM cdp.events WHERE user_id = 'eve';
ROLLBACK;
BEGIN;
SAVEPOINT a;
INSERT INTO "Order Lines" VALUES (6, 1, 'eve', 1, 'paid', '2026-03-07', NULL);
ROLLBACK TO a;
INSERT INTO "Order Lines" VALUES (7, 1, 'eve', 1, 'paid', '2026-03-07', NULL);
COMMIT;
SELECT message_id FROM taken WHERE user_id = 'eve';

-- Identify messages: all columns, or some; null removes a trait.
CREATE TABLE customers (id text PRIMARY KEY, email text, plan text, seats int);
SELECT (cdp.attach('customers', NULL, 'id', traits => ARRAY['email', 'plan', 'seats * 2 AS shoes'], "on" => '{insert,update}')).traits;
INSERT INTO customers VALUES ('ada', 'ada@example.com', 'free', 2);
UPDATE customers SET plan = NULL, seats = 3;
SELECT traits FROM cdp.profile('ada@example.com');

-- Both from one row; the namespace is that of the attachment, whatever the session's.
SELECT (cdp.define_namespace('acme')).name;
CREATE TABLE signups (id int PRIMARY KEY, visitor uuid, who text, plan text);
SELECT (cdp.attach('signups', 'Signed Up', 'who', properties => '{plan}', traits => '{plan}', namespace => 'acme', anonymous_id => 'visitor')).namespace;
INSERT INTO signups VALUES (1, '6f0d2c7e-0000-4000-8000-000000000001', NULL, 'pro'), (2, '6f0d2c7e-0000-4000-8000-000000000001', 'fay', 'team');
SELECT type, event, user_id, anonymous_id, message_id FROM cdp.events WHERE namespace = 'acme' ORDER BY message_id;
SELECT identifiers, traits FROM cdp.profile('fay', namespace => 'acme');
SELECT cdp.resolve('fay');

-- Bad rows: the statement goes through, the row waits in quarantine, the others are taken.
CREATE TABLE payments (id int PRIMARY KEY, who text, cents int, parts int);
SELECT (cdp.attach('payments', 'Paid', 'who', properties => ARRAY['cents / parts AS part'])).event;
INSERT INTO payments SELECT n, nullif('p' || n % 5, 'p3'), 100, nullif(n, 7) * (n % 4) FROM generate_series(1, 12) AS n;
SELECT count(*) FROM payments;
SELECT user_id, properties FROM cdp.events WHERE event = 'Paid' ORDER BY message_id;
SELECT code, reason, original::jsonb - 'timestamp' AS original FROM cdp.quarantine ORDER BY code, (original::jsonb->>'id')::int;
SET cdp.attach_raises = on;
INSERT INTO payments VALUES (20, 'p1', 100, 0);
INSERT INTO payments VALUES (21, NULL, 100, 1);
INSERT INTO payments VALUES (22, 'p9', 100, 1);
RESET cdp.attach_raises;
SELECT count(*) FROM payments;
-- A column that an attachment reads goes: the application does not notice.
ALTER TABLE payments RENAME COLUMN cents TO amount;
INSERT INTO payments VALUES (23, 'p9', 100, 1);
SELECT code, reason FROM cdp.quarantine WHERE reason LIKE '%column%';

-- No primary key: it works, and says what it means.
CREATE TABLE clicks (who text, at bigint);
INSERT INTO clicks VALUES ('gus', 1772359200);
SELECT (cdp.attach('clicks', 'Clicked', 'who', 'at', '{}', backfill => true)).event;
INSERT INTO clicks VALUES ('gus', 1772359200000);
SELECT "timestamp", content, message_id FROM taken WHERE event = 'Clicked';

-- Partitioned tables.
CREATE TABLE visits (id int, at date, who text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE visits_2026 PARTITION OF visits FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
SELECT (cdp.attach('visits', 'Visited', 'who', 'at', '{}')).event;
INSERT INTO visits VALUES (1, '2026-03-31', 'hal');
SELECT "timestamp", content, message_id FROM taken WHERE event = 'Visited';

-- Who inserts needs no rights in cdp; who attaches must own the table.
CREATE ROLE attach_shop;
CREATE ROLE attach_other;
GRANT cdp_admin TO attach_shop, attach_other;
CREATE ROLE attach_clerk;
CREATE SCHEMA shop AUTHORIZATION attach_shop;
GRANT USAGE ON SCHEMA shop TO attach_clerk, attach_other;
SET ROLE attach_shop;
CREATE FUNCTION shop.says_who() RETURNS text LANGUAGE sql AS 'SELECT current_user::text';
CREATE TABLE shop.tickets (id int PRIMARY KEY, who text);
GRANT INSERT ON shop.tickets TO attach_clerk;
SELECT (cdp.attach('shop.tickets', 'Ticket', 'who', properties => ARRAY['shop.says_who() AS role'])).source;
SET ROLE attach_other;
SELECT cdp.attach('shop.tickets', 'Ticket', 'who');
SELECT cdp.detach('shop.tickets');
SET ROLE attach_clerk;
INSERT INTO shop.tickets VALUES (1, 'ida');
SELECT _cdp.attached_insert();
RESET ROLE;
SELECT content, message_id FROM taken WHERE event = 'Ticket';

-- What cannot be attached.
\set VERBOSITY verbose
\set SHOW_CONTEXT never
SELECT cdp.attach('payments', 'Paid', 'wo');
SELECT cdp.attach('payments', 'Paid', 'who', filter => 'amount');
SELECT cdp.attach('payments', 'Paid', 'who', properties => '{amuont}');
SELECT cdp.attach('payments', ' ', 'who');
SELECT cdp.attach('payments', 'Paid', NULL);
SELECT cdp.attach('payments', NULL, 'who', properties => '{amount}');
SELECT cdp.attach('payments', 'Paid', 'who', "on" => '{delete}');
SELECT cdp.attach('clicks', 'Clicked', 'who', "on" => '{update}');
SELECT cdp.attach('taken', 'Taken', 'user_id');
SELECT cdp.attach('_cdp.profiles', 'Taken', 'user_id');
SELECT cdp.attach('payments', 'Paid', 'who', namespace => 'acne');
\set VERBOSITY default

-- One event, or all.
SELECT (cdp.attach('customers', 'Customer Made', 'id')).event;
SELECT cdp.detach('customers', 'Nothing'), cdp.detach('customers', 'Customer Made'), cdp.detach('customers'), cdp.detach('customers');
SELECT cdp.detach('payments');
INSERT INTO payments VALUES (30, 'p9', 100, 1);
SELECT count(*) FROM cdp.events WHERE event = 'Paid';
DROP TABLE clicks;
SELECT source, event FROM cdp.attachments WHERE namespace = 'default' ORDER BY source::text;
DROP SCHEMA shop CASCADE;
DROP OWNED BY attach_shop, attach_other, attach_clerk;
DROP ROLE attach_shop, attach_other, attach_clerk;
