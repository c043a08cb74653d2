-- Batches: SDK-shaped, arrays, NDJSON, INSERT and COPY; a bad message never sinks the others.
SET cdp.clock = '2026-01-15 12:00:00+00';
SELECT message_id, status, reason FROM cdp.ingest('{
  "batch": [
    {"type": "track", "userId": "u1", "event": "Signed Up", "messageId": "b1", "timestamp": "2026-01-15T11:00:00Z"},
    {"type": "track", "userId": "u1", "event": "", "messageId": "b2"},
    {"type": "identify", "userId": "u1", "traits": {"plan": "free"}, "messageId": "b3"}
  ],
  "context": {"ip": "192.0.2.1"}, "sentAt": "2026-01-15T12:00:10Z"}'::jsonb);
SELECT message_id, status FROM cdp.ingest('[{"type": "track", "user_id": "u2", "event": "Signed Up", "message_id": "b4"}, {"type": "page", "anonymousId": "a2", "messageId": "b5"}]'::text);
SELECT message_id, status FROM cdp.ingest(E'{"userId": "u3", "event": "Signed Up", "messageId": "b6"}\n{"nobody": true}\n{"userId": "u3", "event": "Signed Up", "messageId": "b6"}');
SELECT message_id, "timestamp", context FROM cdp.events ORDER BY message_id;
SELECT code, field, reason, original FROM cdp.quarantine ORDER BY quarantine_id;

INSERT INTO cdp.inbox (user_id, event, properties, "timestamp", message_id) VALUES
    ('u4', 'Order Completed', '{"total": 10}', '2026-01-01', 'i1'),
    ('u4', 'Order Completed', '{"total": 20}', '2026-01-02', 'i2'),
    (NULL, 'Order Completed', '{}', NULL, 'i3');
COPY cdp.inbox (type, user_id, event, traits, message_id) FROM stdin;
identify	u4	\N	{"plan": "pro"}	i4
track	u4	Logged In	\N	i5
\.
SELECT cdp.evaluate('u4', 'events."Order Completed".sum(total)') AS total, traits, event_count FROM cdp.profile('u4');
SELECT code, count(*) FROM cdp.quarantine GROUP BY code ORDER BY code;
SELECT cdp.ingest('{"batch": [');
-- What was refused is taken after a fix; what still fails goes back.
SELECT message_id, status, reason FROM cdp.requeue_quarantine($$code = 'missing_event'$$);
SELECT count(*) FROM cdp.quarantine;
SET cdp.max_event_bytes = '1kB';
SELECT status, reason FROM cdp.ingest(jsonb_build_object('userId', 'u5', 'event', 'Long', 'messageId', 'q1', 'properties', jsonb_build_object('text', repeat('x', 2000))));
RESET cdp.max_event_bytes;
SELECT message_id, status FROM cdp.requeue_quarantine('field IS NULL OR true', 100) WHERE status = 'accepted';
SELECT cdp.evaluate('u5', 'events.Long.count');
SELECT code, count(*) FROM cdp.quarantine GROUP BY code ORDER BY code;
SELECT count(*) FROM cdp.requeue_quarantine("limit" => 1);
SELECT count(*) FROM cdp.requeue_quarantine((SELECT array_agg(quarantine_id) FROM cdp.quarantine));
SELECT cdp.requeue_quarantine('no such column');
-- A hundred events of one millisecond, without message ids, are a hundred.
SELECT count(*), count(DISTINCT message_id) FROM generate_series(1, 100) AS n, cdp.track('u6', 'Tapped', jsonb_build_object('n', n), "timestamp" => '2026-01-15 11:00:00.001+00');
INSERT INTO cdp.inbox (user_id, event, "timestamp") SELECT 'u6', 'Tapped', '2026-01-15 11:00:00.001+00' FROM generate_series(1, 100);
SELECT cdp.evaluate('u6', 'events.Tapped.count') AS count, cdp.evaluate('u6', 'events.Tapped.unique_days') AS days;
