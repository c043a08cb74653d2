-- Traits: exact windows, at once for everybody, and as time passes.
SET cdp.clock = '2026-01-15 12:00:00+00';
INSERT INTO cdp.inbox (user_id, event, properties, "timestamp", message_id)
SELECT 'u' || (i % 3), 'Order Completed', jsonb_build_object('total', i * 1.1, 'category', (ARRAY['Books', 'Music'])[1 + i % 2]),
       '2026-01-15 12:00:00+00'::timestamptz - i * interval '1 day', 'o' || i
FROM generate_series(0, 20) AS i;
SELECT key, expression, result_type FROM cdp.define_trait('orders_7d', 'events."Order Completed".count_7d');
SELECT key, expression, result_type FROM cdp.define_trait('ltv', 'events.''Order Completed''.sum(total)');
SELECT key, expression, result_type FROM cdp.define_trait('books', 'events."Order Completed"[category=="Books"].count_2w', 'Orders of books');
SELECT key, expression, result_type FROM cdp.define_trait('average', 'ltv / events."Order Completed".count');
SELECT key, expression, result_type FROM cdp.define_trait('last_order_days', 'events."Order Completed".last_seen_days_ago');
SELECT key, expression, result_type FROM cdp.define_trait('is_active', 'last_seen_minutes_ago < 1440');
SELECT i.value AS id, t.key, t.value FROM cdp.identifiers AS i, cdp.traits(i.value) AS t ORDER BY 1, 2;
SELECT key, value FROM cdp.user_traits WHERE profile_id = cdp.resolve('u1') ORDER BY key;

-- The lower edge of a window is inside, one microsecond before it is not.
SELECT cdp.trait('u1', 'orders_7d') AS before;
SET cdp.clock = '2026-01-16 12:00:00+00';
SELECT cdp.trait('u1', 'orders_7d') AS at_the_edge, cdp.trait('u0', 'is_active') AS active;
SET cdp.clock = '2026-01-16 12:00:00.000001+00';
SELECT cdp.trait('u1', 'orders_7d') AS just_after;
SELECT depth, expression, value, changes_at FROM cdp.explain_trait('u1', 'average');

-- Changing a definition answers at once; what is used cannot be dropped.
SELECT expression FROM cdp.define_trait('ltv', 'events."Order Completed".sum_7d(total)');
SELECT cdp.trait('u1', 'ltv') AS ltv, cdp.trait('u1', 'average') AS average;
SELECT cdp.drop_trait('ltv');
SELECT cdp.drop_trait('average');
SELECT cdp.drop_trait('ltv');
SELECT key FROM cdp.trait_definitions ORDER BY key;
SELECT * FROM cdp.validate('events.order.count_7d > 3 and', 'segment');
SELECT * FROM cdp.validate('ltw > 3', 'segment');
SELECT * FROM cdp.validate('events."Order Completed".sum_30d(total)');
-- A trait that nobody sends is accepted, with a warning.
SELECT status FROM cdp.identify('named', '{"plan": "pro"}');
SELECT key FROM cdp.define_trait('unsent', 'profile.nothing_like_it == 1');
SELECT key FROM cdp.define_trait('misspelt', 'profile.plann == "pro"');
SELECT valid, message FROM cdp.validate('profile.nothing_like_it == 1');
SELECT * FROM cdp.validate('total > 100 && message.event == "Order Completed" && event != "x"', 'route');
SELECT * FROM cdp.validate('total', 'route'), cdp.validate('message.event', 'segment') AS refused;
SELECT * FROM cdp.validate('total +', 'route');
SELECT * FROM cdp.validate('profile.employees * 2', 'score');
SELECT * FROM cdp.validate('true', 'rote');

-- A definition that comes while others are overdue is looked at as of every instant that they are taken through, and
-- its events are read as far back as that needs.
SELECT status FROM cdp.track('late', 'Visited', '{"pages": 3, "place": "home"}');
SELECT key FROM cdp.define_segment('this_week', 'events.Visited.count_7d >= 1');
SET cdp.clock = '2026-04-30 12:00:00+00';
SELECT key FROM cdp.define_segment('this_month', 'events.Visited.sum_30d(pages) >= 3');
SELECT at, key, old, new FROM cdp.history('late') ORDER BY at, key;

-- What nothing needs any more leaves the states.
SELECT sum(length(state)) AS before FROM _cdp.profiles \gset
SELECT key FROM cdp.define_trait('passing', 'events.Visited.unique(place)');
SELECT sum(length(state)) > :before AS holds_more FROM _cdp.profiles;
SELECT cdp.drop_trait('passing');
SELECT sum(length(state)) = :before AS holds_the_same FROM _cdp.profiles;

-- What refers to a definition that changes is looked at with it.
SELECT key FROM cdp.define_trait('plan_of', 'profile.plan');
SELECT key FROM cdp.define_segment('professionals', 'plan_of == "pro"');
SELECT count(*) FROM cdp.members('professionals');
SELECT key FROM cdp.define_trait('plan_of', 'profile.tier');
SELECT count(*) FROM _cdp.segment_members WHERE segment_id = (SELECT segment_id FROM _cdp.segments WHERE key = 'professionals');

-- The view reads people together; it says what is said of each alone, in each namespace, and what the statement before changed.
SELECT name FROM cdp.define_namespace('beside');
SELECT t.key FROM unnest(ARRAY['default', 'beside']) AS ns, LATERAL cdp.define_trait('tries', 'events.try.count_7d', namespace => ns) AS t;
SELECT count(*) FROM generate_series(1, 400) AS i, LATERAL cdp.track('many' || i, 'try', message_id => 'try' || i, namespace => CASE WHEN i % 3 = 0 THEN 'beside' ELSE 'default' END);
CREATE VIEW difference AS
    WITH alone AS (SELECT p.namespace, p.profile_id, t.key, t.value, t.updated_at FROM cdp.people AS p, LATERAL cdp.traits(p.profile_id::text, p.namespace) AS t)
    (SELECT profile_id, key, value FROM cdp.user_traits EXCEPT SELECT profile_id, key, value FROM alone)
    UNION ALL (SELECT profile_id, key, value FROM alone EXCEPT SELECT profile_id, key, value FROM cdp.user_traits);
SELECT count(*) FROM difference;
SELECT namespace, count(*), sum(value::int) FROM cdp.user_traits WHERE key = 'tries' GROUP BY namespace ORDER BY namespace;
DO $$
DECLARE before bigint; later bigint;
BEGIN
    FOR i IN 1..3 LOOP
        SELECT sum(value::int) INTO before FROM cdp.user_traits WHERE key = 'tries';
        PERFORM cdp.track('many' || n, 'try') FROM generate_series(1, 100, 3) AS n;
        SELECT sum(value::int) INTO later FROM cdp.user_traits WHERE key = 'tries';
        RAISE NOTICE '% more', later - before;
    END LOOP;
END
$$;
SELECT count(*) FROM difference;
SELECT profile_id IS NOT NULL AS found, value FROM cdp.user_traits WHERE profile_id = cdp.resolve('many1') AND key = 'tries';
DROP VIEW difference;
