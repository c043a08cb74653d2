-- What rules can say: windows, limits, decay, caps, filters; when scores change by time; what is refused.
SET cdp.clock = '2026-03-02 08:30:00+00';
SELECT count(*) FROM unnest('{Visit,Demo,Order,Spam}'::text[]) AS e, cdp.track('other', e);
SELECT definition FROM cdp.define_score('s', '{
  "icp": {"cap": 25, "rules": [
    {"name": "size", "traits": ["company.size", "size"], "ranges": [{"below": 10, "points": 5}, {"from": 10, "points": 20}]},
    {"name": "plan", "expression": "profile.plan", "values": [{"equals": "pro", "points": 10}, {"any_of": ["team", true], "points": 20}]}]},
  "behavior": {"rules": [
    {"event": "Visit", "points": 1.5, "limit": {"count": 2, "per": "day"}, "cap": 10},
    {"event": "Demo", "points": 40, "decay": {"half_life": "7d"}},
    {"name": "Large", "event": "Order", "filter": "total >= 1000 and country == \"DE\"", "points": 20, "window": "30d"},
    {"event": "Spam", "points": -5}]},
  "grades": [{"grade": "cold"}, {"grade": "hot", "from": 50}, {"grade": "warm", "from": 20, "to": 49}]}');

SELECT count(*) FROM cdp.identify('u', '{"company": {"size": "11-50"}, "plan": "PRO"}');
SELECT count(*) FROM generate_series(1, 3) AS n, cdp.track('u', 'Visit', jsonb_build_object('n', n));
SELECT count(*) FROM cdp.track('u', 'Demo', "timestamp" => '2026-03-01 23:00:00+00');
SELECT count(*) FROM cdp.track('u', 'Order', '{"total": 1000, "country": "DE"}');
SELECT count(*) FROM cdp.track('u', 'Order', '{"total": 999, "country": "DE"}');
SELECT count(*) FROM cdp.track('u', 'Spam');
SELECT component, rule, input, value, points, note, changes_at FROM cdp.explain_score('u', 's');

-- points × 0.5 ^ (age / half-life), with the age in whole days: what is read, what the worker finds, and the formula.
SELECT key FROM cdp.define_destination('hook', 'webhook', '{"url": "https://hooks.example.com/hook"}');
SELECT events FROM cdp.define_route('hook', ARRAY['Score Changed', 'Grade Changed'], 'score == "s"');
SELECT count(*) FROM cdp.track('d', 'Demo');
CREATE TEMP TABLE decay (at timestamptz, read numeric, formula numeric);
DO $$
DECLARE at timestamptz;
BEGIN
    FOREACH at IN ARRAY ARRAY['2026-03-02 23:59:59.999999', '2026-03-03 00:00:00', '2026-03-04 12:00:00', '2026-03-09 00:00:00', '2026-03-16 06:00:00',
                              '2026-05-25 00:00:00', '2026-07-20 00:00:00', '2026-07-21 00:00:00']::timestamptz[] LOOP
        PERFORM pg_catalog.set_config('cdp.clock', at::text, false);
        INSERT INTO decay SELECT at, s.total, CASE WHEN age <= 140 THEN round(40 * 0.5 ^ (age / 7.0), 2) ELSE 0 END
        FROM cdp.score('d', 's') AS s, (SELECT at::date - '2026-03-02'::date AS age) AS a;
    END LOOP;
END
$$;
SELECT *, read = formula AS same FROM decay;
SET cdp.clock = '2026-03-09 12:00:00+00';
SELECT cdp.run_due() > 0 AS ran;
SELECT key, total, grade FROM cdp.scores('d') ORDER BY key;
SELECT payload ->> 'timestamp' AS at, payload ->> 'event' AS event, payload #>> '{properties,old}' AS old, payload #>> '{properties,new}' AS new,
    payload #>> '{properties,old_grade}' AS old_grade, payload #>> '{properties,grade}' AS grade, payload -> 'traits' AS traits
FROM cdp.deliveries WHERE payload ->> 'userId' = 'd' ORDER BY 1, 2;
SELECT at, old, new, cause LIKE 'message %' AS by_message FROM cdp.history('d') WHERE what = 'score' ORDER BY at;
-- A late event takes its place.
SELECT count(*) FROM cdp.track('d', 'Demo', "timestamp" => '2026-03-02 10:00:00+00');
SELECT total FROM cdp.score('d', 's');
SELECT cdp.rebuild('d');
SELECT total FROM cdp.score('d', 's');

-- The score that comes with cdp, to Attio's fields.
SELECT events FROM cdp.define_route('hook', ARRAY['Score Changed'], 'score == "lead" and behavior >= 1');
SELECT count(*) FROM cdp.identify('v', '{"employee_count": 20, "email": "v@example.com"}');
SELECT count(*) FROM cdp.track('v', 'Email Replied');
SELECT payload - 'messageId' - 'timestamp' #- '{properties,profile_id}' #- '{properties,cause}' #- '{context,library}' AS payload
FROM cdp.deliveries WHERE payload ->> 'userId' = 'v';

