-- Roles that are bound to a namespace: what they may do, and what they are told.
SET cdp.clock = '2026-01-15 12:00:00+00';
SET client_min_messages = warning;
DROP ROLE IF EXISTS acme_app, acme_analyst, globex_app, agency, newcomer;
\set VERBOSITY verbose
SELECT name FROM cdp.define_namespace('acme');
SELECT name FROM cdp.define_namespace('globex');
CREATE ROLE acme_app IN ROLE cdp_admin;
CREATE ROLE acme_analyst IN ROLE acme_app;
CREATE ROLE globex_app IN ROLE cdp_writer;
CREATE ROLE agency IN ROLE cdp_admin;
SELECT cdp.bind_role('acme_app', 'acme');
SELECT cdp.bind_role('globex_app', 'acme');
SELECT cdp.bind_role('globex_app', 'globex');
SELECT role, namespace FROM cdp.role_bindings ORDER BY role;

-- Nobody is bound by accident, and nobody is who cannot be.
SELECT cdp.bind_role('acme_ap', 'acme');
SELECT cdp.bind_role('acme_app', 'acne');
SELECT cdp.bind_role(current_user, 'acme');
SELECT cdp.bind_role('cdp_writer', 'acme');
SELECT cdp.bind_role(NULL, 'acme');
SELECT cdp.unbind_role('agency');

-- A bound role needs to name nothing, and may name its own.
SET ROLE acme_app;
SELECT status FROM cdp.track('ann', 'Ordered', '{"total": 5}', message_id => 'a1');
SELECT status FROM cdp.track('ann', 'Ordered', message_id => 'a2', namespace => 'acme');
INSERT INTO cdp.inbox (user_id, event, message_id) VALUES ('ann', 'Ordered', 'a3');
COPY cdp.inbox (user_id, event, message_id, namespace) FROM stdin;
ann	Ordered	a4	acme
\.
SELECT cdp.current_namespace(), cdp.evaluate('ann', 'events.Ordered.count');
SELECT role, namespace FROM cdp.role_bindings;
SELECT name FROM cdp.namespaces;

-- Others it cannot name: in a call, for the session, in a row. Whether they exist is not told.
SELECT cdp.track('bob', 'Ordered', namespace => 'globex');
SELECT cdp.track('bob', 'Ordered', namespace => 'nowhere');
SELECT cdp.track('bob', 'Ordered', namespace => 'default');
SET cdp.namespace = 'globex';
SELECT cdp.evaluate('ann', '1');
RESET cdp.namespace;
INSERT INTO cdp.inbox (user_id, event, namespace) VALUES ('ann', 'Ordered', 'acme'), ('bob', 'Ordered', 'globex');
COPY cdp.inbox (user_id, event, namespace) FROM stdin;
bob	Ordered	globex
\.
SELECT cdp.replay('true', namespace => 'globex');
SELECT cdp.retry_dead_letters(namespace => 'globex');
-- What is about all namespaces is not for it.
SELECT cdp.run_due();
SELECT cdp.metrics();
SELECT cdp.define_namespace('acme');
SELECT cdp.define_namespace('new');
SELECT cdp.bind_role('acme_app', 'globex');
SELECT cdp.unbind_role('acme_app');
RESET ROLE;

-- A role that inherits is bound as well; logging in as a bound role and changing to another does not help.
SET ROLE acme_analyst;
SELECT cdp.current_namespace(), (SELECT count(*) FROM cdp.events);
RESET ROLE;
SET SESSION AUTHORIZATION acme_analyst;
SET ROLE cdp_writer;
SELECT cdp.current_namespace(), (SELECT count(*) FROM cdp.events);
SELECT cdp.current_namespace('globex');
RESET SESSION AUTHORIZATION;
-- Nor does a function or a view of somebody who may see everything.
CREATE FUNCTION public.everything() RETURNS TABLE (namespace text, events bigint) SECURITY DEFINER LANGUAGE sql
    AS 'SELECT namespace, count(*) FROM cdp.events GROUP BY namespace';
CREATE VIEW public.everything AS SELECT namespace, event FROM cdp.events;
GRANT SELECT ON public.everything TO PUBLIC;
SELECT status FROM cdp.track('bob', 'Ordered', message_id => 'b1', namespace => 'globex');
SET ROLE globex_app;
SELECT * FROM public.everything();
SELECT * FROM public.everything;
RESET ROLE;
SELECT * FROM public.everything() ORDER BY namespace;

-- Who inherits from roles of two namespaces uses both, naming one each time.
GRANT acme_app, globex_app TO agency;
SET ROLE agency;
SELECT cdp.current_namespace();
SELECT cdp.current_namespace('globex'), (SELECT count(DISTINCT namespace) FROM cdp.events);
SELECT cdp.current_namespace('default');
RESET ROLE;
-- The role that logged in and the one it changed to are both asked.
SET SESSION AUTHORIZATION acme_app;
SELECT cdp.current_namespace();
RESET SESSION AUTHORIZATION;
REVOKE acme_app, globex_app FROM agency;
SET ROLE agency;
SELECT cdp.current_namespace(), (SELECT count(DISTINCT namespace) FROM cdp.events);
RESET ROLE;

-- A transformation runs with the rights of whoever defined its route, who is still bound in it.
CREATE SCHEMA acme_code AUTHORIZATION acme_app;
SET ROLE acme_app;
CREATE FUNCTION acme_code.spy(message jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT jsonb_build_object('namespaces', (SELECT jsonb_agg(DISTINCT namespace) FROM cdp.events)) $$;
SELECT key FROM cdp.define_destination('hook', 'webhook', '{"url": "https://hooks.example.com"}');
SELECT outcome, result, detail FROM cdp.try_route('hook', '{"type": "track", "userId": "ann", "event": "x"}', transform => 'acme_code.spy');
RESET ROLE;

-- Renamed roles stay bound, and what a rolled back transaction did is forgotten.
ALTER ROLE globex_app RENAME TO newcomer;
SELECT role, namespace FROM cdp.role_bindings ORDER BY role;
BEGIN;
SELECT cdp.unbind_role('newcomer');
SET LOCAL ROLE newcomer;
SELECT cdp.current_namespace();
ROLLBACK;
SET ROLE newcomer;
SELECT cdp.current_namespace();
RESET ROLE;
SELECT cdp.unbind_role('newcomer');
SET ROLE newcomer;
SELECT cdp.current_namespace();
RESET ROLE;
-- A binding does not outlive its role.
DROP OWNED BY acme_app;
DROP ROLE acme_app, acme_analyst, newcomer, agency;
SELECT count(*) FROM cdp.role_bindings;
