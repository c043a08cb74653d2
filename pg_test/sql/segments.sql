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

-- A trait that an audience reads is a computed one as soon as there is one of that name.
SELECT status FROM cdp.identify('rich', '{"ltv": 5000, "country": "DE"}', message_id => 'i1');
SELECT key, rule, members FROM cdp.define_audience('Rich', '{"trait": "ltv", "operator": ">", "value": 1000}');
SELECT key, members FROM cdp.define_segment('rich here', 'profile.ltv > 1000 && attribute("country") == "DE"');
SELECT key FROM cdp.define_flag('concierge', 'attribute("ltv") > 1000');
SELECT allow, reasons FROM cdp.decide('rich', 'concierge');
SELECT key FROM cdp.define_trait('ltv', 'events.order.sum(total)');
SELECT key, rule, members FROM cdp.segment_definitions WHERE key LIKE 'rich%' ORDER BY key;
SELECT depth, expression, value FROM cdp.explain_segment('rich', 'rich');
SELECT allow, reasons FROM cdp.decide('rich', 'concierge');
SELECT status FROM cdp.track('u1', 'order', '{"total": 2000}', message_id => 'm3', "timestamp" => '2026-01-24 12:00:00+00');
SELECT user_id FROM cdp.members('rich');
SELECT allow, reasons FROM cdp.decide('u1', 'concierge');
SELECT cdp.define_trait('country', 'if(segment("rich here"), "DE", "elsewhere")');
SELECT cdp.drop_trait('ltv');

SELECT members, profiles FROM cdp.preview('events.order.count >= 1');
SELECT cdp.define_segment('a', 'segment("a")');
SELECT cdp.define_segment('never', 'segment("activ")');
SELECT cdp.drop_segment('active');
SELECT cdp.in_segment('u1', 'activ');
