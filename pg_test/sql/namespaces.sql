-- Namespaces keep customers apart, and have their own days.
SET cdp.clock = '2026-01-15 12:00:00+00';
SELECT name, timezone FROM cdp.define_namespace('acme', ARRAY['ACME'], 'America/New_York');
SELECT status FROM cdp.track('u1', 'open', message_id => 'm1', "timestamp" => '2026-01-14 23:30:00+00');
SELECT status FROM cdp.track('u1', 'open', message_id => 'm2', "timestamp" => '2026-01-15 00:30:00+00');
SELECT status FROM cdp.track('u1', 'open', message_id => 'm1', "timestamp" => '2026-01-14 23:30:00+00', namespace => 'acme');
SELECT status FROM cdp.track('u1', 'open', message_id => 'm2', "timestamp" => '2026-01-15 00:30:00+00', namespace => 'acme');
SELECT cdp.evaluate('u1', 'events.open.unique_days_7d') AS "in UTC", cdp.evaluate('u1', 'events.open.unique_days_7d', namespace => 'acme') AS "in New York";
SELECT key FROM cdp.define_trait('opens', 'events.open.count', namespace => 'acme');
SELECT cdp.trait('u1', 'opens', namespace => 'acme') AS theirs;
SELECT cdp.trait('u1', 'opens') AS ours;
SET cdp.namespace = 'acme';
SELECT cdp.trait('u1', 'opens') AS session;
SELECT namespace, count(*) FROM cdp.events GROUP BY namespace ORDER BY namespace;
SELECT name, keywords, timezone FROM cdp.namespaces ORDER BY name;
RESET cdp.namespace;

-- Keywords: the longest that is in the name of a campaign as words of its own.
SELECT name, keywords FROM cdp.define_namespace('acme-corp', ARRAY['ACME Corp', 'acme-corp']);
SELECT name FROM cdp.define_namespace('tech-startup', ARRAY['TechStartup', 'Tech Startup Inc', 'TSI']);
SELECT c AS campaign, cdp.route_namespace(c) FROM unnest(ARRAY['ACME Corp Q1 Campaign', 'acme q1', 'pharmacmeeting', 'Q1_TSI_outreach', 'tsi for ACME',
    'Tech Startup Inc and ACME Corp', 'nobody', '', NULL]) AS c;
SELECT cdp.define_namespace('late', ARRAY['x', 'tsi']);
SELECT cdp.define_namespace('late', ARRAY[' - ']);
SELECT cdp.define_namespace('late', settings => '{"identiy": {"device": false}}');
SELECT cdp.define_namespace('late', settings => '{"retention_days": 30}');
SELECT cdp.define_namespace('late', settings => '{"retention": {"event_day": 30}}');
SELECT settings FROM cdp.define_namespace('other', settings => '{"attio_config": {"workspace": "x"}, "retention": {"event_days": 30}}');
SELECT name, keywords FROM cdp.define_namespace('tech-startup', ARRAY['TechStartup']);
SELECT name, keywords FROM cdp.define_namespace('late', ARRAY['TSI']);
SELECT cdp.route_namespace('Q1_TSI_outreach');

-- What the predecessor's reports read.
SELECT status FROM cdp.identify('lead', '{"email": "lead@example.com", "firstName": "Lea", "company": "Example"}', namespace => 'acme-corp');
CREATE SCHEMA reports;
SELECT * FROM cdp.create_compat_views('acme-corp', 'reports');
SELECT * FROM cdp.create_compat_views('acme-corp', 'reports');
SELECT email, first_name, last_name, company FROM reports.acme_corp_user_source;
SELECT * FROM cdp.create_compat_views(schema => 'reports');
SELECT id > 0 AS id, email FROM reports.playmaker_user_source;
DROP SCHEMA reports CASCADE;

