-- Background jobs: started, scheduled, stopped; without workers cdp.run_due() runs them.
SET cdp.clock = '2026-01-15 12:00:00+00';
SELECT name, kind, parameters, cron, timezone, next_run_at, state FROM cdp.jobs ORDER BY name;
SELECT count(*) FROM cdp.ingest((SELECT json_agg(json_build_object('type', 'track', 'userId', 'u' || i, 'event', 'x', 'messageId', 'm' || i))::text FROM generate_series(1, 2500) AS i));
SELECT key FROM cdp.define_trait('xs', 'events.x.count');

-- A job is called like its kind, or is told its kind once.
SELECT cdp.start_job('rebuild') > 0 AS started;
SELECT cdp.start_job('everybody', 'rebuild') > 0 AS started;
SELECT job, state, done, total, percent FROM cdp.job_runs ORDER BY run_id;
-- One run at a time.
SELECT cdp.start_job('everybody');
SELECT cdp.run_due() >= 0 AS ran;
SELECT job, state, done, total, percent, eta, finished_at, started_by = current_user AS "by us" FROM cdp.job_runs ORDER BY run_id;
SELECT job, level, message, at FROM cdp.job_log ORDER BY log_id;
SELECT cdp.start_job('everybody') > 0 AS "started again";
SELECT cdp.stop_job('everybody'), cdp.stop_job('everybody');
SELECT state, done FROM cdp.jobs WHERE name = 'everybody';

-- Mistakes.
\set VERBOSITY verbose
SELECT cdp.start_job('everbody');
SELECT cdp.start_job('mine');
SELECT cdp.start_job('mine', 'rebuilt');
SELECT cdp.start_job('rebuild', 'score');
SELECT cdp.start_job('rebuild', parameters => '{"key": "x"}');
SELECT cdp.start_job('replay', parameters => '{"since": "yesterday"}');
SELECT cdp.start_job('mine', 'score', '{"scores": "lead"}');
SELECT cdp.start_job('mine', 'score', '{"score": "leat"}');
SELECT cdp.schedule('mine', '@daily', 'score', '{"score": "nothing like it"}');
SELECT cdp.start_job('mine', 'replay', '{"destination": "nowhere"}');
SELECT cdp.start_job('mine', 'replay', '{"filter": "evemt = 1"}');
SELECT cdp.start_job('mine', 'replay', '{"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}');
SELECT cdp.start_job(NULL);
SELECT cdp.stop_job('nothing');
SELECT cdp.schedule('rebuild');
SELECT cdp.schedule('rebuild', '0 25 * * *');
SELECT cdp.schedule('rebuild', '0 0 31 2 *');
SELECT cdp.schedule('rebuild', '0 3 * * *', timezone => 'Mars');
\set VERBOSITY default

-- Schedules: the ones that every namespace is offered have to be switched on.
SELECT cdp.schedule('behavior_scoring') AS "every four hours", cdp.schedule('icp_scoring', timezone => 'America/New_York') AS "Sundays at 2";
SELECT cdp.schedule('rebuild', '30 2 * * *', timezone => 'Europe/Berlin');
SELECT name, cron, timezone, next_run_at FROM cdp.jobs WHERE next_run_at IS NOT NULL ORDER BY name;
SELECT cdp.run_due() >= 0 AS "nothing is due";
SELECT count(*) FROM cdp.job_runs WHERE job = 'behavior_scoring';
SET cdp.clock = '2026-01-15 16:00:00+00';
SELECT cdp.run_due() >= 0 AS ran;
SELECT job, state, queued_at, error FROM cdp.job_runs WHERE job = 'behavior_scoring';
SELECT next_run_at FROM cdp.jobs WHERE name = 'behavior_scoring';
-- What was missed is made up for once.
SET cdp.clock = '2026-01-18 12:00:00+00';
SELECT cdp.run_due() >= 0 AS ran;
SELECT job, count(*) FROM cdp.job_runs WHERE job IN ('behavior_scoring', 'icp_scoring') GROUP BY job ORDER BY job;
SELECT cdp.unschedule('behavior_scoring'), cdp.unschedule('behavior_scoring'), cdp.unschedule('retention');
SELECT name, next_run_at FROM cdp.jobs WHERE cron IS NOT NULL ORDER BY name;