-- Refused, with the place in the definition.
CREATE FUNCTION pg_temp.refused(definition jsonb) RETURNS TABLE (code text, message text, detail text, hint text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM cdp.define_score('bad', definition);
    RETURN QUERY SELECT 'none'::text, 'defined'::text, ''::text, ''::text;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN NEXT;
END
$$;
SELECT n, r.* FROM (VALUES
    (1, '{}'::jsonb), (2, '[]'), (3, '{"behaviour": {}}'),
    (4, '{"behavior": {"rules": [{"points": 1}]}}'),
    (5, '{"behavior": {"rules": [{"event": "Visit"}]}}'),
    (6, '{"behavior": {"rules": [{"event": "Visit", "points": "many"}]}}'),
    (7, '{"behavior": {"rules": [{"event": "Visit", "points": 1e30}]}}'),
    (8, '{"behavior": {"cap": -1, "rules": [{"event": "Visit", "points": 1}]}}'),
    (9, '{"behavior": {"rules": [{"event": "Visit", "points": 1, "cap": -5}]}}'),
    (10, '{"behavior": {"rules": [{"event": "Visit", "points": 1, "filter": "total >"}]}}'),
    (11, '{"behavior": {"rules": [{"event": "Visit", "points": 1, "filter": "total > 1].count + events.x[a == 1"}]}}'),
    (12, '{"behavior": {"rules": [{"event": "Visit", "points": 1, "filter": "segment(\"x\")"}]}}'),
    (13, '{"behavior": {"rules": [{"event": "Visit", "points": 1}, {"event": "Visit", "points": 2}]}}'),
    (14, '{"behavior": {"rules": [{"event": "Visit", "points": 1, "limit": {"count": 0, "per": "day"}}]}}'),
    (15, '{"behavior": {"rules": [{"event": "Visit", "points": 1, "limit": {"count": 1, "per": "month"}}]}}'),
    (16, '{"behavior": {"rules": [{"event": "Visit", "points": 1, "decay": {"half_life": "soon"}}]}}'),
    (17, '{"behavior": {"rules": [{"event": "Visit", "points": 1, "decay": {"half_life": "30m"}}]}}'),
    (18, '{"behavior": {"rules": [{"event": "Visit", "points": 1, "window": "7d", "decay": {"half_life": "7d"}}]}}'),
    (19, '{"icp": {"rules": [{"traits": ["a"]}]}}'),
    (20, '{"icp": {"rules": [{"ranges": [{"from": 1, "points": 1}]}]}}'),
    (21, '{"icp": {"rules": [{"traits": ["a"], "ranges": [{"from": 1, "to": 10, "points": 1}, {"from": 10, "to": 20, "points": 2}]}]}}'),
    (22, '{"icp": {"rules": [{"traits": ["a"], "ranges": [{"from": 10, "to": 1, "points": 1}]}]}}'),
    (23, '{"icp": {"rules": [{"traits": ["a"], "ranges": [{"points": 1}]}]}}'),
    (24, '{"icp": {"rules": [{"traits": ["a"], "values": [{"equals": "Series A", "points": 1}, {"any_of": ["series_a"], "points": 2}]}]}}'),
    (25, '{"icp": {"rules": [{"expression": "trait(\"nope\")", "values": [{"equals": 1, "points": 1}]}]}}'),
    (26, '{"icp": {"rules": [{"expression": "score(\"bad\")", "ranges": [{"from": 1, "points": 1}]}]}}'),
    (27, '{"behavior": {"rules": [{"event": "Visit", "points": 1}]}, "grades": [{"grade": "A", "from": 80}, {"grade": "B", "from": 40, "to": 69}, {"grade": "C"}]}'),
    (28, '{"behavior": {"rules": [{"event": "Visit", "points": 1}]}, "grades": [{"grade": "A", "from": 80}, {"grade": "B", "from": 40, "to": 80}, {"grade": "C"}]}'),
    (29, '{"behavior": {"rules": [{"event": "Visit", "points": 1}]}, "grades": [{"grade": "A", "from": 80}, {"grade": "B", "from": 40}]}'),
    (30, '{"behavior": {"rules": [{"event": "Visit", "points": 1}]}, "grades": [{"grade": "A", "from": 80, "to": 100}, {"grade": "B"}]}'),
    (31, '{"behavior": {"rules": [{"event": "Visit", "points": 1}]}, "grades": []}'),
    (32, '{"behavior": {"rules": [{"event": "Visit", "points": 1}]}, "changes": {"score": -1}}'),
    (33, NULL)
) AS t (n, definition), pg_temp.refused(t.definition) AS r ORDER BY n;
SELECT cdp.define_score('warned', '{"behavior": {"rules": [{"event": "Vist", "points": 1}]}}') IS NOT NULL AS defined;
SELECT cdp.define_score('', '{}');
SELECT * FROM cdp.score('u', 'lad');
SELECT cdp.drop_score('lad');
