-- Exposures and experiments.
SET cdp.clock = '2026-01-15 12:00:00+00';
SELECT key FROM cdp.define_flag('price', definition => '{"variants": {"old": 10, "new": 12}, "default": "old",
    "targets": {"new": ["u1"]}, "split": {"old": 50, "new": 50}}');

-- Once per person, variant and period.
SELECT status FROM cdp.track('u2', 'visit', message_id => 'v2');
SELECT variant IN ('old', 'new') AS fits, reason FROM cdp.expose('u2', 'price');
SELECT variant IN ('old', 'new') AS fits, reason FROM cdp.expose('u2', 'price');
SELECT count(*) FROM cdp.events WHERE event = 'Flag Exposed';
SET cdp.clock = '2026-01-16 12:00:00+00';
SELECT reason FROM cdp.expose('u2', 'price');
SELECT count(*), count(DISTINCT message_id), min(properties ->> 'flag') AS flag, bool_and(properties ? 'bucket') AS by_chance FROM cdp.events WHERE event = 'Flag Exposed';
SELECT cdp.evaluate('u2', 'events."Flag Exposed"[flag == "price"].count_7d') AS exposures;
-- Somebody unknown is not recorded, and neither is it in a read-only transaction.
SELECT allow, reason, reasons FROM cdp.expose('nobody', 'price');
BEGIN READ ONLY;
SELECT reason, reasons[array_upper(reasons, 1)] FROM cdp.expose('u2', 'price');
COMMIT;
-- People without a user id too, by whatever identifier they have.
SELECT status FROM cdp.track(NULL, 'visit', anonymous_id => 'browser', message_id => 'v3');
SELECT reason FROM cdp.expose('browser', 'price');
SELECT anonymous_id, count(*) FROM cdp.events WHERE event = 'Flag Exposed' AND user_id IS NULL GROUP BY 1;

-- An experiment: 600 people who spent something before, see a price and spend something.
SET cdp.clock = '2026-02-01 00:00:00+00';
SELECT count(*) FROM generate_series(10, 609) AS n, cdp.track('u' || n, 'order', jsonb_build_object('total', 20 + n % 37), message_id => 'before' || n);
SET cdp.clock = '2026-02-02 00:00:00+00';
CREATE TEMPORARY TABLE seen AS SELECT n, d.variant FROM generate_series(10, 609) AS n, cdp.expose('u' || n, 'price') AS d;
-- Whoever is in a list was not chosen by chance and does not count.
SELECT status FROM cdp.track('u1', 'visit', message_id => 'v1');
SELECT variant, reason FROM cdp.expose('u1', 'price');
SET cdp.clock = '2026-02-03 00:00:00+00';
SELECT count(*) FROM seen, cdp.track('u' || n, 'order', jsonb_build_object('total', 20 + n % 37 + (n * 7) % 11 + CASE variant WHEN 'new' THEN 4 ELSE 0 END), message_id => 'after' || n)
WHERE n % 5 <> 0;
SELECT count(*) FROM seen, cdp.track('u' || n, 'complaint', message_id => 'complaint' || n) WHERE n % 20 = 1;

SELECT key, flag, definition FROM cdp.define_experiment('pricing', '{"flag": "price", "control": "old", "start": "2026-02-01",
    "primary": {"name": "revenue", "expression": "events.order.sum(total)"},
    "guardrails": [{"name": "complaints", "expression": "events.complaint.count > 0", "better": "lower"},
                   {"name": "order value", "expression": "events.order.avg(total)", "missing": "skip"}],
    "covariate": "events.order.sum_30d(total)"}');
SELECT metric, role, variant, exposures, people, round(mean::numeric, 6) AS mean, mixed, verdict FROM cdp.experiment_report('pricing');

-- The same from the tables, without cdp.
WITH outcome AS (
    SELECT s.n, s.variant, COALESCE(sum((e.properties ->> 'total')::numeric), 0) AS revenue, (20 + s.n % 37)::numeric AS before
    FROM seen AS s LEFT JOIN cdp.events AS e ON e.user_id = 'u' || s.n AND e.event = 'order' AND e."timestamp" >= '2026-02-02'
    GROUP BY s.n, s.variant),
slope AS (
    SELECT sum((o.revenue - m.y) * (o.before - m.x)) / sum((o.before - m.x) ^ 2) AS theta
    FROM outcome AS o JOIN (SELECT variant, avg(revenue) AS y, avg(before) AS x FROM outcome GROUP BY variant) AS m USING (variant)),
variants AS (
    SELECT o.variant, count(*) AS n, avg(o.revenue) AS mean, avg(o.revenue - s.theta * (o.before - c.center)) AS adjusted,
        var_samp(o.revenue - s.theta * o.before) AS variance
    FROM outcome AS o, slope AS s, (SELECT avg(before) AS center FROM outcome) AS c GROUP BY o.variant)
