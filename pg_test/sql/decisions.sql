-- Flags, answered from what happened a moment ago.
SET cdp.clock = '2026-01-15 12:00:00+00';
SELECT key FROM cdp.define_segment('vip', 'events.order.sum_30d(total) > 100');
SELECT key, rule FROM cdp.define_flag('paywall', 'not segment("vip") && profile.plan != "pro"', description => 'Shows the paywall');
SELECT * FROM cdp.decide('u1', 'paywall');
SELECT status FROM cdp.track('u1', 'order', '{"total": 60}', message_id => 'm1');
SELECT * FROM cdp.decide('u1', 'paywall');
BEGIN;
SELECT status FROM cdp.track('u1', 'order', '{"total": 60}', message_id => 'm2');
SELECT allow, reasons FROM cdp.decide('u1', 'paywall');
ROLLBACK;
SELECT allow FROM cdp.decide('u1', 'paywall');
SELECT status FROM cdp.identify('u1', '{"plan": "pro"}', message_id => 'm3');
SELECT allow, reasons FROM cdp.decide('u1', 'paywall');
SELECT key FROM cdp.define_flag('beta', definition => '{"rule": "context.country == \"FR\""}');
SELECT allow FROM cdp.decide('u1', 'beta', '{"country": "FR"}');
SELECT cdp.decide('u1', 'paywal');
SELECT cdp.drop_segment('vip');
SELECT cdp.define_flag('empty');
