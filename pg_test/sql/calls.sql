-- The six calls of the spec, and what becomes of them.
SET cdp.clock = '2026-01-15 12:00:00+00';
SELECT * FROM cdp.track('user_1', 'Order Completed', '{"total": 42.50}', message_id => 'm1');
SELECT * FROM cdp.track('user_1', 'Order Completed', '{"total": 42.50}', message_id => 'm1');
SELECT * FROM cdp.identify('user_1', '{"email": "Ada@Example.com", "plan": "pro"}', 'anon_1', message_id => 'm2');
SELECT * FROM cdp.page('user_1', 'Pricing', '{"path": "/pricing"}', 'Marketing', message_id => 'm3');
SELECT * FROM cdp.screen(NULL, 'Home', anonymous_id => 'anon_1', message_id => 'm4');
SELECT * FROM cdp."group"('user_1', 'acme', '{"seats": 12}', message_id => 'm5');
SELECT * FROM cdp.alias('user_1', 'old_1', message_id => 'm6');
SELECT type, event, "timestamp", user_id, anonymous_id, properties, traits, name, category, group_id, previous_id, message_id
FROM cdp.events ORDER BY message_id;
SELECT identifiers, traits, segments, groups, first_seen, last_seen, event_count FROM cdp.profile('ada@example.com');

-- Pages and screens are events of their own name, with their name among the properties.
SELECT cdp.evaluate('user_1', 'events."Page Viewed"[name == "Pricing"].count') AS pricing,
       cdp.evaluate('user_1', 'events."Screen Viewed".count') AS screens;

-- A future event is stored at its arrival, and the original time is kept.
SELECT status FROM cdp.track('user_1', 'Early', "timestamp" => '2026-02-01', message_id => 'm7');
SELECT "timestamp", original_timestamp FROM cdp.events WHERE message_id = 'm7';

-- A trait set to null is removed; nested traits merge by key.
SELECT status FROM cdp.identify('user_1', '{"plan": null, "address": {"city": "Paris"}}', message_id => 'm8');
SELECT status FROM cdp.identify('user_1', '{"address": {"zip": "75001"}}', message_id => 'm9');
SELECT traits FROM cdp.profile('user_1');
-- Somebody known by an email, a phone or a device alone.
SELECT (cdp.identify(NULL, '{"email": "zoe@example.com"}')).status;
SELECT (cdp.track(NULL, 'Opened Mail', context => '{"traits": {"email": "Zoe@example.com"}}')).status;
SELECT (cdp.track(NULL, 'Opened App', context => '{"device": {"id": "zoes-phone"}, "traits": {"email": "zoe@example.com"}}')).status;
SELECT identifiers - 'email_hash' AS identifiers, event_count FROM cdp.profile('zoes-phone');
SELECT cdp.identify(NULL, '{"plan": "pro"}');
SELECT cdp.track(NULL, 'Opened App', '{"email": "not among the traits"}');