SELECT r.variant, r.people = v.n AS people, abs(r.mean - v.mean) < 1e-9 AS mean, abs(r.adjusted_mean - v.adjusted) < 1e-9 AS adjusted,
    r.variant = 'old' OR abs(r.difference - (n.adjusted - o.adjusted)) < 1e-9 AS difference,
    r.variant = 'old' OR abs((r.difference_high - r.difference_low) / 2 / 1.96 - sqrt(n.variance / n.n + o.variance / o.n)) < 0.01 AS reach,
    r.variant = 'old' OR (r.sequential_low < r.difference_low AND r.difference_high < r.sequential_high) AS wider
FROM cdp.experiment_report('pricing') AS r JOIN variants AS v USING (variant)
    CROSS JOIN (SELECT * FROM variants WHERE variant = 'new') AS n CROSS JOIN (SELECT * FROM variants WHERE variant = 'old') AS o
WHERE r.metric = 'revenue' ORDER BY r.variant;
SELECT metric, p_value < 0.05 AS once, sequential_p_value < 0.05 AS always, sample_ratio_p_value > 0.001 AS divided_well FROM cdp.experiment_report('pricing') WHERE variant = 'new';

-- Whoever saw both variants is left out, and a division that is not the planned one is told.
SELECT count(*) FROM cdp.track('u10', 'Flag Exposed', '{"flag": "price", "variant": "old", "bucket": 1}'), cdp.track('u10', 'Flag Exposed', '{"flag": "price", "variant": "new", "bucket": 1}') AS b;
SELECT DISTINCT mixed FROM cdp.experiment_report('pricing');
-- Two profiles that saw different variants turn out to be one person: that person saw both.
SELECT count(*) FROM generate_series(1, 20) AS n, cdp.track(NULL, 'visit', anonymous_id => 'device' || n, message_id => 'd' || n);
SELECT count(*) FROM generate_series(1, 20) AS n, cdp.expose('device' || n, 'price');
CREATE TEMPORARY TABLE pairs AS SELECT s.n, s.variant, d.variant AS on_device FROM seen AS s, cdp.decide('device' || s.n - 19, 'price') AS d WHERE s.n BETWEEN 20 AND 39;
SELECT count(*) FROM pairs, cdp.identify('u' || n, anonymous_id => 'device' || n - 19, message_id => 'w' || n);
SELECT DISTINCT r.mixed = 1 + (SELECT count(*) FROM pairs WHERE variant <> on_device) AS both, r.mixed > 3 AS some FROM cdp.experiment_report('pricing') AS r;
SELECT key FROM cdp.define_experiment('skewed', '{"flag": "price", "control": "old", "primary": "events.order.count", "allocation": {"old": 80, "new": 20}}');
SELECT metric, variant, sample_ratio_p_value < 0.001 AS broken, verdict FROM cdp.experiment_report('skewed');

-- What an experiment uses stays.
SELECT key FROM cdp.define_trait('spent', 'events.order.sum(total)');
SELECT key FROM cdp.define_experiment('spending', '{"flag": "price", "control": "old", "primary": "spent"}');
SELECT metric, variant, people > 0 AS has_people FROM cdp.experiment_report('spending');
SELECT cdp.drop_trait('spent');
SELECT cdp.drop_flag('price');
SELECT cdp.define_flag('price', definition => '{"variants": {"old": 1}, "split": {"old": 100}}');
SELECT cdp.drop_experiment('spending');
SELECT cdp.drop_trait('spent');
SELECT cdp.drop_experiment('spendin');
SELECT key, flag FROM cdp.experiments ORDER BY key;

-- Bad definitions.
SELECT cdp.define_experiment('x', '{"flag": "pric", "primary": "1"}');
SELECT cdp.define_experiment('x', '{"flag": "price", "control": "older", "primary": "1"}');
SELECT cdp.define_experiment('x', '{"flag": "price", "primary": "1"}');
SELECT cdp.define_experiment('x', '{"flag": "price", "control": "old"}');
SELECT cdp.define_experiment('x', '{"flag": "price", "control": "old", "primary": "events.order.cnt"}');
SELECT cdp.define_experiment('x', '{"flag": "price", "control": "old", "primary": "lower(profile.name)"}');
SELECT cdp.define_experiment('x', '{"flag": "price", "control": "old", "primary": "events.order.count", "allocation": {"old": 50, "new": 40}}');
SELECT cdp.define_experiment('x', '{"flag": "price", "control": "old", "primary": "events.order.count", "guardrails": [{"expression": "1 +"}]}');
SELECT cdp.experiment_report('pricin');
