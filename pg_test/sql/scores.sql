-- The score "lead": points for who somebody is and for what somebody does, and the grade they give.
SET cdp.clock = '2026-03-01 12:00:00+00';
SELECT key, is_default, definition -> 'icp' -> 'cap' AS cap FROM cdp.score_rules;

-- Nobody, and somebody of whom nothing is known.
SELECT * FROM cdp.score('nobody');
SELECT reason FROM cdp.track('a', 'Something Else');
SELECT * FROM cdp.score('a');

-- Every edge of the ICP table.
CREATE TEMP TABLE inputs (n int GENERATED ALWAYS AS IDENTITY, traits jsonb);
INSERT INTO inputs (traits) VALUES
    ('{"employee_count": 0}'), ('{"employee_count": 1}'), ('{"employee_count": 10}'), ('{"employee_count": 10.5}'),
    ('{"employee_count": 11}'), ('{"employee_count": 50}'), ('{"employee_count": 51}'), ('{"employee_count": 250}'),
    ('{"employee_count": 251}'), ('{"employee_count": "1-10"}'), ('{"employee_count": "11-50 employees"}'),
    ('{"employee_count": "51-250"}'), ('{"employee_count": "51 – 200"}'), ('{"employee_count": "201-500"}'), ('{"employee_count": "500+"}'),
    ('{"employee_count": "50-200"}'), ('{"employee_count": "many"}'), ('{"employee_count": ["51-250"]}'),
    ('{"employees": "1,200"}'), ('{"company_size": "51-250"}'), ('{"employee_count": "?", "employees": 12}'),
    ('{"annual_revenue": 999999}'), ('{"annual_revenue": 1000000}'), ('{"annual_revenue": 10000000}'),
    ('{"annual_revenue": 10000000.01}'), ('{"annual_revenue": 50000000}'), ('{"annual_revenue": 50000001}'),
    ('{"annual_revenue": "$1M-$10M"}'), ('{"annual_revenue": "$10M-$50M"}'), ('{"annual_revenue": "10M"}'), ('{"revenue": "$5.5 million"}'),
    ('{"annual_revenue": "$5M-$20M"}'), ('{"annual_revenue": "10-50M"}'), ('{"annual_revenue": "€20M"}'),
    ('{"funding_stage": "Seed"}'), ('{"funding_stage": "SEED"}'), ('{"funding_stage": "series a"}'), ('{"funding_stage": "SERIES_A"}'),
    ('{"funding_stage": "Series-B"}'), ('{"funding": "Series B"}'), ('{"funding_stage": "Series C"}'), ('{"funding_stage": 7}'),
    ('{"employee_count": 60, "annual_revenue": 20000000, "funding_stage": "Series B"}');
SELECT count(*) FROM inputs AS i, cdp.identify('icp' || i.n, i.traits);
SELECT i.traits, s.icp, s.grade, s.meta -> 'missing' AS missing, s.meta -> 'unusable' AS unusable
FROM inputs AS i, cdp.score('icp' || i.n) AS s ORDER BY i.n;

-- What people do, in the transaction in which they do it.
SELECT status FROM cdp.identify('b', '{"employee_count": "51-250", "annual_revenue": "$10M-$50M", "email": "b@example.com"}');
BEGIN;
SELECT status FROM cdp.track('b', 'Email Opened');
SELECT * FROM cdp.score('b');
SELECT status FROM cdp.track('b', 'Email Replied');
SELECT total, grade FROM cdp.score('b');
ROLLBACK;
SELECT total, grade FROM cdp.score('b');
SELECT count(*) FROM cdp.track('b', 'Email Opened', message_id => 'm1');
SELECT count(*) FROM cdp.track('b', 'Email Opened', message_id => 'm1');
SELECT count(*) FROM unnest('{Email Clicked,Email Replied,LinkedIn Message,Website Visit}'::text[]) AS e, cdp.track('b', e);
SELECT * FROM cdp.score('b');
SELECT component, rule, input, value, points, note FROM cdp.explain_score('b');
SELECT scores FROM cdp.profile('b');
SELECT * FROM cdp.scores('b');

-- The grades, at every boundary.
SELECT key, definition FROM cdp.define_score('points', '{"behavior": {"rules": [{"event": "Point", "points": 1}]}}');
SELECT p, count(*) FROM unnest('{19,20,39,40,49,50,59,60,69,70,79,80,89,90}'::int[]) AS p, generate_series(1, p) AS n, cdp.track('p' || p, 'Point', jsonb_build_object('n', n)) GROUP BY p ORDER BY p;
SELECT p, s.total, s.grade FROM unnest('{19,20,39,40,49,50,59,60,69,70,79,80,89,90}'::int[]) AS p, cdp.score('p' || p, 'points') AS s ORDER BY p;
SELECT at, what, key, old, new, cause LIKE 'message %' AS by_message FROM cdp.history('p40') ORDER BY at, new;

-- In expressions: segments and traits follow the score, and what uses it cannot be dropped or go round in circles.
SELECT key, rule, members FROM cdp.define_segment('hot', 'score("points") >= 80 and grade("points") in ["A", "A+"]');
SELECT user_id FROM cdp.members('hot') ORDER BY 1;
SELECT count(*) FROM cdp.track('p79', 'Point');
SELECT user_id FROM cdp.members('hot') ORDER BY 1;
SELECT key, expression, result_type FROM cdp.define_trait('points_left', '100 - score("points")');
SELECT cdp.trait('p60', 'points_left'), cdp.evaluate('p60', 'score("points") / 2'), cdp.evaluate('p60', 'grade("lead")');
SELECT cdp.define_score('points', '{"icp": {"rules": [{"expression": "trait(\"points_left\")", "ranges": [{"from": 1, "points": 1}]}]}}');
SELECT cdp.drop_score('points');
SELECT cdp.define_segment('typo', 'score("laed") > 1');
SELECT cdp.drop_segment('hot'), cdp.drop_trait('points_left');
SELECT cdp.drop_score('points');
SELECT key FROM cdp.score_rules;
SELECT * FROM cdp.score('p90', 'points');

-- Merging adds what people did; taking them apart gives each their own back.
SELECT count(*) FROM cdp.track(NULL, 'Email Replied', anonymous_id => 'anon') ;
SELECT count(*) FROM cdp.track('m', 'Email Opened');
SELECT total FROM cdp.score('anon');
SELECT status FROM cdp.alias('m', 'anon');
SELECT total, meta -> 'behavior' AS behavior FROM cdp.score('m');
SELECT count(*) FROM cdp.unmerge('m', 'anon');
SELECT (SELECT total FROM cdp.score('m')) AS m, (SELECT total FROM cdp.score('anon')) AS anon;
SELECT cdp.rebuild('b');
SELECT total, icp, behavior, grade FROM cdp.score('b');

-- A namespace of its own, with a score of its own, and without one.
SELECT (cdp.define_namespace('acme')).name;
SELECT status FROM cdp.track('x', 'Email Opened', namespace => 'acme');
SELECT total, grade FROM cdp.score('x', namespace => 'acme');
SELECT (cdp.define_score('lead', '{"behavior": {"rules": [{"event": "Email Opened", "points": 50}]}}', 'acme')).is_default;
SELECT total, grade FROM cdp.score('x', namespace => 'acme');
SELECT cdp.drop_score('lead', 'acme');
SELECT * FROM cdp.score('x', namespace => 'acme');
SELECT namespace, key, is_default FROM cdp.score_rules ORDER BY 1, 2;
