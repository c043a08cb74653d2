-- Rows go straight into plain tables; wherever a table is more than that, through SQL, with the same outcome.
SELECT count(cdp.define_trait('orders', 'events.order.count')), count(cdp.define_segment('buyers', 'orders >= 2'));
CREATE VIEW outcome AS
    SELECT p.user_id, (SELECT count(*) FROM cdp.events AS e WHERE e.user_id = p.user_id) AS events,
           cdp.trait(p.user_id, 'orders') AS orders, cdp.in_segment(p.user_id, 'buyers') AS buyer
    FROM (VALUES ('ann'), ('ben')) AS p (user_id);

-- Ids that are taken, in the middle of a batch and within it: what comes before and after them is written.
SELECT message_id, status FROM cdp.ingest('[{"userId": "ann", "event": "order", "messageId": "b"}]'::text);
SELECT message_id, status FROM cdp.ingest('[{"userId": "ann", "event": "order", "messageId": "a"}, {"userId": "ben", "event": "order", "messageId": "b"},
    {"userId": "ben", "event": "order", "messageId": "c"}, {"userId": "ben", "event": "order", "messageId": "c"}, {"userId": "ben", "event": "order", "messageId": "d"}]'::text);
TABLE outcome;
SELECT count(*) AS ids, count(DISTINCT message_hash) AS different FROM _cdp.message_ids;

-- Indexes are kept, those with expressions and predicates as well; so are checks.
SELECT format('_cdp.events_%s', to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')) AS partition \gset
CREATE INDEX by_page ON :partition ((properties ->> 'path')) WHERE user_id = 'ann';
CREATE INDEX by_count ON _cdp.profiles (event_count);
SELECT status FROM cdp.track('ann', 'order', '{"path": "/cart"}');
SET enable_seqscan = off;
SELECT properties FROM :partition WHERE user_id = 'ann' AND properties ->> 'path' = '/cart';
SELECT event_count FROM _cdp.profiles WHERE event_count = 3;
RESET enable_seqscan;
ALTER TABLE :partition ADD CONSTRAINT no_test_users CHECK (user_id NOT LIKE 'test%');
\set VERBOSITY sqlstate
SELECT status FROM cdp.track('test_1', 'order');
\set VERBOSITY default

-- Triggers of somebody else fire.
CREATE TABLE noted (what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.noted VALUES (TG_OP || ' ' || regexp_replace(TG_RELNAME, '[0-9_]+$', '')); RETURN NULL; END $$;
CREATE TRIGGER note AFTER INSERT ON :partition FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER note AFTER UPDATE ON _cdp.profiles FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER note AFTER INSERT ON _cdp.message_ids FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER note AFTER INSERT ON _cdp.history FOR EACH ROW EXECUTE FUNCTION note();
SELECT status FROM cdp.ingest('[{"userId": "ben", "event": "order"}, {"userId": "cat", "event": "order"}, {"userId": "cat", "event": "order"}]'::text);
SELECT what, count(*) FROM noted GROUP BY what ORDER BY what;
TABLE outcome;
