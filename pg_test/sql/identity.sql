-- Any text in the type of an external id is a kind. One namespace cannot use up the kinds of all.
SELECT name FROM cdp.define_namespace('careless') UNION ALL SELECT name FROM cdp.define_namespace('careful');
CREATE FUNCTION pg_temp.message(kind text, id text) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('type', 'track', 'event', 'Seen', 'messageId', kind || id,
        'context', jsonb_build_object('externalIds', jsonb_build_array(jsonb_build_object('type', kind, 'id', id))))
$$;
SELECT status, count(*) FROM cdp.ingest((SELECT jsonb_agg(pg_temp.message('card_' || i, 'c' || i)) FROM generate_series(1, 1000) AS i), 'careless')
GROUP BY status ORDER BY status;
SELECT code, reason, count(*) FROM cdp.quarantine WHERE namespace = 'careless' AND reason LIKE '%card\_99_"%' OR reason LIKE '%card\_1000"%' GROUP BY code, reason ORDER BY reason;
SELECT cdp.ingest(pg_temp.message('loyalty_card', '1'), 'careless');
SELECT status FROM cdp.ingest(pg_temp.message('card_1', 'c1again'), 'careless');

SELECT status FROM cdp.ingest(pg_temp.message('loyalty_card', '1'), 'careful');
SELECT status FROM cdp.ingest(pg_temp.message('card_1', 'c1'), 'careful');
SELECT namespace, kind, value FROM cdp.identifiers WHERE kind = 'loyalty_card' OR value = 'c1' ORDER BY 1, 2, 3;
SELECT cdp.resolve('c1', 'card_1', 'careful') = cdp.resolve('c1', namespace => 'careful') AS same,
    cdp.resolve('c1', 'card_1', 'careful') = cdp.resolve('c1', 'card_1', 'careless') AS "in both", cdp.resolve('1', 'loyalty_card', 'careless') AS none;
SELECT kind, identifier FROM cdp.suppress('c1', kind => 'card_1', namespace => 'careful');
SELECT status FROM cdp.ingest(pg_temp.message('card_1', 'c1') || '{"messageId": "later"}', 'careful')
UNION ALL SELECT status FROM cdp.ingest(pg_temp.message('card_1', 'c1') || '{"messageId": "later"}', 'careless');

-- They go with the namespace.
SELECT cdp.drop_namespace('careless', everything => true);
SELECT count(*) FROM _cdp.identifier_kinds WHERE name LIKE 'card%';
SELECT value FROM cdp.identifiers WHERE kind = 'card_1';

-- An email that is taken off somebody takes its hash with it, and the other way round.
SELECT status FROM cdp.identify('ada', '{"email": "Shared@example.com"}', message_id => 'sign-up');
SELECT identifiers FROM cdp.unmerge('ada', 'shared@example.com');
SELECT status FROM cdp.identify('ada', '{"email": "shared@example.com"}', message_id => 'again');
SELECT identifiers FROM cdp.profile('ada');
SELECT status FROM cdp.identify('bob', '{"email": "bob@example.com"}', message_id => 'bob');
SELECT identifiers FROM cdp.unmerge('bob', encode(sha256('bob@example.com'), 'hex'));
SELECT status FROM cdp.identify(NULL, '{"email": "cy@example.com"}', message_id => 'cy');
SELECT cdp.unmerge('cy@example.com', 'cy@example.com');

-- A message does not choose its namespace.
SELECT status FROM cdp.ingest('{"type": "track", "event": "Seen", "userId": "cy", "namespace": "careful"}'::jsonb);
SELECT namespace FROM cdp.events WHERE user_id = 'cy';

-- The earlier id of an alias may be an email, if it is nothing else.
SELECT status FROM cdp.identify(NULL, '{"email": "Dee@example.com"}', anonymous_id => 'browser-d', message_id => 'visit');
SELECT status FROM cdp.alias('dee', 'dee@Example.com', message_id => 'alias');
SELECT identifiers - 'email_hash' AS identifiers FROM cdp.profile('browser-d');

-- A batch in which each merges into the next older one: it is the last who has everything.
SELECT name FROM cdp.define_namespace('chain', settings => '{"identity": {"kinds": [{"kind": "anonymous_id", "limit": 1000}]}}');
SELECT status, count(*) FROM cdp.ingest((SELECT jsonb_agg(jsonb_build_object('type', 'track', 'event', 'Seen', 'messageId', 'seen' || i, 'anonymousId', 'b' || i) ORDER BY i DESC)
    FROM generate_series(1, 300) AS i), 'chain') GROUP BY status;
SELECT status, count(*) FROM cdp.ingest((SELECT jsonb_agg(jsonb_build_object('type', 'identify', 'messageId', 'met' || i, 'anonymousId', 'b' || i,
    'context', jsonb_build_object('externalIds', jsonb_build_array(jsonb_build_object('type', 'anonymous_id', 'id', 'b' || i + 1)))) ORDER BY i)
    FROM generate_series(1, 299) AS i), 'chain') GROUP BY status;
SELECT count(*) AS people, max(event_count) AS events, bool_and(profile_id = cdp.resolve('b300', namespace => 'chain')) AS oldest FROM cdp.people WHERE namespace = 'chain';
SELECT count(*) AS identifiers, count(DISTINCT profile_id) AS owners FROM cdp.identifiers WHERE namespace = 'chain';
SELECT events, jsonb_array_length(identifiers -> 'anonymous_id') AS identifiers FROM cdp.unmerge('b300', 'b150', namespace => 'chain');
