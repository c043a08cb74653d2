-- Segments: entered and left with events and with time, with the reason.
SET cdp.clock = '2026-01-15 12:00:00+00';
SELECT key FROM cdp.define_trait('orders_7d', 'events.order.count_7d');
SELECT key, rule, members FROM cdp.define_segment('active', 'orders_7d >= 2');
SELECT key, rule FROM cdp.define_segment('recent', 'last_seen_minutes_ago < 1440 and not segment("active")');
SELECT status FROM cdp.track('u1', 'order', message_id => 'm1', "timestamp" => '2026-01-14 12:00:00+00');
SELECT key, since FROM cdp.segments('u1');
SELECT status FROM cdp.track('u1', 'order', message_id => 'm2');
SELECT key, since FROM cdp.segments('u1');
SELECT cdp.in_segment('u1', 'active') AS active, cdp.in_segment('nobody', 'active') AS nobody;
SELECT user_id, since FROM cdp.members('active');
SELECT depth, expression, value, changes_at, events FROM cdp.explain_segment('u1', 'active');

-- A week after the first order only one is left, and nothing happened but time.
SET cdp.clock = '2026-01-25 00:00:00+00';
SELECT cdp.in_segment('u1', 'active') AS active, (SELECT count(*) FROM cdp.members('active')) AS members;
SELECT cdp.run_due() > 0 AS done;
SELECT at, what, key, old, new, cause FROM cdp.history('u1');

SELECT key, rule FROM cdp.define_audience('High Value At Risk', '{"and": [{"trait": "ltv", "operator": ">", "value": 1000}, {"trait": "lastSeen", "operator": "<", "value": "30d"}, {"event": "subscription.cancelled", "window": "7d"}]}');
SELECT members, profiles FROM cdp.preview('events.order.count >= 1');
SELECT cdp.define_segment('a', 'segment("a")');
SELECT cdp.define_segment('never', 'segment("activ")');
SELECT cdp.drop_segment('active');
SELECT cdp.in_segment('u1', 'activ');
