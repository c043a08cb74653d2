-- Deliveries without workers: cdp.run_due() sends, what cannot be sent waits or becomes a dead letter.
SET client_min_messages = warning;
-- Nobody listens on port 9; the other host is not opened.
SET cdp.http_allow_hosts = '127.0.0.1:9';
SELECT key FROM cdp.define_destination('refusing', 'webhook', '{"url": "http://127.0.0.1:9/in"}');
SELECT key FROM cdp.define_destination('private', 'webhook', '{"url": "http://127.0.0.1:10/in"}');
SELECT destination FROM cdp.define_route('refusing', ARRAY['Order Completed'], 'total >= 10');
SELECT destination FROM cdp.define_route('private', ARRAY['Order Completed']);
SELECT count(*) FROM generate_series(1, 3) AS n, cdp.track('ada', 'Order Completed', jsonb_build_object('total', n * 8), message_id => 'm' || n);
SELECT destination, kind, message_id, payload -> 'properties' AS properties, status, attempts FROM cdp.deliveries ORDER BY 1, 3;

SELECT cdp.run_due() AS done;
-- The first message of a person that failed holds back those behind it.
SELECT destination, message_id, status, attempts, last_error FROM cdp.deliveries ORDER BY 1, 2;
SELECT destination, message_id, reason, attempts, status FROM cdp.dead_letters ORDER BY 1, 2;
SELECT key, delivered, retried, rejected, last_error FROM cdp.destinations ORDER BY 1;
SELECT component, ok FROM cdp.health() WHERE component LIKE 'destination%' ORDER BY 1;

-- Dead letters go back into the queue: all of a destination, those that a condition chooses, or some by id.
SELECT cdp.retry_dead_letters('refusing');
SELECT cdp.retry_dead_letters('private', $$message_id = 'm2'$$);
SELECT cdp.retry_dead_letters(ARRAY(SELECT delivery_id FROM cdp.dead_letters WHERE message_id = 'm3'));
SELECT destination, message_id, status FROM cdp.deliveries WHERE destination = 'private' ORDER BY 2;
SELECT cdp.retry_dead_letters(filter => 'nonsense');

-- A paused destination keeps receiving; nothing is tried.
SELECT key, paused_reason FROM unnest(ARRAY['private', 'refusing']) AS wanted, cdp.pause_destination(wanted, 'a pause');
SELECT cdp.run_due() AS done;
SELECT destination, message_id, status FROM cdp.deliveries WHERE destination = 'private' ORDER BY 2;
SELECT key, paused_reason FROM cdp.resume_destination('refusing');

-- Past events are sent again where routes want them, marked as replay.
SELECT cdp.replay($$properties ->> 'total' = '24'$$, 'private');
SELECT cdp.replay('true', since => '2100-01-01');
\set VERBOSITY verbose
SELECT cdp.replay('true', 'privat');
-- A channel that people read takes none: to name it is an error, else it is left out.
SELECT key FROM cdp.define_destination('people', 'slack', '{}', '{"webhook_url": "env:CDP_NO_SLACK"}', enabled => true);
SELECT destination FROM cdp.define_route('people');
SELECT cdp.replay('true', 'people', since => '2100-01-01');
\set VERBOSITY default
SELECT cdp.replay($$properties ->> 'total' = '24'$$) AS "without people";
SELECT cdp.drop_route('people'), cdp.drop_destination('people');
SELECT message_id, replay, payload -> 'context' AS context FROM cdp.deliveries WHERE destination = 'private' AND replay;

