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
