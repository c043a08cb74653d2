-- Background jobs: what they are, when they run, how far they are, and what they said.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE SEQUENCE _cdp.job_id_seq AS integer;
CREATE TABLE _cdp.jobs (
    job_id integer NOT NULL DEFAULT pg_catalog.nextval('_cdp.job_id_seq'::pg_catalog.regclass),
    namespace_id integer NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    parameters jsonb NOT NULL DEFAULT '{}',
    cron text,
    timezone text,
    next_run_at timestamptz,
    owner text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (job_id),
    UNIQUE (namespace_id, name)
);
ALTER SEQUENCE _cdp.job_id_seq OWNED BY _cdp.jobs.job_id;
CREATE INDEX jobs_next_run_at ON _cdp.jobs (next_run_at) WHERE next_run_at IS NOT NULL;
COMMENT ON TABLE _cdp.jobs IS 'Jobs that were started or scheduled';
COMMENT ON COLUMN _cdp.jobs.next_run_at IS 'When its schedule starts it next; null: it is not scheduled';
COMMENT ON COLUMN _cdp.jobs.owner IS 'Role that started or scheduled it last; SQL that the job was given runs with this role''s rights';

CREATE SEQUENCE _cdp.job_run_id_seq;
CREATE TABLE _cdp.job_runs (
    run_id bigint NOT NULL DEFAULT pg_catalog.nextval('_cdp.job_run_id_seq'::pg_catalog.regclass),
    job_id integer NOT NULL,
    namespace_id integer NOT NULL,
    state text NOT NULL CHECK (state OPERATOR(pg_catalog.=) ANY (ARRAY['queued', 'running', 'done', 'failed', 'cancelled'])),
    parameters jsonb NOT NULL,
    started_by text NOT NULL,
    queued_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    touched_at timestamptz,
    not_before timestamptz,
    position bigint,
    done bigint NOT NULL DEFAULT 0,
    total bigint,
    failures integer NOT NULL DEFAULT 0,
    pid integer,
    error text,
    PRIMARY KEY (run_id)
) WITH (fillfactor = 50);
ALTER SEQUENCE _cdp.job_run_id_seq OWNED BY _cdp.job_runs.run_id;
CREATE UNIQUE INDEX job_runs_active ON _cdp.job_runs (job_id) WHERE state OPERATOR(pg_catalog.=) ANY (ARRAY['queued', 'running']);
CREATE INDEX job_runs_job ON _cdp.job_runs (job_id, run_id);
COMMENT ON TABLE _cdp.job_runs IS 'Runs of jobs; of one job, one at a time waits or runs';
COMMENT ON COLUMN _cdp.job_runs.position IS 'Up to where it is done: committed together with the work';
COMMENT ON COLUMN _cdp.job_runs.failures IS 'Failed attempts at the part that is next';
COMMENT ON COLUMN _cdp.job_runs.pid IS 'Process that did the last part';

CREATE SEQUENCE _cdp.job_log_id_seq;
CREATE TABLE _cdp.job_log (
    log_id bigint NOT NULL DEFAULT pg_catalog.nextval('_cdp.job_log_id_seq'::pg_catalog.regclass),
    run_id bigint NOT NULL,
    namespace_id integer NOT NULL,
    at timestamptz NOT NULL,
    level text NOT NULL,
    message text NOT NULL,
    PRIMARY KEY (run_id, log_id)
);
ALTER SEQUENCE _cdp.job_log_id_seq OWNED BY _cdp.job_log.log_id;
COMMENT ON TABLE _cdp.job_log IS 'What runs of jobs said';

-- Not rows of the table, so that a dump holds what was switched on, and nothing else.
CREATE VIEW _cdp.default_jobs AS
    SELECT d.name, d.kind, d.parameters::jsonb AS parameters, d.cron
    FROM (VALUES ('behavior_scoring', 'score', '{"score": "lead"}', '0 */4 * * *'),
                 ('icp_scoring', 'score', '{"score": "lead"}', '0 2 * * 0'),
                 ('retention', 'retention', '{}', '0 3 * * *')) AS d(name, kind, parameters, cron);
COMMENT ON VIEW _cdp.default_jobs IS 'Jobs that every namespace has; they run when they are scheduled or started';

CREATE VIEW cdp.job_runs AS
    SELECT r.run_id, n.name AS namespace, j.name AS job, j.kind, r.state, r.parameters, r.done, r.total,
        pg_catalog.round(100.0 OPERATOR(pg_catalog.*) LEAST(r.done, r.total) OPERATOR(pg_catalog./) GREATEST(r.total, 1), 1) AS percent,
        CASE WHEN r.state OPERATOR(pg_catalog.=) 'running' AND r.done OPERATOR(pg_catalog.>) 0 THEN
            (r.touched_at OPERATOR(pg_catalog.-) r.started_at)
            OPERATOR(pg_catalog.*) (GREATEST(r.total OPERATOR(pg_catalog.-) r.done, 0)::float8 OPERATOR(pg_catalog./) r.done::float8) END AS eta,
        r.queued_at, r.started_at, r.finished_at, r.started_by, r.error
    FROM _cdp.job_runs AS r
    JOIN _cdp.jobs AS j ON j.job_id OPERATOR(pg_catalog.=) r.job_id
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) r.namespace_id;
COMMENT ON VIEW cdp.job_runs IS 'Runs of jobs, how far they are and how they ended';

