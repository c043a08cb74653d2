-- What is kept up to date rule by rule is what is read as a whole, and what plain SQL finds in the events: late events,
-- duplicates, traits that change, people who merge and are taken apart, time that passes.
SET cdp.clock = '2026-05-01 00:00:00+00';
SET client_min_messages = error;
SELECT key FROM cdp.define_score('s', '{
  "icp": {"cap": 30, "rules": [
    {"traits": ["size"], "ranges": [{"from": 1, "to": 5, "points": 10}, {"from": 6, "points": 25}]},
    {"traits": ["stage"], "values": [{"any_of": ["a", "b"], "points": 12.5}]}]},
  "behavior": {"cap": 200, "rules": [
    {"event": "Plain", "points": 2},
    {"event": "Limited", "points": 3, "limit": {"count": 2, "per": "day"}},
    {"event": "Decaying", "points": 8, "decay": {"half_life": "3d"}},
    {"name": "Both", "event": "Decaying", "points": 4, "limit": {"count": 1, "per": "week"}, "decay": {"half_life": "2w"}},
    {"event": "Recent", "points": 5, "window": "36h"},
    {"name": "Large", "event": "Plain", "filter": "total > 50", "points": -1}]}}');
SELECT key FROM cdp.define_segment('high', 'score("s") >= 60');
SELECT key FROM cdp.define_destination('hook', 'webhook', '{"url": "https://hooks.example.com/hook"}');
SELECT events FROM cdp.define_route('hook', ARRAY['Score Changed', 'Grade Changed'], 'score == "s"');
SELECT setseed(0.42);
DO $$
DECLARE
    i integer;
    who text;
    at timestamptz;
BEGIN
    FOR i IN 1 .. 1500 LOOP
        at := timestamptz '2026-05-01 00:00:00+00' + i * interval '13 minutes';
        PERFORM pg_catalog.set_config('cdp.clock', at::text, false);
        who := 'u' || (random() * 11)::integer;
        PERFORM cdp.track(who, (ARRAY['Plain', 'Limited', 'Decaying', 'Recent', 'Other'])[1 + (random() * 4)::integer],
            jsonb_build_object('total', (random() * 100)::integer), message_id => 'm' || (i - (random() < 0.1)::integer),
            "timestamp" => at - (random() < 0.3)::integer * random() * interval '5 days');
        IF i % 50 = 0 THEN
            PERFORM cdp.identify(who, jsonb_build_object('size', (random() * 8)::integer, 'stage', (ARRAY['A', 'b', 'c'])[1 + (random() * 2)::integer]));
        END IF;
        IF i % 400 = 0 THEN
            PERFORM cdp.run_due();
        END IF;
    END LOOP;
END
$$;
CREATE VIEW pg_temp.oracle AS
WITH e AS (
    SELECT profile_id, event, "timestamp" AS ts, (properties ->> 'total')::numeric AS total, date_trunc('day', "timestamp", 'UTC') AS day,
        date_trunc('week', "timestamp", 'UTC') AS week
    FROM cdp.events WHERE type = 'track'
), n AS (SELECT cdp.now() AS at, date_trunc('day', cdp.now(), 'UTC') AS day, date_trunc('week', cdp.now(), 'UTC') AS week)
SELECT p.profile_id, least(30,
        CASE WHEN (p.traits ->> 'size')::numeric BETWEEN 1 AND 5 THEN 10 WHEN (p.traits ->> 'size')::numeric >= 6 THEN 25 ELSE 0 END
        + CASE WHEN lower(p.traits ->> 'stage') IN ('a', 'b') THEN 12.5 ELSE 0 END)
    + least(200,
        2 * (SELECT count(*) FROM e WHERE e.profile_id = p.profile_id AND event = 'Plain')
        + 3 * (SELECT COALESCE(sum(least(c, 2)), 0) FROM (SELECT count(*) AS c FROM e WHERE e.profile_id = p.profile_id AND event = 'Limited' GROUP BY day) AS d)
        + round(8 * (SELECT COALESCE(sum(0.5 ^ (extract(epoch FROM n.day - e.day) / 86400 / 3)), 0) FROM e, n WHERE e.profile_id = p.profile_id AND event = 'Decaying')::numeric, 2)
        + round(4 * (SELECT COALESCE(sum(0.5 ^ (extract(epoch FROM w.now - w.week) / 86400 / 14)), 0)
                     FROM (SELECT DISTINCT e.week, n.week AS now FROM e, n WHERE e.profile_id = p.profile_id AND event = 'Decaying') AS w)::numeric, 2)
        + 5 * (SELECT count(*) FROM e, n WHERE e.profile_id = p.profile_id AND event = 'Recent' AND e.ts >= n.at - interval '36 hours')
        - (SELECT count(*) FROM e WHERE e.profile_id = p.profile_id AND event = 'Plain' AND total > 50)) AS total
FROM cdp.people AS p;
CREATE FUNCTION pg_temp.compare() RETURNS TABLE (people bigint, like_plain_sql bigint, like_announced bigint, like_segment bigint, after_rebuild bigint, same_bytes bigint)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cdp.run_due();
    CREATE TEMP TABLE seen ON COMMIT DROP AS
    SELECT o.profile_id, (SELECT computed FROM _cdp.profiles AS c WHERE c.profile_id = o.profile_id) AS kept, s.total AS read, o.total AS plain, m.profile_id IS NOT NULL AS member,
        (SELECT (payload #>> '{properties,new}')::numeric FROM cdp.deliveries AS d WHERE d.profile_id = o.profile_id AND payload ->> 'event' = 'Score Changed'
         ORDER BY d.delivery_id DESC LIMIT 1) AS announced
    FROM pg_temp.oracle AS o CROSS JOIN LATERAL cdp.score(o.profile_id::text, 's') AS s LEFT JOIN cdp.members('high') AS m ON m.profile_id = o.profile_id;
    PERFORM cdp.rebuild();
    RETURN QUERY SELECT count(*), count(*) FILTER (WHERE read = plain), count(*) FILTER (WHERE read = COALESCE(announced, 0)),
        count(*) FILTER (WHERE member = (read >= 60)), count(*) FILTER (WHERE read = (SELECT s.total FROM cdp.score(seen.profile_id::text, 's') AS s)),
        count(*) FILTER (WHERE kept = (SELECT computed FROM _cdp.profiles AS c WHERE c.profile_id = seen.profile_id))
    FROM seen;
END
$$;
SELECT * FROM pg_temp.compare();
SET cdp.clock = '2026-05-16 09:00:00+00';
SELECT * FROM pg_temp.compare();
SELECT count(*) FROM cdp.alias('u1', 'u2') AS a, cdp.track(NULL, 'Plain', anonymous_id => 'anon') AS t;
SELECT status FROM cdp.track('u3', 'Decaying', anonymous_id => 'anon');
SELECT * FROM pg_temp.compare();
SELECT count(*) FROM cdp.unmerge('u3', 'anon');
SET cdp.clock = '2026-05-19 00:00:00+00';
SELECT * FROM pg_temp.compare();
-- Scoring everybody again finds nothing new, and ends.
SELECT count(*) AS waiting FROM cdp.deliveries \gset
SELECT _cdp.score_chunk(1, 's', 0, 5) < _cdp.score_chunk(1, 's', (SELECT min(profile_id) FROM cdp.people), 5) AS goes_on,
    _cdp.score_chunk(1, 's', (SELECT max(profile_id) FROM cdp.people), 5) IS NULL AS ends;
SELECT count(*) - :waiting AS more FROM cdp.deliveries;
SELECT _cdp.score_chunk(1, 'sa', 0, 5);
