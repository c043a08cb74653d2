-- Flags with rules, variants, rollouts, prerequisites, lists, holdouts and overrides.
SET cdp.clock = '2026-01-15 12:00:00+00';
SELECT count(*) FROM generate_series(1, 1000) AS n, cdp.track('u' || n, 'order', jsonb_build_object('total', n), message_id => 'm' || n);
SELECT key FROM cdp.define_segment('vip', 'events.order.sum_30d(total) > 990');

-- Rules in order: the first that holds decides, else the default.
SELECT definition FROM cdp.define_flag('paywall', definition => '{
    "variants": {"soft": {"price": 5}, "hard": {"price": 9}, "none": null},
    "default": "none",
    "rules": [
        {"name": "vip", "condition": "segment(\"vip\")", "variant": "none"},
        {"condition": "events.order.sum(total) > 500 and context.country == \"FR\"", "variant": "hard"},
        {"name": "test", "condition": {"event": "order", "window": "7d"}, "split": {"soft": 50, "hard": 50}}
    ]}');
SELECT allow, variant, value, reason, reasons FROM cdp.decide('u1000', 'paywall');
SELECT allow, variant, value, reason, reasons FROM cdp.decide('u600', 'paywall', '{"country": "FR"}');
SELECT variant, value, reason, reasons FROM cdp.decide('u600', 'paywall');
SELECT allow, variant, value, reason, reasons FROM cdp.decide('nobody', 'paywall');
SELECT variant, count(*) BETWEEN 440 AND 550 AS about_half FROM generate_series(1, 990) AS n, cdp.decide('u' || n, 'paywall') GROUP BY variant ORDER BY variant;
SELECT depth, expression, value, changes_at FROM cdp.explain_decision('u600', 'paywall');

-- The bucket is the published hash.
SELECT mod(('x' || left(encode(sha256(convert_to('split/paywall:' || p.profile_id, 'UTF8')), 'hex'), 15))::bit(60)::bigint, 1000000) =
       substring(reasons[array_upper(reasons, 1)] from 'bucket (\d+)')::bigint AS same
FROM (SELECT cdp.resolve('u5') AS profile_id) AS p, cdp.decide('u5', 'paywall');

-- Other weights move only those who have to move.
CREATE TEMPORARY TABLE before AS SELECT n, variant FROM generate_series(1, 990) AS n, cdp.decide('u' || n, 'paywall');
SELECT definition -> 'rules' -> 1 -> 'buckets' AS buckets FROM cdp.define_flag('paywall', definition => '{
    "variants": {"soft": {"price": 5}, "hard": {"price": 9}, "none": null, "new": null},
    "default": "none",
    "rules": [
        {"name": "vip", "condition": "segment(\"vip\")", "variant": "none"},
        {"name": "test", "condition": {"event": "order", "window": "7d"}, "split": {"soft": 40, "hard": 50, "new": 10}}
    ]}');
SELECT b.variant AS before, d.variant AS after, count(*) > 50 AS many
FROM before AS b, cdp.decide('u' || n, 'paywall') AS d GROUP BY 1, 2 ORDER BY 1, 2;

-- Prerequisites, and circles of them.
SELECT key FROM cdp.define_flag('upsell', definition => '{"prerequisites": [{"flag": "paywall", "variants": ["hard", "soft"]}], "rules": [{}]}');
SELECT variant, reason, reasons FROM cdp.decide('u1000', 'upsell');
SELECT variant, reason FROM cdp.decide('u5', 'upsell');
SELECT cdp.define_flag('paywall', definition => '{"prerequisites": ["upsell"]}');
SELECT cdp.define_flag('paywall', definition => '{"variants": {"hard": 1}, "default": "hard"}');
SELECT cdp.drop_flag('paywall');

-- Schedules, and rollouts that rise by themselves.
SELECT key FROM cdp.define_flag('spring', definition => '{"schedule": {"start": "2026-03-01", "end": "2026-04-01"}, "rollout": 50}');
SELECT allow, reason, reasons FROM cdp.decide('u1', 'spring');
SELECT key FROM cdp.define_flag('rising', definition => '{"rollout": {"from": 10, "to": 60, "start": "2026-01-15T00:00:00Z", "end": "2026-01-16T00:00:00Z"}}');
SELECT allow, reason, count(*) BETWEEN 300 AND 700 AS fits FROM generate_series(1, 1000) AS n, cdp.decide('u' || n, 'rising') GROUP BY 1, 2 ORDER BY 1, 2;
-- It says when somebody comes in, and then they do.
CREATE TEMPORARY TABLE admission AS
SELECT n, changes_at AS at FROM generate_series(1, 1000) AS n, cdp.explain_decision('u' || n, 'rising') WHERE depth = 0 AND changes_at IS NOT NULL ORDER BY changes_at LIMIT 1;
SELECT (cdp.decide('u' || n, 'rising')).allow FROM admission;
SELECT set_config('cdp.clock', at::text, false) <> '' AS moved FROM admission;
SELECT (cdp.decide('u' || n, 'rising')).allow FROM admission;
SELECT set_config('cdp.clock', (at - interval '1 microsecond')::text, false) <> '' AS moved FROM admission;
SELECT (cdp.decide('u' || n, 'rising')).allow FROM admission;
SET cdp.clock = '2026-01-15 12:00:00+00';