-- Mapping and transformation, tried and applied.
CREATE FUNCTION public.shape(message jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    IF message -> 'properties' ? 'bad' THEN RAISE EXCEPTION 'a bad one'; END IF;
    IF message -> 'properties' ? 'unwanted' THEN RETURN NULL; END IF;
    RETURN message || '{"shaped": true}';
END
$$;
SELECT outcome, result, request, detail FROM cdp.try_route('private', '{"type": "track", "event": "X", "properties": {"a": 1}}', '{"set": {"properties.b": "$.properties.a"}}', 'public.shape');
SELECT outcome, detail FROM cdp.try_route('private', '{"event": "X", "properties": {"bad": 1}}', transform => 'public.shape');
SELECT outcome, detail FROM cdp.try_route('private', '{"event": "X", "properties": {"unwanted": 1}}', transform => 'public.shape');
SELECT outcome, detail FROM cdp.try_route('private', '{"event": "X"}', '{"if": {"$eq": ["$.event", "Y"]}}');
-- Without them, the destination's own routes are asked; and the message is looked at.
SELECT key FROM cdp.define_destination('tried', 'webhook', '{"url": "https://hooks.example.com/tried"}');
SELECT outcome, result, detail FROM cdp.try_route('tried', '{"event": "X", "properties": {"a": 1}}');
SELECT destination FROM cdp.define_route('tried', ARRAY['X'], 'a > 0 && profile.plan == "pro"', mapping => '{"rename": {"properties.a": "properties.b"}}');
SELECT status FROM cdp.identify('tess', '{"plan": "pro"}');
SELECT outcome, result, detail FROM cdp.try_route('tried', '{"type": "track", "event": "X", "userId": "tess", "properties": {"a": 1}}');
SELECT outcome, detail FROM cdp.try_route('tried', '{"type": "track", "event": "X", "userId": "tess", "properties": {"a": 0}}');
SELECT outcome, detail FROM cdp.try_route('tried', '{"type": "track", "event": "X", "userId": "somebody", "properties": {"a": 1}}');
SELECT cdp.try_route('tried', '{"type": "trak", "event": "X"}');
SELECT cdp.try_route('tried', '{"type": "track", "properties": {"a": 1}}', mapping => '{}');
SELECT cdp.try_route('tried', '[1]');
SELECT cdp.drop_route('tried', ARRAY['X'], 'a > 0 && profile.plan == "pro"'), cdp.drop_destination('tried');
SELECT destination FROM cdp.define_route('refusing', ARRAY['X'], transform => 'public.shape');
SELECT status FROM cdp.track('bob', 'X', '{"bad": 1}');
SELECT status FROM cdp.track('cleo', 'X', '{"unwanted": 1}');
SELECT cdp.run_due(5) > 0 AS done;
SELECT reason, attempts, payload -> 'properties' AS properties FROM cdp.dead_letters WHERE destination = 'refusing';
SELECT discarded FROM cdp.destinations WHERE key = 'refusing';

-- Dropping a destination ends what waits for it.
SELECT cdp.drop_route('private', ARRAY['Order Completed']);
SELECT cdp.drop_destination('private');
SELECT DISTINCT destination FROM cdp.deliveries;

-- How long a message is tried is a setting of its destination: here it is tried once.
SELECT key FROM cdp.define_destination('once', 'webhook', '{"url": "http://127.0.0.1:9/once", "retry_hours": 0}');
SELECT destination FROM cdp.define_route('once', ARRAY['Once']);
SELECT status FROM cdp.track('dan', 'Once', message_id => 'once');
SELECT cdp.run_due() > 0 AS done;
SELECT destination, message_id, reason, attempts, request LIKE 'POST http://127.0.0.1:9/once%' AS has_request FROM cdp.dead_letters WHERE destination = 'once';

-- In the filter of a route a bare name is a property of the message.
RESET client_min_messages;
SELECT destination, filter FROM cdp.define_route('once', ARRAY['Twice'], 'event == "Twice" && total > 5');
SELECT cdp.define_destination('twice', 'webhook', '{"urls": "http://127.0.0.1:9/", "concurency": 3}');

-- What came of a message is sent after it; what time did before.
SET client_min_messages = error;
SELECT key FROM cdp.define_segment('quick', 'events.Rang.count_1h >= 1');
SELECT key FROM cdp.define_destination('line', 'webhook', '{"url": "https://hooks.example.com/line"}');
SELECT destination FROM cdp.define_route('line', '{Rang,Segment Entered,Segment Exited}');
SET cdp.clock = '2026-05-01 10:00:00+00';
SELECT status FROM cdp.track('ringer', 'Rang', message_id => 'r1');
SET cdp.clock = '2026-05-01 12:00:00+00';
SELECT status FROM cdp.track('ringer', 'Rang', message_id => 'r2');
SELECT row_number() OVER (ORDER BY delivery_id) AS place, payload->>'event' AS event FROM cdp.deliveries WHERE destination = 'line' ORDER BY delivery_id;

-- Transformations that are none, or return no object.
CREATE FUNCTION public.five(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT ''5''::jsonb';
SELECT destination, transform FROM cdp.define_route('line', '{Rang}', transform => 'public.five(jsonb) returns jsonb');
SELECT outcome, detail FROM cdp.try_route('line', '{"type": "track", "event": "Rang", "userId": "ringer"}', transform => 'public.five');
SELECT cdp.define_route('line', '{Rang}', transform => '');
SELECT cdp.define_route('line', '{Rang}', transform => 'pg_catalog.now; drop table x');
