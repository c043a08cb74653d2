-- Who calls a function needs rights in schema cdp alone: what runs with the caller's rights must not refer to _cdp.
SELECT p.oid::regprocedure FROM pg_proc AS p
WHERE p.pronamespace = 'cdp'::regnamespace AND NOT p.prosecdef AND p.prosrc LIKE '%\_cdp.%' ORDER BY 1;

CREATE ROLE rights_admin;
GRANT cdp_admin TO rights_admin;
SELECT cdp.bind_role('rights_admin', (cdp.define_namespace('rights')).name);
SET ROLE rights_admin;
SET client_min_messages = error;
SELECT status FROM cdp.ingest('[{"type": "track", "userId": "a", "event": "E", "messageId": "1"}, {"type": "track", "userId": "a"}]'::jsonb);
SELECT key FROM cdp.define_segment('one', 'events.E.count >= 1');
SELECT key FROM cdp.define_static_segment('two', '{a,b}');
SELECT members_a, "both" FROM cdp.segment_overlap('one', 'two');
-- Without a namespace the bound one is meant.
SELECT status, reason FROM cdp.requeue_quarantine();
SELECT key FROM cdp.define_destination('hook', 'webhook', '{"url": "https://hooks.example.com/x"}');
SELECT destination FROM cdp.define_route('hook', '{E}');
SELECT cdp.replay('event = ''E''', 'hook'), cdp.retry_dead_letters();
SELECT cdp.score_all() > 0 AS started;
SELECT name, kind, state FROM cdp.jobs WHERE run_id IS NOT NULL;
SELECT cdp.attach('pg_class', 'E', 'relname');

-- Conditions are conditions, and nothing else.
\set SHOW_CONTEXT never
SELECT cdp.check_filter('cdp.events', 'event = ''E'' -- all');
SELECT cdp.replay('event = ''E'') OR (true', 'hook');
SELECT cdp.replay('true LIMIT 1');
SELECT cdp.replay('event == "E"');
SELECT cdp.replay(NULL);
SELECT cdp.replay('true', 'hok');
SELECT cdp.replay('true', since => '2030-01-01', until => '2020-01-01');
SELECT cdp.retry_dead_letters('hook', 'reson = 3');
SELECT cdp.retry_dead_letters('hok');
SELECT cdp.requeue_quarantine('false; DROP TABLE x');
RESET ROLE;
SELECT cdp.unbind_role('rights_admin');
DROP ROLE rights_admin;
