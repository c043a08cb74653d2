-- Suppression and consent: what is not taken, and what is not sent.
SET client_min_messages = warning;
SET cdp.clock = '2026-03-01 12:00:00+00';
-- Nobody listens on port 9.
SET cdp.http_allow_hosts = '127.0.0.1:9';
SELECT key FROM cdp.define_destination('all', 'webhook', '{"url": "http://127.0.0.1:9/all"}');
SELECT key FROM cdp.define_destination('ads', 'webhook', '{"url": "http://127.0.0.1:9/ads", "consent": ["advertising"]}');
SELECT key FROM cdp.define_destination('stats', 'webhook', '{"url": "http://127.0.0.1:9/stats", "consent": ["analytics"], "without_consent": "send"}');
SELECT destination FROM cdp.define_route('all', ARRAY['Order Completed']);
SELECT destination FROM cdp.define_route('ads', ARRAY['Order Completed']);
SELECT destination FROM cdp.define_route('stats', ARRAY['Order Completed']);
SELECT destination, consent FROM cdp.define_route('stats', ARRAY['Order Refunded'], consent => ARRAY['refunds', 'analytics']);
SELECT cdp.define_route('stats', ARRAY['X'], consent => ARRAY[' ']);
SELECT cdp.define_destination('x', 'webhook', '{"url": "http://127.0.0.1:9/", "consnt": ["advertising"]}');
SELECT cdp.define_destination('x', 'webhook', '{"url": "http://127.0.0.1:9/", "without_consent": "maybe"}');

-- A suppressed person: nothing is taken, under none of the person's identifiers, on no path.
SELECT status FROM cdp.identify('ada', '{"email": "Ada@Example.com"}', 'browser-1');
SELECT kind, identifier, reason FROM cdp.suppress('ada', 'asked by phone');
SELECT status, reason, profile_id FROM cdp.track('ada', 'Order Completed', message_id => 'a1');
SELECT status, reason FROM cdp.track(NULL, 'Order Completed', anonymous_id => 'browser-1');
SELECT status, reason FROM cdp.ingest('[{"type": "identify", "userId": "somebody", "traits": {"email": "ADA@example.com "}}, {"type": "track", "userId": "bob", "event": "X"}]'::jsonb);
INSERT INTO cdp.inbox (user_id, event) VALUES ('ada', 'X');
SELECT count(*) FROM cdp.events;
SELECT cdp.resolve('somebody') IS NULL AS is_nobody;
-- Nor are two people made one by it.
SELECT status, reason FROM cdp.alias('bob', 'ada');
SELECT kind, identifier, suppressed_at, reason, suppressed_by = current_user AS mine FROM cdp.suppressions ORDER BY 1;
SELECT cdp.unsuppress('Ada@Example.com');
SELECT status, reason FROM cdp.track('ada', 'Order Completed', message_id => 'a1');
SELECT destination, message_id FROM cdp.deliveries ORDER BY 1;
SELECT cdp.unsuppress('ada'), cdp.unsuppress('nobody');

-- Of somebody unknown yet.
SELECT kind, identifier FROM cdp.suppress('Eve@Example.com');
SELECT kind, identifier FROM cdp.suppress('555', kind => 'loyalty_card');
SELECT status, reason FROM cdp.identify('eve', '{"email": "eve@example.com"}');
SELECT status, reason FROM cdp.track('u9', 'X', context => '{"externalIds": [{"id": "555", "type": "loyalty_card"}]}');
SELECT status FROM cdp.track('555', 'X');
SELECT cdp.unsuppress('eve@example.com'), cdp.unsuppress('555', kind => 'loyalty_card');
SELECT count(*) FROM cdp.suppressions;
SELECT cdp.suppress('');

-- A rollback takes a suppression with it, also for the session that made it.
BEGIN;
SELECT kind, identifier FROM cdp.suppress('bob');
SELECT status FROM cdp.track('bob', 'X');
ROLLBACK;
SELECT status FROM cdp.track('bob', 'X');

