-- Where events and changes go, and what is on its way.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE TABLE _cdp.destinations (
    destination_id integer NOT NULL DEFAULT pg_catalog.nextval('_cdp.definition_id_seq'::pg_catalog.regclass),
    namespace_id integer NOT NULL,
    key text NOT NULL,
    kind text NOT NULL,
    config jsonb NOT NULL,
    secrets jsonb NOT NULL DEFAULT '{}',
    enabled boolean NOT NULL DEFAULT true,
    paused_at timestamptz,
    paused_reason text,
    paused_by text,
    lacks text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (destination_id),
    UNIQUE (namespace_id, key)
);
COMMENT ON TABLE _cdp.destinations IS 'Outside systems; secrets hold references and sealed texts only, never a secret itself';
COMMENT ON COLUMN _cdp.destinations.paused_by IS 'Role that paused it; null: the worker did';
COMMENT ON COLUMN _cdp.destinations.lacks IS 'What the server has to be given before anything can be sent to it, such as a key or a secret; the worker looks again';

CREATE TABLE _cdp.routes (
    route_id integer NOT NULL DEFAULT pg_catalog.nextval('_cdp.definition_id_seq'::pg_catalog.regclass),
    namespace_id integer NOT NULL,
    destination_id integer NOT NULL,
    events text[],
    filter text,
    mapping jsonb,
    transform text,
    consent text[] NOT NULL DEFAULT '{}',
    owner text NOT NULL,
    dropped_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (route_id)
);
CREATE INDEX routes_destination_id ON _cdp.routes (destination_id);
COMMENT ON TABLE _cdp.routes IS 'Which events and changes go to a destination';
COMMENT ON COLUMN _cdp.routes.dropped_at IS 'Kept for messages that were made before, until the outbox forgets them';
COMMENT ON COLUMN _cdp.routes.consent IS 'Categories that people have to have agreed to, beside those of the destination';
COMMENT ON COLUMN _cdp.routes.owner IS 'Role that defined the route; its transform runs with this role''s rights';

-- One id at a time: sessions must not hold blocks of them, because their order is the order of delivery.
CREATE SEQUENCE _cdp.outbox_id_seq;
-- No key or index here: each partition carries its own (docs/decisions/0002-partitions-and-dump.md).
CREATE TABLE _cdp.outbox (
    outbox_id bigint NOT NULL DEFAULT pg_catalog.nextval('_cdp.outbox_id_seq'::pg_catalog.regclass),
    created_at timestamptz NOT NULL,
    profile_id bigint NOT NULL,
    namespace_id integer NOT NULL,
    destination_id integer NOT NULL,
    kind text NOT NULL,
    message_id text NOT NULL,
    payload jsonb NOT NULL,
    replay boolean NOT NULL DEFAULT false,
    route_id integer
) PARTITION BY RANGE (created_at);
ALTER SEQUENCE _cdp.outbox_id_seq OWNED BY _cdp.outbox.outbox_id;
COMMENT ON TABLE _cdp.outbox IS 'Messages for destinations, committed with what caused them; append-only, partitioned by day';
COMMENT ON COLUMN _cdp.outbox.created_at IS 'Real time, whatever cdp.clock says';
COMMENT ON COLUMN _cdp.outbox.payload IS 'As it was made; the route''s mapping and transformation are applied when it is sent';
COMMENT ON COLUMN _cdp.outbox.route_id IS 'The route that wanted the message; null: a segment''s sync_to';
COMMENT ON COLUMN _cdp.outbox.kind IS 'track, identify, page, screen, group, alias, delete, audience_entered, audience_exited, trait_changed or score_changed';

