-- Events, the message ids already taken, and the messages that could not be taken.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE SEQUENCE _cdp.event_id_seq CACHE 32;

-- No key or index here: each partition carries its own, because pg_restore would otherwise make them twice
-- (docs/decisions/0002-partitions-and-dump.md).
CREATE TABLE _cdp.events (
    event_id bigint NOT NULL DEFAULT pg_catalog.nextval('_cdp.event_id_seq'::pg_catalog.regclass),
    profile_id bigint NOT NULL,
    ts timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    namespace_id integer NOT NULL,
    event_name_id integer NOT NULL,
    type smallint NOT NULL,
    message_id text NOT NULL,
    user_id text,
    anonymous_id text,
    name text,
    category text,
    group_id text,
    previous_id text,
    properties jsonb,
    context jsonb,
    integrations jsonb,
    original_timestamp timestamptz,
    sent_at timestamptz,
    other_ids jsonb
) PARTITION BY RANGE (ts);
ALTER SEQUENCE _cdp.event_id_seq OWNED BY _cdp.events.event_id;
COMMENT ON TABLE _cdp.events IS 'Every message taken, append-only, partitioned by month of ts';
COMMENT ON COLUMN _cdp.events.type IS '0 track, 1 identify, 2 page, 3 screen, 4 group, 5 alias';
COMMENT ON COLUMN _cdp.events.event_name_id IS 'Name of a track event; Page Viewed and Screen Viewed for pages and screens; 0 for the other calls';
COMMENT ON COLUMN _cdp.events.profile_id IS 'Profile at the time of arrival; merges do not rewrite it';
COMMENT ON COLUMN _cdp.events.other_ids IS 'Identifiers the message came with outside of the columns and of context, by kind';

CREATE TABLE _cdp.message_ids (
    namespace_id integer NOT NULL,
    message_hash uuid NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (namespace_id, message_hash)
);
CREATE INDEX message_ids_received_at ON _cdp.message_ids USING brin (received_at);
COMMENT ON TABLE _cdp.message_ids IS 'Hashes of the message ids taken within the deduplication horizon';

CREATE SEQUENCE _cdp.quarantine_id_seq;
CREATE TABLE _cdp.quarantine (
    quarantine_id bigint NOT NULL DEFAULT pg_catalog.nextval('_cdp.quarantine_id_seq'::pg_catalog.regclass),
    namespace_id integer NOT NULL,
    received_at timestamptz NOT NULL,
    code text NOT NULL,
    field text,
    reason text NOT NULL,
    original text NOT NULL,
    PRIMARY KEY (quarantine_id)
);
ALTER SEQUENCE _cdp.quarantine_id_seq OWNED BY _cdp.quarantine.quarantine_id;
COMMENT ON TABLE _cdp.quarantine IS 'Messages that could not be taken, as they came, with the reason';

-- A month's partition, or the one for everything before 1990. Made by ATTACH rather than PARTITION OF, which
-- would take an exclusive lock on the parent and hold up every reader.
CREATE FUNCTION _cdp.create_event_partition(month timestamptz) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    AS $$
DECLARE
    first_month CONSTANT timestamptz := '1990-01-01 00:00:00+00';
    lower_bound timestamptz := pg_catalog.date_trunc('month', month);
    upper_bound timestamptz;
    partition text;
    bounds text;
    condition text;
BEGIN
    IF month OPERATOR(pg_catalog.<) first_month THEN
        partition := 'events_before_1990';
        bounds := pg_catalog.format('FROM (MINVALUE) TO (%L)', first_month);
        condition := pg_catalog.format('ts IS NOT NULL AND ts < %L::timestamptz', first_month);
    ELSE
        upper_bound := lower_bound OPERATOR(pg_catalog.+) '1 month'::interval;
        partition := 'events_' OPERATOR(pg_catalog.||) pg_catalog.to_char(lower_bound, 'YYYY_MM');
        bounds := pg_catalog.format('FROM (%L) TO (%L)', lower_bound, upper_bound);
        condition := pg_catalog.format('ts IS NOT NULL AND ts >= %L::timestamptz AND ts < %L::timestamptz', lower_bound, upper_bound);
    END IF;

    IF pg_catalog.to_regclass(pg_catalog.format('_cdp.%I', partition)) IS NOT NULL THEN
        RETURN;
    END IF;
    -- One maker at a time; whoever waited here finds the work done. Attaching needs this lock anyway, and unlike an
    -- advisory one it makes the session see what was made meanwhile.
    LOCK TABLE _cdp.events IN SHARE UPDATE EXCLUSIVE MODE;
    IF pg_catalog.to_regclass(pg_catalog.format('_cdp.%I', partition)) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE pg_catalog.format('CREATE TABLE _cdp.%I (LIKE _cdp.events INCLUDING DEFAULTS, CONSTRAINT bounds CHECK (%s))', partition, condition);
    EXECUTE pg_catalog.format('ALTER TABLE _cdp.%I ADD PRIMARY KEY (profile_id, event_name_id, ts, event_id)', partition);
    EXECUTE pg_catalog.format('ALTER TABLE _cdp.events ATTACH PARTITION _cdp.%I FOR VALUES %s', partition, bounds);
    -- It spared a look at the rows; from here on the partition's own bounds say the same, and checking twice costs.
    EXECUTE pg_catalog.format('ALTER TABLE _cdp.%I DROP CONSTRAINT bounds', partition);

    -- Not a member of the extension, yet depends on it: without CASCADE, DROP EXTENSION is refused from now on.
    IF pg_catalog.to_regclass('_cdp.customer_data') IS NULL THEN
        EXECUTE 'CREATE VIEW _cdp.customer_data AS SELECT event_id FROM _cdp.events';
        EXECUTE 'COMMENT ON VIEW _cdp.customer_data IS ''Keeps DROP EXTENSION cdp from deleting events without CASCADE''';
    END IF;
END
$$;
COMMENT ON FUNCTION _cdp.create_event_partition(timestamptz) IS 'Makes the partition of _cdp.events for the month of the given time, if missing';
