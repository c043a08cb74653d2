-- Destinations and routes: what is checked, what is shown, what is refused.
\set VERBOSITY verbose
SELECT namespace, key, kind, config, secrets, enabled, paused_at FROM cdp.define_destination('hook', 'webhook', '{"url": "https://hooks.example.com/in"}');
-- The same key again changes it.
SELECT config, enabled FROM cdp.define_destination('hook', 'webhook', '{"url": "https://hooks.example.com/new"}', enabled => false);
SELECT key, config, enabled FROM cdp.destinations;

SELECT cdp.define_destination('hook', 'webhok', '{}');
SELECT cdp.define_destination('hook', 'webhook', '{"uri": "https://hooks.example.com"}');
SELECT cdp.define_destination('hook', 'webhook', '{"url": "ftp://hooks.example.com"}');
SELECT cdp.define_destination('hook', 'webhook', NULL);
SELECT cdp.define_destination('ho"ok', 'webhook', '{"url": "https://hooks.example.com"}');
SELECT cdp.define_destination('chat', 'slack', '{}');

-- Secrets are references, or sealed with a key; without a key a secret in clear is refused.
SELECT cdp.define_destination('hook', 'webhook', '{"url": "https://hooks.example.com"}', '{"signing_secret": "in clear"}');
SELECT cdp.define_destination('hook', 'webhook', '{"url": "https://hooks.example.com"}', '{"signing_secret": "env:HOME"}');
SELECT cdp.define_destination('hook', 'webhook', '{"url": "https://hooks.example.com"}', '{"signing_secret": 1}');
SELECT cdp.define_destination('hook', 'webhook', '{"url": "https://hooks.example.com"}', '{"singing_secret": "env:CDP_HOOK"}');
SELECT secrets FROM cdp.define_destination('signed', 'webhook', '{"url": "https://hooks.example.com"}', '{"signing_secret": "env:CDP_HOOK"}');
SELECT * FROM cdp.test_destination('signed');
-- Nobody listens there.
SET cdp.http_allow_hosts = '127.0.0.1:9';
SELECT key FROM cdp.define_destination('deaf', 'webhook', '{"url": "http://127.0.0.1:9/"}');
SELECT * FROM cdp.test_destination('deaf');
SELECT cdp.drop_destination('deaf');
RESET cdp.http_allow_hosts;

-- Routes are told apart by destination, events and filter.
SELECT destination, events, filter, mapping, transform FROM cdp.define_route('hook', ARRAY['Order Completed', 'Order Refunded', 'Order Completed']);
SELECT destination, events, filter, mapping FROM cdp.define_route('hook', ARRAY['Order Refunded', 'Order Completed'], mapping => '{"drop": ["context"]}');
SELECT destination, events, filter FROM cdp.define_route('hook', ARRAY['Order Completed'], 'total>=1000');
SELECT destination, events, filter FROM cdp.define_route('hook');
SELECT destination, events, filter, mapping FROM cdp.routes ORDER BY events, filter;
SELECT cdp.define_route('hok');
SELECT cdp.define_route('hook', '{}');
SELECT cdp.define_route('hook', filter => 'total >');
SELECT cdp.define_route('hook', mapping => '{"renam": {"a": "b"}}');
SELECT cdp.define_route('hook', transform => 'public.nothing');
SELECT cdp.define_route('hook', transform => 'pg_catalog.jsonb_typeof');
SELECT cdp.drop_route('hook', ARRAY['Order Completed']);
SELECT cdp.drop_destination('hook');
SELECT cdp.drop_route('hook');
SELECT cdp.drop_route('hook', ARRAY['Order Completed', 'Order Refunded']);
SELECT cdp.drop_route('hook', ARRAY['Order Completed'], 'total >= 1000');
SELECT cdp.drop_destination('hook');
SELECT cdp.drop_destination('hook');

-- A segment that syncs to a destination uses it.
SELECT key FROM cdp.define_segment('buyers', 'events."Order Completed".count >= 1', sync_to => '{signed}');
SELECT cdp.drop_destination('signed');

-- What waits for one kind does not go to another.
SELECT status FROM cdp.track('ada', 'Order Completed', message_id => 'w1');
SELECT cdp.define_destination('signed', 'segment', '{}', '{"write_key": "env:CDP_KEY"}');
SELECT kind FROM cdp.define_destination('empty', 'webhook', '{"url": "https://hooks.example.com"}');
SELECT kind FROM cdp.define_destination('empty', 'segment', '{}', '{"write_key": "env:CDP_KEY"}');

-- Headers and queries with credentials are shown to those who may change them.
SELECT config FROM cdp.define_destination('private', 'webhook',
    '{"url": "https://hooks.example.com/in?token=s3cret&user={{userId}}", "headers": {"Authorization": "Bearer abc", "X-Api-Key": "k3y", "X-Team": "a", "Idempotency-Key": "x"}}');
SET ROLE cdp_reader;
SELECT config FROM cdp.destinations WHERE key = 'private';
RESET ROLE;

-- A destination that lacks something goes on by itself once it is there, unless somebody paused it.
SET client_min_messages = error;
SELECT cdp.run_due(1) >= 0 AS done;
SELECT key, paused_reason FROM cdp.destinations WHERE paused_at IS NOT NULL ORDER BY key;
UPDATE _cdp.destinations SET secrets = '{}' WHERE key = 'empty';
SELECT cdp.run_due(1) >= 0 AS done;
SELECT key, paused_reason FROM cdp.destinations WHERE paused_at IS NOT NULL ORDER BY key;
UPDATE _cdp.destinations SET secrets = '{"write_key": "env:CDP_KEY"}', updated_at = updated_at + '1s' WHERE key = 'empty';
SELECT cdp.run_due(1) >= 0 AS done;
SELECT key, paused_reason FROM cdp.pause_destination('empty');
UPDATE _cdp.destinations SET secrets = '{}' WHERE key = 'empty';
SELECT cdp.run_due(1) >= 0 AS done;
SELECT key, paused_reason FROM cdp.destinations WHERE paused_at IS NOT NULL ORDER BY key;
RESET client_min_messages;
SELECT cdp.drop_destination('empty'), cdp.drop_destination('private');
-- A sealed secret without its key.
UPDATE _cdp.destinations SET secrets = '{"authorization": "sealed:v1:AAAA"}' WHERE key = 'signed';
SELECT * FROM cdp.test_destination('signed');
UPDATE _cdp.destinations SET secrets = '{"signing_secret": "env:CDP_HOOK"}' WHERE key = 'signed';

-- Pausing and resuming.
SELECT paused_at IS NOT NULL AS paused, paused_reason FROM cdp.pause_destination('signed', 'their maintenance');
SELECT paused_at IS NOT NULL AS paused, paused_reason FROM cdp.resume_destination('signed');
SELECT cdp.pause_destination('sined');