-- People who are there already are moved by nobody; they can be copied.
SELECT cdp.copy_people(ARRAY['lead', 'nobody'], 'tech-startup', 'acme-corp') AS copied;
SELECT cdp.copy_people(ARRAY['lead'], 'tech-startup', 'acme-corp') AS "and again";
SELECT cdp.copy_people(ARRAY['u1'], 'tech-startup') AS copied;
SELECT namespace, type, event, user_id, "timestamp", traits FROM cdp.events WHERE namespace IN ('acme-corp', 'tech-startup') ORDER BY namespace, "timestamp";
SELECT cdp.evaluate('u1', 'events.open.count', namespace => 'tech-startup');
SELECT cdp.copy_people(ARRAY['lead'], 'acme-corp', 'acme-corp');
SELECT cdp.copy_people(ARRAY['lead'], 'nowhere', 'acme-corp');

-- What is in them.
SELECT people, events, traits, segments, destinations, deliveries_waiting, delivered, dead_letters, storage_bytes > 0 AS "takes space"
FROM cdp.namespace_statistics('acme');
SELECT people, events, storage_bytes FROM cdp.namespace_statistics('late');

-- What was used on each day, by the real time: counted when somebody asks, and once for good when the day is over.
RESET cdp.clock;
SELECT status FROM cdp.track('u1', 'open', message_id => 'm3', namespace => 'acme');
SELECT status FROM cdp.track('u2', 'open', message_id => 'm4', namespace => 'acme');
CREATE VIEW recent AS SELECT namespace, (now() AT TIME ZONE 'UTC')::date - day AS "days ago", events, active_people, decisions FROM cdp.usage ORDER BY 1, 2;
SELECT * FROM recent;
UPDATE _cdp.message_ids SET received_at = received_at - interval '1 day';
SELECT cdp.run_due() >= 0 AS ran;
SELECT * FROM recent;
SELECT namespace_id > 1 AS "of acme", events FROM _cdp.usage ORDER BY events;
-- What comes for a day that is closed is billed on the day it came.
SELECT status FROM cdp.track('u3', 'open', message_id => 'm5', "timestamp" => now() - interval '1 day', namespace => 'acme');
SELECT * FROM recent WHERE namespace = 'acme';
SELECT cdp.run_due() >= 0 AS ran;
SELECT * FROM recent WHERE namespace = 'acme';
DROP VIEW recent;
SET cdp.clock = '2026-01-15 12:00:00+00';

-- Dropping one is refused while anything is in it, unless everything is to go.
\set VERBOSITY verbose
SELECT cdp.drop_namespace('default', true);
SELECT cdp.drop_namespace('acm');
SELECT cdp.drop_namespace('acme');
SELECT cdp.drop_namespace('late');
SELECT cdp.drop_namespace('acme', everything => true);
SELECT name FROM cdp.namespaces ORDER BY name;
SELECT namespace, count(*) FROM cdp.events GROUP BY namespace ORDER BY namespace;
SELECT cdp.track('u1', 'open', namespace => 'acme');
-- One of the same name starts with nothing.
SELECT name FROM cdp.define_namespace('acme');
SELECT status FROM cdp.track('u1', 'open', message_id => 'm1', namespace => 'acme');
SELECT cdp.evaluate('u1', 'events.open.count', namespace => 'acme');

-- Rows for a namespace that does not exist wait for it; the others are taken.
INSERT INTO cdp.inbox (user_id, event, message_id, namespace) VALUES ('early', 'Seen', 'e1', 'default'), ('early', 'Seen', 'e2', 'later'), (NULL, 'Seen', 'e3', 'later');
SELECT code, field, reason, original::jsonb - 'receivedAt' - 'timestamp' AS original FROM cdp.quarantine ORDER BY quarantine_id;
SELECT status, reason FROM cdp.requeue_quarantine('code = ''unknown_namespace''');
SELECT (cdp.define_namespace('later')).name;
SELECT message_id, status, reason FROM cdp.requeue_quarantine('code = ''unknown_namespace''');
SELECT namespace, message_id FROM cdp.events WHERE user_id = 'early' ORDER BY 2;
SELECT namespace, code FROM cdp.quarantine ORDER BY 1, 2;