-- People by name, also those who have not been seen yet.
SELECT key FROM cdp.define_flag('listed', definition => '{"targets": {"on": ["u7", "Ada@Example.com", "tester"]}}');
SELECT allow, reason, reasons FROM cdp.decide('u7', 'listed');
SELECT status FROM cdp.identify('u8', '{"email": "ada@example.com"}', message_id => 'i8');
SELECT allow, reason FROM cdp.decide('u8', 'listed');
SELECT allow, reason FROM cdp.decide('u9', 'listed');
SELECT allow, reason FROM cdp.decide('tester', 'listed');

-- By hand.
SELECT flag, profile_id = cdp.resolve('u9') AS is_u9, variant FROM cdp.set_override('u9', 'listed', 'on');
SELECT allow, reason, reasons FROM cdp.decide('u9', 'listed');
SELECT flag, variant FROM cdp.flag_overrides;
SELECT cdp.set_override('u9', 'listed', 'onn');
SELECT cdp.set_override('who', 'listed', 'on');
SELECT cdp.clear_override('u9', 'listed');
SELECT allow, reason FROM cdp.decide('u9', 'listed');

-- Holdouts and groups that exclude each other.
SELECT key, percent FROM cdp.define_holdout('quarter', 10);
SELECT key FROM cdp.define_flag('a', definition => '{"holdout": "quarter", "exclusive": {"group": "checkout", "share": 40}, "rollout": 100}');
SELECT definition -> 'exclusive' FROM cdp.define_flag('b', definition => '{"exclusive": {"group": "checkout", "share": 60}, "rollout": 100}');
SELECT cdp.define_flag('c', definition => '{"exclusive": {"group": "checkout", "share": 5}, "rollout": 100}');
SELECT a.reason, b.reason, count(*) BETWEEN 30 AND 650 AS fits FROM generate_series(1, 1000) AS n, cdp.decide('u' || n, 'a') AS a, cdp.decide('u' || n, 'b') AS b GROUP BY 1, 2 ORDER BY 1, 2;
SELECT cdp.drop_holdout('quarter');
SELECT reasons FROM cdp.decide('u7', 'a');

-- All at once, as for a client that starts; not enabled is told.
SELECT key FROM cdp.define_flag('a', definition => '{"enabled": false, "rollout": 100}');
SELECT flag, allow, variant, value, reason FROM cdp.decide_all('u7');
SELECT flag, allow, variant, reason FROM cdp.decide_all('nobody') LIMIT 2;

-- What a flag uses stays.
SELECT cdp.drop_segment('vip');
SELECT cdp.drop_flag('nothing');

-- Bad definitions: where, and what to do.
SELECT cdp.define_flag('x', definition => '{"rules": [{"split": {"on": 50, "off": 40}}]}');
SELECT cdp.define_flag('x', definition => '{"rules": [{"condition": "true", "variant": "onn"}]}');
SELECT cdp.define_flag('x', definition => '{"rules": [{"condition": "profile.plan ==", "variant": "on"}]}');
SELECT cdp.define_flag('x', definition => '{"rules": [{"variant": "on"}, {"condition": "segment(\"vipp\")", "variant": "on"}]}');
SELECT cdp.define_flag('x', definition => '{"rulez": []}');
SELECT cdp.define_flag('x', definition => '{"prerequisites": [{"flag": "paywal"}]}');
SELECT cdp.define_flag('x', definition => '{"prerequisites": [{"flag": "paywall", "variant": "sift"}]}');
SELECT cdp.define_flag('x', definition => '{"schedule": {"start": "2026-03-01", "end": "2026-02-01"}}');
SELECT cdp.define_flag('x', definition => '{"rollout": 120}');
SELECT cdp.define_flag('x', definition => '{"rollout": "all"}');
SELECT cdp.define_flag('x', definition => '{"holdout": "quartr"}');
SELECT cdp.define_flag('x', definition => '{"targets": {"on": ["u1"], "off": ["u1"]}}');
SELECT cdp.define_flag('x', definition => '[]');

-- A rule is explained like any other definition; so is an override of it.
SELECT (cdp.define_flag('gate', 'events.Never.count == 0')).key;
SELECT depth, expression, value FROM cdp.explain_decision('u1', 'gate');
SELECT (cdp.set_override('u1', 'gate', 'off')).variant;
SELECT depth, expression, value FROM cdp.explain_decision('u1', 'gate');
SELECT cdp.define_flag('p', definition => '{"rollout": 100, "prerequisites": [{"flag": "gate", "variants": []}]}');
SELECT cdp.define_flag('p', definition => '{"split": {}}');
SELECT cdp.decide('u1', 'gate', '[]');
SELECT message, hint FROM cdp.validate('traits.plan == "pro"', 'flag');
