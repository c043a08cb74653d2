-- Compares what cdp says with plain SQL over the raw purchases, for every customer, as of cdp.now(); with what the
-- webhooks said, too. Fails if anything differs. Run from the root of the checkout, with the receiver's log as input:
--   psql -f examples/cdnow/check.sql <webhooks.log
\set ON_ERROR_STOP on
SET client_min_messages = warning;
\ir unpack.sql
CREATE TEMP TABLE log (number bigint GENERATED ALWAYS AS IDENTITY, line jsonb);
-- A JSON line is one CSV field once quotes and separators are characters that JSON cannot hold.
\copy log (line) FROM pstdin WITH (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02')

-- Windows hold what happened from exactly 90 times 24 hours ago until now.
CREATE TEMP TABLE expected AS
SELECT customer, ltv, orders_90d, last_order_days, power_buyer, power_buyer AS vip,
    ltv >= 250 AND last_order_days >= 60 AND last_order_days < 180 AS lapsing
FROM (
    SELECT customer, sum(cents) / 100 AS ltv,
        count(*) FILTER (WHERE at BETWEEN cdp.now() - interval '2160 hours' AND cdp.now()) AS orders_90d,
        extract(epoch FROM cdp.now() - max(at)) / 86400 AS last_order_days
    FROM purchases GROUP BY customer
) AS totals
CROSS JOIN LATERAL (SELECT orders_90d >= 3 AND ltv >= 250 AS power_buyer) AS power;

CREATE TEMP TABLE actual AS
SELECT i.value AS customer, t.key, t.value
FROM cdp.user_traits AS t
JOIN cdp.identifiers AS i ON i.profile_id = t.profile_id AND i.kind = 'user_id';

-- A receiver that only follows the webhooks: the last one about somebody and a segment counts.
CREATE TEMP TABLE followed AS
SELECT DISTINCT ON (customer, segment) customer, segment, event
FROM (
    SELECT number, line #>> '{body,userId}' AS customer, line #>> '{body,properties,segment}' AS segment, line #>> '{body,event}' AS event
    FROM log
) AS webhooks
ORDER BY customer, segment, number DESC;

CREATE TEMP TABLE comparison AS
SELECT 1 AS number, 'purchases' AS what, (SELECT count(*) FROM cdp.events WHERE type = 'track' AND event = 'Order Completed') AS in_cdp,
    (SELECT count(*) FROM purchases) AS in_plain_sql,
    (SELECT count(*) FROM (SELECT * FROM cdp.events WHERE type = 'track') AS e
        FULL JOIN purchases AS p ON e.message_id = format('cdnow-%s-%s', p.customer, p.number)
     WHERE (e.event, e.user_id, e."timestamp", (e.properties ->> 'amount')::numeric * 100)
         IS DISTINCT FROM ('Order Completed', p.customer, p.at, p.cents)) AS different
UNION ALL
SELECT 2, 'people', (SELECT count(*) FROM cdp.people), (SELECT count(*) FROM expected),
    (SELECT count(*) FROM cdp.people AS a FULL JOIN expected AS e ON a.user_ids = ARRAY[e.customer] WHERE a.user_ids IS NULL OR e.customer IS NULL)
UNION ALL
SELECT 3, 'trait ' || key, (SELECT count(*) FROM actual AS a WHERE a.key = keys.key), (SELECT count(*) FROM expected),
    (SELECT count(*) FROM (SELECT * FROM actual WHERE actual.key = keys.key) AS a FULL JOIN expected AS e USING (customer)
     WHERE a.value IS DISTINCT FROM to_jsonb(e) -> keys.key)
FROM unnest(ARRAY['ltv', 'orders_90d', 'last_order_days', 'power_buyer']) AS keys (key)
UNION ALL
SELECT 4, 'segment ' || key, (SELECT count(*) FROM cdp.members(key)), (SELECT count(*) FROM expected AS e WHERE (to_jsonb(e) ->> key)::boolean),
    (SELECT count(*) FROM cdp.members(key) AS m FULL JOIN (SELECT * FROM expected AS e WHERE (to_jsonb(e) ->> key)::boolean) AS e
        ON m.user_id = e.customer WHERE m.user_id IS NULL OR e.customer IS NULL)
FROM unnest(ARRAY['vip', 'lapsing']) AS keys (key)
UNION ALL
SELECT 5, 'webhooks about ' || key, (SELECT count(*) FROM followed WHERE segment = key AND event = 'Segment Entered'),
    (SELECT count(*) FROM expected AS e WHERE (to_jsonb(e) ->> key)::boolean),
    (SELECT count(*) FROM (SELECT * FROM followed WHERE segment = key AND event = 'Segment Entered') AS f
        FULL JOIN (SELECT * FROM expected AS e WHERE (to_jsonb(e) ->> key)::boolean) AS e USING (customer)
     WHERE f.customer IS NULL OR e.customer IS NULL)
FROM unnest(ARRAY['vip', 'lapsing']) AS keys (key);

SELECT what, in_cdp AS "in cdp", in_plain_sql AS "in plain SQL", different FROM comparison ORDER BY number, what;

DO $$
BEGIN
    IF EXISTS (SELECT FROM comparison WHERE different <> 0 OR in_cdp <> in_plain_sql) THEN
        RAISE EXCEPTION 'cdp and plain SQL differ';
    END IF;
END
$$;