-- What waits in the outbox is held back too, first tries and later ones.
SELECT cdp.run_due() > 0 AS done;
SELECT destination, message_id, attempts FROM cdp.deliveries ORDER BY 1;
SELECT count(*) FROM cdp.suppress('ada');
UPDATE _cdp.retries SET next_attempt_at = now();
SELECT cdp.run_due() > 0 AS done;
SELECT count(*) FROM cdp.deliveries;
SELECT key, delivered, discarded, rejected FROM cdp.destinations ORDER BY 1;
-- Nor does a replay send anything.
SELECT cdp.replay('true');
SELECT count(*) > 0 AS any FROM cdp.unsuppress('ada');

-- Consent that messages bring: only what changes is written down.
SELECT status FROM cdp.track('cleo', 'Order Completed', context => '{"consent": {"categoryPreferences": {"advertising": true, "analytics": false, "odd": "yes"}}}', message_id => 'c1');
SELECT status FROM cdp.track('cleo', 'Order Completed', context => '{"consent": {"category_preferences": {"advertising": true}}}', message_id => 'c2');
SELECT status FROM cdp.track('dan', 'Order Completed', message_id => 'd1');
SELECT status FROM cdp.track('dan', 'Order Refunded', message_id => 'd2');
SELECT destination, message_id FROM cdp.deliveries ORDER BY 1, 2;
SELECT * FROM cdp.consent('cleo');
SELECT category, granted, stated_at, source, message_id FROM cdp.consent_statements ORDER BY 1;

-- Consent that is set by hand, also of people of whom nothing is known; withdrawn consent holds back what waits.
SELECT category, granted, since, source FROM cdp.set_consent('dan', '{"advertising": true, "analytics": true}', 'preference centre');
SELECT category, granted FROM cdp.set_consent('fay', '{"advertising": true}', 'import');
SELECT type, context FROM cdp.events WHERE user_id = 'fay';
SET cdp.clock = '2026-03-01 13:00:00+00';
SELECT category, granted, since FROM cdp.set_consent('cleo', '{"advertising": false}');
SELECT cdp.run_due() > 0 AS done;
SELECT destination, message_id FROM cdp.deliveries ORDER BY 1, 2;
-- A statement that arrives late does not undo a later one.
SELECT category, granted FROM cdp.set_consent('cleo', '{"advertising": true}', "timestamp" => '2026-03-01 12:30:00+00') WHERE category = 'advertising';
-- The message's own no is enough.
SELECT status FROM cdp.track('dan', 'Order Completed', context => '{"consent": {"categoryPreferences": {"advertising": false}}}', "timestamp" => '2026-03-01 11:00:00+00', message_id => 'd3');
SELECT destination FROM cdp.deliveries WHERE message_id = 'd3' ORDER BY 1;
SELECT cdp.set_consent('dan', '{"advertising": "no"}');
SELECT cdp.set_consent('dan', '["advertising"]');
SELECT * FROM cdp.consent('nobody');

-- When two people turn out to be one, a no of either counts, until the person says otherwise.
SELECT count(*) FROM cdp.set_consent('gil', '{"advertising": true, "analytics": true}');
SELECT status FROM cdp.track(NULL, 'X', anonymous_id => 'browser-2', context => '{"consent": {"categoryPreferences": {"advertising": false, "news": true}}}');
SET cdp.clock = '2026-03-01 14:00:00+00';
SELECT status FROM cdp.identify('gil', anonymous_id => 'browser-2', message_id => 'merging');
SELECT category, granted FROM cdp.consent('gil');
SELECT status FROM cdp.track('gil', 'Order Completed', message_id => 'g1');
SELECT destination FROM cdp.deliveries WHERE message_id = 'g1' ORDER BY 1;
-- Taken apart, each has what was said by it.
SELECT count(*) FROM cdp.unmerge('gil', 'browser-2');
SELECT category, granted FROM cdp.consent('gil');
SELECT category, granted FROM cdp.consent('browser-2');