CREATE VIEW cdp.jobs AS
    SELECT n.name AS namespace, j.name, j.kind, j.parameters, j.cron, j.timezone, j.next_run_at,
        r.run_id, r.state, r.done, r.total, r.percent, r.eta, r.started_at, r.finished_at, r.error
    FROM _cdp.jobs AS j
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) j.namespace_id
    LEFT JOIN cdp.job_runs AS r ON r.run_id OPERATOR(pg_catalog.=) (
        SELECT pg_catalog.max(l.run_id) FROM _cdp.job_runs AS l WHERE l.job_id OPERATOR(pg_catalog.=) j.job_id)
    UNION ALL
    SELECT n.name, d.name, d.kind, d.parameters, d.cron, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM _cdp.default_jobs AS d CROSS JOIN _cdp.namespace_names AS n
    WHERE NOT EXISTS (SELECT FROM _cdp.jobs AS j WHERE j.namespace_id OPERATOR(pg_catalog.=) n.namespace_id AND j.name OPERATOR(pg_catalog.=) d.name);
COMMENT ON VIEW cdp.jobs IS 'Jobs, when they run next, and their latest run; those that were never started or scheduled are offers';

CREATE VIEW cdp.job_log AS
    SELECT l.at, n.name AS namespace, j.name AS job, l.run_id, l.level, l.message, l.log_id
    FROM _cdp.job_log AS l
    JOIN _cdp.job_runs AS r ON r.run_id OPERATOR(pg_catalog.=) l.run_id
    JOIN _cdp.jobs AS j ON j.job_id OPERATOR(pg_catalog.=) r.job_id
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) l.namespace_id;
COMMENT ON VIEW cdp.job_log IS 'What runs of jobs said';

CREATE VIEW cdp.progress AS
    SELECT 'definitions'::text AS job, n.name AS namespace, s.done, s.total,
        pg_catalog.round(100.0 OPERATOR(pg_catalog.*) s.done OPERATOR(pg_catalog./) GREATEST(s.total, 1), 1) AS percent,
        CASE WHEN s.done OPERATOR(pg_catalog.>) 0 THEN
            (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) s.started_at)
            OPERATOR(pg_catalog.*) ((s.total OPERATOR(pg_catalog.-) s.done)::float8 OPERATOR(pg_catalog./) s.done::float8) END AS eta,
        s.started_at
    FROM _cdp.sweeps AS s JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) s.namespace_id
    WHERE NOT s.swept
    UNION ALL
    SELECT r.job, r.namespace, r.done, r.total, r.percent, r.eta, r.started_at
    FROM cdp.job_runs AS r WHERE r.state OPERATOR(pg_catalog.=) 'running';
COMMENT ON VIEW cdp.progress IS 'Work that runs in the background, and how far it is';

CREATE FUNCTION cdp.start_job(
    job text,
    kind text DEFAULT NULL,
    parameters jsonb DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_start_job';
COMMENT ON FUNCTION cdp.start_job(text, text, jsonb, text) IS 'Starts a job in the background; the kind is needed once, unless the job is called like its kind; returns the id of the run';
REVOKE ALL ON FUNCTION cdp.start_job(text, text, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.start_job(text, text, jsonb, text) TO cdp_admin;

CREATE FUNCTION cdp.score_all(
    key text DEFAULT 'lead',
    namespace text DEFAULT NULL
) RETURNS bigint
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
        SELECT cdp.start_job('score_all ' OPERATOR(pg_catalog.||) key, 'score', pg_catalog.jsonb_build_object('score', key), namespace)
    $$;
COMMENT ON FUNCTION cdp.score_all(text, text) IS 'Scores everybody anew in the background; returns the id of the run';
REVOKE ALL ON FUNCTION cdp.score_all(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.score_all(text, text) TO cdp_admin;

CREATE FUNCTION cdp.stop_job(
    job text,
    namespace text DEFAULT NULL
) RETURNS boolean
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_stop_job';
COMMENT ON FUNCTION cdp.stop_job(text, text) IS 'Cancels the run of a job that waits or runs; what it has done stays; says whether there was one';
REVOKE ALL ON FUNCTION cdp.stop_job(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.stop_job(text, text) TO cdp_admin;

CREATE FUNCTION cdp.schedule(
    job text,
    cron text DEFAULT NULL,
    kind text DEFAULT NULL,
    parameters jsonb DEFAULT NULL,
    timezone text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS timestamptz
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_schedule';
COMMENT ON FUNCTION cdp.schedule(text, text, text, jsonb, text, text) IS 'Runs a job by a cron expression, in a time zone (default: the namespace''s); returns when it runs first';
REVOKE ALL ON FUNCTION cdp.schedule(text, text, text, jsonb, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.schedule(text, text, text, jsonb, text, text) TO cdp_admin;

CREATE FUNCTION cdp.unschedule(
    job text,
    namespace text DEFAULT NULL
) RETURNS boolean
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_unschedule';
COMMENT ON FUNCTION cdp.unschedule(text, text) IS 'Runs a job by its schedule no more; says whether it had one';
REVOKE ALL ON FUNCTION cdp.unschedule(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.unschedule(text, text) TO cdp_admin;

GRANT SELECT ON cdp.jobs, cdp.job_runs, cdp.job_log, cdp.progress TO cdp_reader, cdp_writer, cdp_admin;
