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
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (destination_id),
    UNIQUE (namespace_id, key)
);
COMMENT ON TABLE _cdp.destinations IS 'Outside systems; secrets hold references only, never a secret itself';

CREATE TABLE _cdp.routes (
    route_id integer NOT NULL DEFAULT pg_catalog.nextval('_cdp.definition_id_seq'::pg_catalog.regclass),
    namespace_id integer NOT NULL,
    destination_id integer NOT NULL,
    events text[],
    filter text,
    mapping jsonb,
    transform text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (route_id)
);
COMMENT ON TABLE _cdp.routes IS 'Which events and changes go to a destination';

CREATE SEQUENCE _cdp.outbox_id_seq CACHE 32;
CREATE TABLE _cdp.outbox (
    outbox_id bigint NOT NULL DEFAULT pg_catalog.nextval('_cdp.outbox_id_seq'::pg_catalog.regclass),
    created_at timestamptz NOT NULL,
    profile_id bigint NOT NULL,
    namespace_id integer NOT NULL,
    destination_id integer NOT NULL,
    kind text NOT NULL,
    message_id text NOT NULL,
    payload jsonb NOT NULL,
    replay boolean NOT NULL DEFAULT false
) PARTITION BY RANGE (created_at);
ALTER SEQUENCE _cdp.outbox_id_seq OWNED BY _cdp.outbox.outbox_id;
COMMENT ON TABLE _cdp.outbox IS 'Messages for destinations, committed with what caused them; append-only, partitioned by day';

CREATE TABLE _cdp.deliveries (
    outbox_id bigint NOT NULL,
    created_at timestamptz NOT NULL,
    profile_id bigint NOT NULL,
    namespace_id integer NOT NULL,
    destination_id integer NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    leased_until timestamptz,
    last_error text,
    PRIMARY KEY (outbox_id)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX deliveries_destination ON _cdp.deliveries (destination_id, outbox_id);
COMMENT ON TABLE _cdp.deliveries IS 'What is still to be delivered: one small row per message, gone on success';

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
    request jsonb,
    response jsonb,
    replay boolean NOT NULL DEFAULT false,
    PRIMARY KEY (outbox_id)
);
COMMENT ON TABLE _cdp.dead_letters IS 'Messages that could not be delivered, with request, response and reason';

CREATE TABLE _cdp.destination_statistics (
    destination_id integer NOT NULL,
    delivered bigint NOT NULL DEFAULT 0,
    retried bigint NOT NULL DEFAULT 0,
    rejected bigint NOT NULL DEFAULT 0,
    last_delivered_at timestamptz,
    last_error text,
    last_error_at timestamptz,
    PRIMARY KEY (destination_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE _cdp.destination_statistics IS 'Counters per destination';

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
    PERFORM pg_catalog.pg_advisory_xact_lock(4344913, pg_catalog.hashtext(partition));
    IF pg_catalog.to_regclass(pg_catalog.format('_cdp.%I', partition)) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE pg_catalog.format(
        'CREATE TABLE _cdp.%I (LIKE _cdp.outbox INCLUDING DEFAULTS, CHECK (created_at IS NOT NULL AND created_at >= %L::timestamptz AND created_at < %L::timestamptz))',
        partition, lower_bound, upper_bound);
    EXECUTE pg_catalog.format('ALTER TABLE _cdp.%I ADD PRIMARY KEY (outbox_id)', partition);
    EXECUTE pg_catalog.format('ALTER TABLE _cdp.outbox ATTACH PARTITION _cdp.%I FOR VALUES FROM (%L) TO (%L)', partition, lower_bound, upper_bound);
END
$$;
COMMENT ON FUNCTION _cdp.create_outbox_partition(timestamptz) IS 'Makes the partition of _cdp.outbox for the day of the given time, if missing';