-- A part that fails is tried again, later and later, and in the end the run is failed.
SELECT key FROM cdp.define_score('nothing', '{"behavior": {"rules": [{"event": "x", "points": 1}]}}');
SELECT cdp.start_job('broken', 'score', '{"score": "nothing"}') > 0 AS started;
SELECT cdp.drop_score('nothing');
SELECT cdp.run_due() >= 0 AS ran;
SELECT state, error FROM cdp.jobs WHERE name = 'broken';
SET cdp.clock = '2026-01-18 12:01:00+00';
SELECT cdp.run_due() >= 0 AS ran;
SET cdp.clock = '2026-01-18 12:02:00+00';
SELECT cdp.run_due() >= 0 AS ran;
SET cdp.clock = '2026-01-18 12:03:00+00';
SELECT cdp.run_due() >= 0 AS ran;
SET cdp.clock = '2026-01-18 12:04:00+00';
SELECT cdp.run_due() >= 0 AS ran;
SELECT state, finished_at, error FROM cdp.jobs WHERE name = 'broken';
SELECT level, message FROM cdp.job_log WHERE job = 'broken' ORDER BY log_id;

-- Replaying by days, with the rights of whoever started it.
SELECT key FROM cdp.define_destination('hook', 'webhook', '{"url": "https://hooks.example.com"}');
SELECT status FROM cdp.track('old', 'x', message_id => 'old1', "timestamp" => '2026-01-01 00:00:00+00');
SELECT status FROM cdp.track('old', 'x', message_id => 'old2', "timestamp" => '2026-01-03 00:00:00+00');
SELECT destination FROM cdp.define_route('hook', ARRAY['x']);
SELECT cdp.start_job('again', 'replay', '{"filter": "user_id = ''old''", "until": "2026-01-10T00:00:00Z"}') > 0 AS started;
SELECT key FROM cdp.pause_destination('hook');
SELECT cdp.run_due() >= 0 AS ran;
SELECT state, done, total, error FROM cdp.jobs WHERE name = 'again';
-- An error of what the job calls is told as it was.
SELECT cdp.start_job('later', 'replay', '{"filter": "(properties->>''n'')::int > 1 OR pg_catalog.length(user_id) / 0 = 1"}') > 0 AS started;
SELECT cdp.start_job('gone', 'replay', '{"destination": "hook"}') > 0 AS started;
UPDATE _cdp.destinations SET config = config || '{"accept_replays": false}' WHERE key = 'hook';
SELECT cdp.run_due() >= 0 AS ran;
SELECT job, level, message FROM cdp.job_log WHERE job IN ('later', 'gone') AND level = 'error' ORDER BY job;
UPDATE _cdp.destinations SET config = config - 'accept_replays' WHERE key = 'hook';
SELECT cdp.stop_job('later'), cdp.stop_job('gone');
SELECT message_id, replay FROM cdp.deliveries ORDER BY message_id;

-- Events that a namespace keeps no longer.
SELECT cdp.define_namespace('default', settings => '{"retention": {"event_days": 0}}');
SELECT cdp.define_namespace('default', settings => '{"retention": {"days": 10}}');
SELECT name FROM cdp.define_namespace('default', settings => '{"retention": {"event_days": 10}}');
SELECT cdp.start_job('retention') > 0 AS started;
SELECT cdp.run_due() >= 0 AS ran;
SELECT state, done, total FROM cdp.jobs WHERE name = 'retention';
SELECT count(*), min("timestamp") FROM cdp.events;
-- A job of another namespace has a history of its own.
SELECT name FROM cdp.define_namespace('acme');
SELECT cdp.start_job('rebuild', namespace => 'acme') > 0 AS started;
SELECT namespace, name, state FROM cdp.jobs WHERE name = 'rebuild' ORDER BY namespace;
SELECT job, namespace, done, total FROM cdp.progress;