-- Only inserted into and deleted from, never updated; one index. Failures move to _cdp.retries.
CREATE TABLE _cdp.deliveries (
    outbox_id bigint NOT NULL,
    created_at timestamptz NOT NULL,
    profile_id bigint NOT NULL,
    namespace_id integer NOT NULL,
    destination_id integer NOT NULL,
    PRIMARY KEY (destination_id, outbox_id, profile_id)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE _cdp.deliveries IS 'Messages that were not tried yet: one small row each, gone on success';

CREATE TABLE _cdp.retries (
    outbox_id bigint NOT NULL,
    created_at timestamptz NOT NULL,
    profile_id bigint NOT NULL,
    namespace_id integer NOT NULL,
    destination_id integer NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    first_failed_at timestamptz,
    next_attempt_at timestamptz,
    last_error text,
    PRIMARY KEY (destination_id, profile_id, outbox_id)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX retries_due ON _cdp.retries (destination_id, next_attempt_at, outbox_id) WHERE next_attempt_at IS NOT NULL;
COMMENT ON TABLE _cdp.retries IS 'Messages that failed, and later messages of the same person to the same destination';
COMMENT ON COLUMN _cdp.retries.failures IS 'Failed attempts that use up the time for retrying; being asked to slow down does not';
COMMENT ON COLUMN _cdp.retries.next_attempt_at IS 'Null: an earlier message of the same person has to be settled first';

CREATE SEQUENCE _cdp.lease_id_seq;
CREATE TABLE _cdp.leases (
    lease_id bigint NOT NULL DEFAULT pg_catalog.nextval('_cdp.lease_id_seq'::pg_catalog.regclass),
    destination_id integer NOT NULL,
    outbox_ids bigint[] NOT NULL,
    profile_ids bigint[] NOT NULL,
    leased_at timestamptz NOT NULL,
    leased_until timestamptz NOT NULL,
    pid integer NOT NULL,
    PRIMARY KEY (lease_id)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_cost_delay = 0);
ALTER SEQUENCE _cdp.lease_id_seq OWNED BY _cdp.leases.lease_id;
COMMENT ON TABLE _cdp.leases IS 'Messages on their way now: one row for each batch a worker took';

CREATE TABLE _cdp.dead_letters (
    outbox_id bigint NOT NULL,
    created_at timestamptz NOT NULL,
    failed_at timestamptz NOT NULL,
    profile_id bigint NOT NULL,
    namespace_id integer NOT NULL,
    destination_id integer NOT NULL,
    attempts integer NOT NULL,
    kind text NOT NULL,
    message_id text NOT NULL,
    payload jsonb NOT NULL,
    reason text NOT NULL,
    request text,
    status integer,
    response text,
    replay boolean NOT NULL DEFAULT false,
    route_id integer,
    PRIMARY KEY (outbox_id, profile_id)
);
CREATE INDEX dead_letters_failed_at ON _cdp.dead_letters USING brin (failed_at);
COMMENT ON TABLE _cdp.dead_letters IS 'Messages that could not be delivered, with request, response and reason';

CREATE TABLE _cdp.destination_statistics (
    destination_id integer NOT NULL,
    delivered bigint NOT NULL DEFAULT 0,
    discarded bigint NOT NULL DEFAULT 0,
    retried bigint NOT NULL DEFAULT 0,
    rejected bigint NOT NULL DEFAULT 0,
    repeated bigint NOT NULL DEFAULT 0,
    latency bigint[] NOT NULL DEFAULT '{}',
    lag bigint[] NOT NULL DEFAULT '{}',
    last_delivered_at timestamptz,
    last_error text,
    last_error_at timestamptz,
    PRIMARY KEY (destination_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE _cdp.destination_statistics IS 'Counters per destination';
COMMENT ON COLUMN _cdp.destination_statistics.repeated IS 'Messages sent again although the destination may have had them: no answer came, or the worker was killed';
COMMENT ON COLUMN _cdp.destination_statistics.latency IS 'Number of delivered messages whose request took up to 1, 2, 4, 8, … milliseconds';
COMMENT ON COLUMN _cdp.destination_statistics.lag IS 'Number of messages delivered up to 1, 2, 4, 8, … milliseconds after they were made';

CREATE FUNCTION _cdp.create_outbox_partition(day timestamptz) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    AS $$
DECLARE
    lower_bound timestamptz := pg_catalog.date_trunc('day', day);
    upper_bound timestamptz := lower_bound OPERATOR(pg_catalog.+) '1 day'::interval;
    partition text := 'outbox_' OPERATOR(pg_catalog.||) pg_catalog.to_char(lower_bound, 'YYYY_MM_DD');
BEGIN
    IF pg_catalog.to_regclass(pg_catalog.format('_cdp.%I', partition)) IS NOT NULL THEN
        RETURN;
    END IF;
    LOCK TABLE _cdp.outbox IN SHARE UPDATE EXCLUSIVE MODE;
    IF pg_catalog.to_regclass(pg_catalog.format('_cdp.%I', partition)) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE pg_catalog.format(
        'CREATE TABLE _cdp.%I (LIKE _cdp.outbox INCLUDING DEFAULTS, CHECK (created_at IS NOT NULL AND created_at >= %L::timestamptz AND created_at < %L::timestamptz))',
        partition, lower_bound, upper_bound);
    EXECUTE pg_catalog.format('ALTER TABLE _cdp.%I ADD PRIMARY KEY (outbox_id, profile_id)', partition);
    EXECUTE pg_catalog.format('ALTER TABLE _cdp.outbox ATTACH PARTITION _cdp.%I FOR VALUES FROM (%L) TO (%L)', partition, lower_bound, upper_bound);
END
$$;
COMMENT ON FUNCTION _cdp.create_outbox_partition(timestamptz) IS 'Makes the partition of _cdp.outbox for the day of the given time, if missing';

-- Takes an exclusive lock on the parent for a moment: the caller sets lock_timeout.
CREATE FUNCTION _cdp.drop_outbox_partitions(before timestamptz, most bigint) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    AS $$
DECLARE
    partition name;
    lower_bound timestamptz;
    upper_bound timestamptz;
    dropped bigint := 0;
BEGIN
    FOR partition IN
        SELECT c.relname FROM pg_catalog.pg_inherits AS i
        JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) i.inhrelid
        WHERE i.inhparent OPERATOR(pg_catalog.=) '_cdp.outbox'::pg_catalog.regclass
          AND c.relname::text OPERATOR(pg_catalog.~) '^outbox_[0-9]{4}_[0-9]{2}_[0-9]{2}$'
        ORDER BY c.relname
    LOOP
        lower_bound := pg_catalog.to_timestamp(pg_catalog.substr(partition::text, 8), 'YYYY_MM_DD');
        upper_bound := lower_bound OPERATOR(pg_catalog.+) '1 day'::interval;
        EXIT WHEN dropped OPERATOR(pg_catalog.>=) most OR upper_bound OPERATOR(pg_catalog.>) before;
        CONTINUE WHEN EXISTS (SELECT FROM _cdp.deliveries AS d WHERE d.created_at OPERATOR(pg_catalog.>=) lower_bound
                              AND d.created_at OPERATOR(pg_catalog.<) upper_bound)
                   OR EXISTS (SELECT FROM _cdp.retries AS r WHERE r.created_at OPERATOR(pg_catalog.>=) lower_bound
                              AND r.created_at OPERATOR(pg_catalog.<) upper_bound);
        EXECUTE pg_catalog.format('DROP TABLE _cdp.%I', partition);
        dropped := dropped OPERATOR(pg_catalog.+) 1;
    END LOOP;
    RETURN dropped;
END
$$;
COMMENT ON FUNCTION _cdp.drop_outbox_partitions(timestamptz, bigint) IS 'Drops partitions of _cdp.outbox from before the given time of which nothing is left to deliver';
