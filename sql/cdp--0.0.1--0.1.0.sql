-- Namespaces: one customer base each, in one database. Namespace 1 is "default" and needs no row.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE SEQUENCE _cdp.namespace_id_seq AS integer START 2;
CREATE TABLE _cdp.namespaces (
    namespace_id integer NOT NULL DEFAULT pg_catalog.nextval('_cdp.namespace_id_seq'::pg_catalog.regclass),
    name text NOT NULL,
    keywords text[] NOT NULL DEFAULT '{}',
    timezone text NOT NULL DEFAULT 'UTC',
    settings jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (namespace_id),
    UNIQUE (name)
);
ALTER SEQUENCE _cdp.namespace_id_seq OWNED BY _cdp.namespaces.namespace_id;
COMMENT ON TABLE _cdp.namespaces IS 'Namespaces; "default" has id 1 and a row only once it was configured';

CREATE SEQUENCE _cdp.event_name_id_seq AS integer;
CREATE TABLE _cdp.event_names (
    event_name_id integer NOT NULL DEFAULT pg_catalog.nextval('_cdp.event_name_id_seq'::pg_catalog.regclass),
    name text NOT NULL,
    PRIMARY KEY (event_name_id),
    UNIQUE (name)
);
ALTER SEQUENCE _cdp.event_name_id_seq OWNED BY _cdp.event_names.event_name_id;
COMMENT ON TABLE _cdp.event_names IS 'Dictionary of event names, so that hot tables carry an integer';

CREATE TABLE _cdp.namespace_event_names (
    namespace_id integer NOT NULL,
    event_name_id integer NOT NULL,
    PRIMARY KEY (namespace_id, event_name_id)
);
COMMENT ON TABLE _cdp.namespace_event_names IS 'Which events were seen in which namespace, so that one learns nothing of another''s';
-- Identifiers, the people they belong to, and every link and merge that led there.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE SEQUENCE _cdp.identifier_kind_id_seq AS integer START 1000;
CREATE TABLE _cdp.identifier_kinds (
    kind_id integer NOT NULL DEFAULT pg_catalog.nextval('_cdp.identifier_kind_id_seq'::pg_catalog.regclass),
    name text NOT NULL,
    namespace_id integer NOT NULL,
    PRIMARY KEY (kind_id),
    UNIQUE (namespace_id, name)
);
ALTER SEQUENCE _cdp.identifier_kind_id_seq OWNED BY _cdp.identifier_kinds.kind_id;
COMMENT ON TABLE _cdp.identifier_kinds IS 'Kinds of identifiers; those below 1000 come with the extension and are of every namespace';
COMMENT ON COLUMN _cdp.identifier_kinds.namespace_id IS 'Whose kind it is; 0: every namespace has it';
INSERT INTO _cdp.identifier_kinds (kind_id, name, namespace_id) VALUES
    (1, 'user_id', 0), (2, 'email', 0), (3, 'email_hash', 0), (4, 'phone', 0), (5, 'anonymous_id', 0), (6, 'device_id', 0),
    (7, 'ga_client_id', 0), (8, 'idfa', 0), (9, 'push_token', 0);

CREATE TABLE _cdp.identifiers (
    namespace_id integer NOT NULL,
    kind_id integer NOT NULL,
    value text NOT NULL,
    profile_id bigint NOT NULL,
    origin_id bigint NOT NULL,
    linked_at timestamptz NOT NULL,
    message_id text,
    slot integer NOT NULL,
    rule text NOT NULL,
    PRIMARY KEY (namespace_id, value, kind_id)
);
CREATE UNIQUE INDEX identifiers_profile_slot ON _cdp.identifiers (profile_id, kind_id, slot);
COMMENT ON TABLE _cdp.identifiers IS 'Which profile an identifier belongs to, since when, and which message and rule linked it';
COMMENT ON COLUMN _cdp.identifiers.slot IS 'Number among the profile''s identifiers of the kind: two sessions that add one each collide in it';
COMMENT ON COLUMN _cdp.identifiers.origin_id IS 'Profile it was first linked to: merges leave it, so that they can be undone';

CREATE TABLE _cdp.identity_demotions (
    profile_id bigint NOT NULL,
    kind_id integer NOT NULL,
    value text NOT NULL,
    namespace_id integer NOT NULL,
    reason text NOT NULL,
    message_id text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (profile_id, kind_id, value)
);
COMMENT ON TABLE _cdp.identity_demotions IS 'Identifiers that came with a person''s messages but were not given to the person, and why';

CREATE TABLE _cdp.profile_merges (
    absorbed_id bigint NOT NULL,
    survivor_id bigint NOT NULL,
    namespace_id integer NOT NULL,
    merged_at timestamptz NOT NULL,
    message_id text,
    rule text NOT NULL,
    PRIMARY KEY (absorbed_id)
);
CREATE INDEX profile_merges_survivor_id ON _cdp.profile_merges (survivor_id);
COMMENT ON TABLE _cdp.profile_merges IS 'Merges in force: the profile that disappeared and the one it went into, which may have disappeared later';

CREATE TABLE _cdp.profile_splits (
    profile_id bigint NOT NULL,
    other_profile_id bigint NOT NULL,
    namespace_id integer NOT NULL,
    split_at timestamptz NOT NULL,
    kind_id integer,
    value text,
    PRIMARY KEY (profile_id, other_profile_id)
);
COMMENT ON TABLE _cdp.profile_splits IS 'Pairs split by hand, both ways; identity resolution keeps them apart, also whom they are merged into';
COMMENT ON COLUMN _cdp.profile_splits.value IS 'The identifier of the profile that was meant: when the profile is split again, the row goes with it';
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
-- People: one hot row each, their traits, what waits to be folded in, and when time alone changes them.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE SEQUENCE _cdp.profile_id_seq CACHE 32;
CREATE TABLE _cdp.profiles (
    profile_id bigint NOT NULL DEFAULT pg_catalog.nextval('_cdp.profile_id_seq'::pg_catalog.regclass),
    created_at timestamptz NOT NULL,
    first_seen timestamptz,
    last_seen timestamptz,
    due timestamptz,
    event_count bigint NOT NULL DEFAULT 0,
    merged_into bigint,
    absorbed bigint[],
    namespace_id integer NOT NULL,
    version integer NOT NULL DEFAULT 0,
    state bytea NOT NULL DEFAULT '\x',
    computed bytea NOT NULL DEFAULT '\x',
    PRIMARY KEY (profile_id)
) WITH (fillfactor = 70);
ALTER TABLE _cdp.profiles ALTER COLUMN state SET STORAGE MAIN;
ALTER TABLE _cdp.profiles ALTER COLUMN computed SET STORAGE MAIN;
ALTER SEQUENCE _cdp.profile_id_seq OWNED BY _cdp.profiles.profile_id;
CREATE INDEX profiles_merged_into ON _cdp.profiles (merged_into) WHERE merged_into IS NOT NULL;
COMMENT ON TABLE _cdp.profiles IS 'One row per person, with the state from which all traits are computed';
COMMENT ON COLUMN _cdp.profiles.merged_into IS 'The profile this one was merged into; null for a person of its own';
COMMENT ON COLUMN _cdp.profiles.absorbed IS 'Profiles merged into this one: their events are this person''s';
COMMENT ON COLUMN _cdp.profiles.version IS 'Definitions (of this version and before) that state and computed cover';
COMMENT ON COLUMN _cdp.profiles.due IS 'No value changes by time alone before this instant; null: never';

CREATE TABLE _cdp.profile_traits (
    profile_id bigint NOT NULL,
    namespace_id integer NOT NULL,
    traits jsonb NOT NULL DEFAULT '{}',
    updated jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (profile_id)
);
COMMENT ON TABLE _cdp.profile_traits IS 'Traits set by identify calls, and the instant each was set (microseconds since 1970)';

CREATE SEQUENCE _cdp.pending_id_seq CACHE 32;
CREATE TABLE _cdp.pending_folds (
    profile_id bigint NOT NULL,
    pending_id bigint NOT NULL DEFAULT pg_catalog.nextval('_cdp.pending_id_seq'::pg_catalog.regclass),
    namespace_id integer NOT NULL,
    version integer NOT NULL,
    state bytea NOT NULL,
    traits jsonb,
    updated jsonb,
    groups jsonb,
    message_id text,
    PRIMARY KEY (profile_id, pending_id)
);
ALTER SEQUENCE _cdp.pending_id_seq OWNED BY _cdp.pending_folds.pending_id;
COMMENT ON TABLE _cdp.pending_folds IS 'Events, traits and groups of a person whose row another transaction held; readers add them, the next writer folds them in';
COMMENT ON COLUMN _cdp.pending_folds.traits IS 'Traits of identify calls, with their times in updated (microseconds since 1970); null: events alone';
COMMENT ON COLUMN _cdp.pending_folds.groups IS 'When each group was joined last (microseconds since 1970)';
COMMENT ON COLUMN _cdp.pending_folds.message_id IS 'The message that changes are put down to';

CREATE TABLE _cdp.timers (
    profile_id bigint NOT NULL,
    namespace_id integer NOT NULL,
    due timestamptz NOT NULL,
    PRIMARY KEY (profile_id)
) WITH (fillfactor = 70);
CREATE INDEX timers_due ON _cdp.timers (due);
COMMENT ON TABLE _cdp.timers IS 'When a profile has to be looked at because time alone may change a value';

CREATE TABLE _cdp.groups (
    namespace_id integer NOT NULL,
    group_id text NOT NULL,
    traits jsonb NOT NULL DEFAULT '{}',
    updated jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    PRIMARY KEY (namespace_id, group_id)
);
COMMENT ON TABLE _cdp.groups IS 'Groups (companies, accounts) with their traits';

CREATE TABLE _cdp.pending_group_traits (
    namespace_id integer NOT NULL,
    group_id text NOT NULL,
    pending_id bigint NOT NULL DEFAULT pg_catalog.nextval('_cdp.pending_id_seq'::pg_catalog.regclass),
    traits jsonb NOT NULL,
    updated jsonb NOT NULL,
    PRIMARY KEY (namespace_id, group_id, pending_id)
);
COMMENT ON TABLE _cdp.pending_group_traits IS 'Traits of a group whose row another transaction held, or, empty, the note that the group''s members have to be looked at';

CREATE TABLE _cdp.group_members (
    profile_id bigint NOT NULL,
    group_id text NOT NULL,
    namespace_id integer NOT NULL,
    joined_at timestamptz NOT NULL,
    PRIMARY KEY (profile_id, group_id)
);
CREATE INDEX group_members_group ON _cdp.group_members (namespace_id, group_id);
COMMENT ON TABLE _cdp.group_members IS 'Which people belong to which groups';

CREATE SEQUENCE _cdp.history_id_seq CACHE 32;
CREATE TABLE _cdp.history (
    profile_id bigint NOT NULL,
    history_id bigint NOT NULL DEFAULT pg_catalog.nextval('_cdp.history_id_seq'::pg_catalog.regclass),
    at timestamptz NOT NULL,
    namespace_id integer NOT NULL,
    what text NOT NULL,
    key text NOT NULL,
    old jsonb,
    new jsonb,
    cause text,
    PRIMARY KEY (profile_id, history_id)
);
ALTER SEQUENCE _cdp.history_id_seq OWNED BY _cdp.history.history_id;
COMMENT ON TABLE _cdp.history IS 'When and why people entered and left segments and their traits changed';

CREATE TABLE _cdp.sweeps (
    namespace_id integer NOT NULL,
    version integer NOT NULL,
    position bigint NOT NULL,
    total bigint NOT NULL,
    done bigint NOT NULL,
    started_at timestamptz NOT NULL,
    swept boolean NOT NULL DEFAULT false,
    made_by xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
    barrier xid8,
    PRIMARY KEY (namespace_id)
);
COMMENT ON TABLE _cdp.sweeps IS 'Namespaces in which people are being brought up to the latest definitions, and how far that is';
COMMENT ON COLUMN _cdp.sweeps.swept IS 'Everybody who could be seen was done; people whom transactions under way may still bring are waited for';
COMMENT ON COLUMN _cdp.sweeps.made_by IS 'The transaction that changed the definitions';
COMMENT ON COLUMN _cdp.sweeps.barrier IS 'Transactions before this one may have begun with earlier definitions; set once the change is committed';
-- What is computed: traits, segments, and the slots of the state they need.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE TABLE _cdp.definition_versions (
    namespace_id integer NOT NULL,
    version integer NOT NULL,
    PRIMARY KEY (namespace_id)
);
COMMENT ON TABLE _cdp.definition_versions IS 'Counts the changes of definitions; sessions reload theirs when it changes';

CREATE SEQUENCE _cdp.definition_id_seq AS integer;
CREATE TABLE _cdp.traits (
    trait_id integer NOT NULL DEFAULT pg_catalog.nextval('_cdp.definition_id_seq'::pg_catalog.regclass),
    namespace_id integer NOT NULL,
    key text NOT NULL,
    expression text NOT NULL,
    result_type text NOT NULL,
    description text,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (trait_id),
    UNIQUE (namespace_id, key)
);
COMMENT ON TABLE _cdp.traits IS 'Computed traits';

CREATE TABLE _cdp.segments (
    segment_id integer NOT NULL DEFAULT pg_catalog.nextval('_cdp.definition_id_seq'::pg_catalog.regclass),
    namespace_id integer NOT NULL,
    key text NOT NULL,
    name text,
    rule text,
    criteria jsonb,
    description text,
    sync_to text[] NOT NULL DEFAULT '{}',
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (segment_id),
    UNIQUE (namespace_id, key)
);
COMMENT ON TABLE _cdp.segments IS 'Segments and audiences';
COMMENT ON COLUMN _cdp.segments.rule IS 'Who is in it; null: the people on its list (_cdp.segment_lists)';

CREATE TABLE _cdp.segment_members (
    profile_id bigint NOT NULL,
    segment_id integer NOT NULL,
    namespace_id integer NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (profile_id, segment_id)
);
CREATE INDEX segment_members_segment ON _cdp.segment_members (segment_id, profile_id);
COMMENT ON TABLE _cdp.segment_members IS 'Who is in which segment, and since when';

CREATE TABLE _cdp.segment_lists (
    namespace_id integer NOT NULL,
    value text NOT NULL,
    kind_id integer NOT NULL,
    segment_id integer NOT NULL,
    added_at timestamptz NOT NULL,
    PRIMARY KEY (namespace_id, value, kind_id, segment_id)
);
CREATE INDEX segment_lists_segment ON _cdp.segment_lists (segment_id);
COMMENT ON TABLE _cdp.segment_lists IS 'Members of static segments as they were given: who is one follows from whom the identifier belongs to, also after merges and splits';
COMMENT ON COLUMN _cdp.segment_lists.kind_id IS 'Kind of the identifier; 0: whatever kind somebody comes to be known by it; -1: the value is a profile id';

CREATE SEQUENCE _cdp.list_change_id_seq CACHE 32;
CREATE TABLE _cdp.list_changes (
    namespace_id integer NOT NULL,
    change_id bigint NOT NULL DEFAULT pg_catalog.nextval('_cdp.list_change_id_seq'::pg_catalog.regclass),
    "values" text[] NOT NULL,
    made_by xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
    barrier xid8,
    PRIMARY KEY (namespace_id, change_id)
);
ALTER SEQUENCE _cdp.list_change_id_seq OWNED BY _cdp.list_changes.change_id;
COMMENT ON TABLE _cdp.list_changes IS 'Identifiers put on lists while nobody was known by them: transactions under way may have brought somebody without seeing the list';
COMMENT ON COLUMN _cdp.list_changes.made_by IS 'The transaction that changed the list';
COMMENT ON COLUMN _cdp.list_changes.barrier IS 'Transactions before this one may not have seen the list; set once the change is committed';

-- Ids below 100 are those of the score "lead" that comes with the extension.
CREATE SEQUENCE _cdp.slot_id_seq AS integer START WITH 100;
CREATE TABLE _cdp.slots (
    slot_id integer NOT NULL DEFAULT pg_catalog.nextval('_cdp.slot_id_seq'::pg_catalog.regclass),
    namespace_id integer NOT NULL,
    event text NOT NULL,
    filter text,
    property text[],
    aggregates text[] NOT NULL,
    version integer NOT NULL,
    PRIMARY KEY (slot_id)
);
COMMENT ON TABLE _cdp.slots IS 'Parts of a profile''s state: one event source and property, and the aggregates it answers';
COMMENT ON COLUMN _cdp.slots.version IS 'Definition version that introduced the slot; older profiles fill it from their events';
ALTER SEQUENCE _cdp.slot_id_seq OWNED BY _cdp.slots.slot_id;
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
-- Scores. The score "lead" comes with the extension and has a row only where a namespace defines its own, or none.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE TABLE _cdp.scores (
    score_id integer NOT NULL DEFAULT pg_catalog.nextval('_cdp.definition_id_seq'::pg_catalog.regclass),
    namespace_id integer NOT NULL,
    key text NOT NULL,
    definition jsonb,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (score_id),
    UNIQUE (namespace_id, key)
);
COMMENT ON TABLE _cdp.scores IS 'Lead scores that were defined';
COMMENT ON COLUMN _cdp.scores.definition IS 'NULL where the namespace dropped the score "lead", which it has otherwise without a row';
-- Flags, what people were given by hand, holdouts, and experiments.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE TABLE _cdp.flags (
    flag_id integer NOT NULL DEFAULT pg_catalog.nextval('_cdp.definition_id_seq'::pg_catalog.regclass),
    namespace_id integer NOT NULL,
    key text NOT NULL,
    rule text,
    definition jsonb,
    description text,
    version integer NOT NULL,
    has_overrides boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (flag_id),
    UNIQUE (namespace_id, key)
);
COMMENT ON TABLE _cdp.flags IS 'Flags: one rule, or a definition';
COMMENT ON COLUMN _cdp.flags.has_overrides IS 'Whether anybody may have been given a variant by hand; without that decisions need not look';

CREATE TABLE _cdp.flag_overrides (
    profile_id bigint NOT NULL,
    flag_id integer NOT NULL,
    namespace_id integer NOT NULL,
    variant text NOT NULL,
    set_at timestamptz NOT NULL,
    set_by text NOT NULL,
    PRIMARY KEY (profile_id, flag_id)
);
CREATE INDEX flag_overrides_flag ON _cdp.flag_overrides (flag_id);
COMMENT ON TABLE _cdp.flag_overrides IS 'Variants given to people by hand';

CREATE TABLE _cdp.holdouts (
    namespace_id integer NOT NULL,
    key text NOT NULL,
    share integer NOT NULL,
    description text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (namespace_id, key)
);
COMMENT ON TABLE _cdp.holdouts IS 'People who are kept out of flags';
COMMENT ON COLUMN _cdp.holdouts.share IS 'How many, in millionths';

CREATE TABLE _cdp.experiments (
    namespace_id integer NOT NULL,
    key text NOT NULL,
    flag text NOT NULL,
    definition jsonb NOT NULL,
    description text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (namespace_id, key)
);
COMMENT ON TABLE _cdp.experiments IS 'Experiments on flags';
-- The calls of the spec, batches, and the inbox.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE FUNCTION cdp.track(
    user_id text,
    event text,
    properties jsonb DEFAULT '{}',
    anonymous_id text DEFAULT NULL,
    "timestamp" timestamptz DEFAULT NULL,
    context jsonb DEFAULT '{}',
    integrations jsonb DEFAULT '{}',
    message_id text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS cdp.receipt
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_track';
COMMENT ON FUNCTION cdp.track(text, text, jsonb, text, timestamptz, jsonb, jsonb, text, text) IS 'Records that somebody did something';
REVOKE ALL ON FUNCTION cdp.track(text, text, jsonb, text, timestamptz, jsonb, jsonb, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.track(text, text, jsonb, text, timestamptz, jsonb, jsonb, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.track(text, text, jsonb, text, timestamptz, jsonb, jsonb, text, text) TO cdp_admin;

CREATE FUNCTION cdp.identify(
    user_id text,
    traits jsonb DEFAULT '{}',
    anonymous_id text DEFAULT NULL,
    "timestamp" timestamptz DEFAULT NULL,
    context jsonb DEFAULT '{}',
    integrations jsonb DEFAULT '{}',
    message_id text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS cdp.receipt
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_identify';
COMMENT ON FUNCTION cdp.identify(text, jsonb, text, timestamptz, jsonb, jsonb, text, text) IS 'Says who somebody is, with their traits; null removes a trait';
REVOKE ALL ON FUNCTION cdp.identify(text, jsonb, text, timestamptz, jsonb, jsonb, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.identify(text, jsonb, text, timestamptz, jsonb, jsonb, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.identify(text, jsonb, text, timestamptz, jsonb, jsonb, text, text) TO cdp_admin;

CREATE FUNCTION cdp.page(
    user_id text,
    name text DEFAULT NULL,
    properties jsonb DEFAULT '{}',
    category text DEFAULT NULL,
    anonymous_id text DEFAULT NULL,
    "timestamp" timestamptz DEFAULT NULL,
    context jsonb DEFAULT '{}',
    integrations jsonb DEFAULT '{}',
    message_id text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS cdp.receipt
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_page';
COMMENT ON FUNCTION cdp.page(text, text, jsonb, text, text, timestamptz, jsonb, jsonb, text, text) IS 'Records that somebody saw a page: it counts as the event Page Viewed';
REVOKE ALL ON FUNCTION cdp.page(text, text, jsonb, text, text, timestamptz, jsonb, jsonb, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.page(text, text, jsonb, text, text, timestamptz, jsonb, jsonb, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.page(text, text, jsonb, text, text, timestamptz, jsonb, jsonb, text, text) TO cdp_admin;

CREATE FUNCTION cdp.screen(
    user_id text,
    name text DEFAULT NULL,
    properties jsonb DEFAULT '{}',
    category text DEFAULT NULL,
    anonymous_id text DEFAULT NULL,
    "timestamp" timestamptz DEFAULT NULL,
    context jsonb DEFAULT '{}',
    integrations jsonb DEFAULT '{}',
    message_id text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS cdp.receipt
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_screen';
COMMENT ON FUNCTION cdp.screen(text, text, jsonb, text, text, timestamptz, jsonb, jsonb, text, text) IS 'Records that somebody saw a screen: it counts as the event Screen Viewed';
REVOKE ALL ON FUNCTION cdp.screen(text, text, jsonb, text, text, timestamptz, jsonb, jsonb, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.screen(text, text, jsonb, text, text, timestamptz, jsonb, jsonb, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.screen(text, text, jsonb, text, text, timestamptz, jsonb, jsonb, text, text) TO cdp_admin;

CREATE FUNCTION cdp."group"(
    user_id text,
    group_id text,
    traits jsonb DEFAULT '{}',
    anonymous_id text DEFAULT NULL,
    "timestamp" timestamptz DEFAULT NULL,
    context jsonb DEFAULT '{}',
    integrations jsonb DEFAULT '{}',
    message_id text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS cdp.receipt
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_group';
COMMENT ON FUNCTION cdp."group"(text, text, jsonb, text, timestamptz, jsonb, jsonb, text, text) IS 'Says that somebody belongs to a group, with the traits of the group';
REVOKE ALL ON FUNCTION cdp."group"(text, text, jsonb, text, timestamptz, jsonb, jsonb, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp."group"(text, text, jsonb, text, timestamptz, jsonb, jsonb, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp."group"(text, text, jsonb, text, timestamptz, jsonb, jsonb, text, text) TO cdp_admin;

CREATE FUNCTION cdp.alias(
    user_id text,
    previous_id text,
    "timestamp" timestamptz DEFAULT NULL,
    context jsonb DEFAULT '{}',
    integrations jsonb DEFAULT '{}',
    message_id text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS cdp.receipt
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_alias';
COMMENT ON FUNCTION cdp.alias(text, text, timestamptz, jsonb, jsonb, text, text) IS 'Says that two ids are one person';
REVOKE ALL ON FUNCTION cdp.alias(text, text, timestamptz, jsonb, jsonb, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.alias(text, text, timestamptz, jsonb, jsonb, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.alias(text, text, timestamptz, jsonb, jsonb, text, text) TO cdp_admin;

CREATE FUNCTION cdp.ingest(
    payload jsonb,
    namespace text DEFAULT NULL
) RETURNS SETOF cdp.receipt
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_ingest_jsonb';
COMMENT ON FUNCTION cdp.ingest(jsonb, text) IS 'Takes one message, an array of messages, or a batch as SDKs send it; a bad message goes to cdp.quarantine';
REVOKE ALL ON FUNCTION cdp.ingest(jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.ingest(jsonb, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.ingest(jsonb, text) TO cdp_admin;

CREATE FUNCTION cdp.ingest(
    payload text,
    namespace text DEFAULT NULL
) RETURNS SETOF cdp.receipt
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_ingest_text';
COMMENT ON FUNCTION cdp.ingest(text, text) IS 'Takes messages as JSON or NDJSON text: the fast path for clients';
REVOKE ALL ON FUNCTION cdp.ingest(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.ingest(text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.ingest(text, text) TO cdp_admin;

CREATE FUNCTION cdp.requeue_quarantine(
    quarantine_ids bigint[],
    namespace text DEFAULT NULL
) RETURNS SETOF cdp.receipt
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_requeue_quarantine';
COMMENT ON FUNCTION cdp.requeue_quarantine(bigint[], text) IS 'Takes these quarantined messages again; those that still fail go back';
REVOKE ALL ON FUNCTION cdp.requeue_quarantine(bigint[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.requeue_quarantine(bigint[], text) TO cdp_admin;

-- The filter is SQL and runs with the caller's rights, so this function must not be SECURITY DEFINER.
CREATE FUNCTION cdp.requeue_quarantine(
    filter text DEFAULT NULL,
    "limit" integer DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS SETOF cdp.receipt
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    chosen bigint[];
BEGIN
    EXECUTE 'SELECT pg_catalog.array_agg(c.quarantine_id ORDER BY c.quarantine_id) FROM ('
        'SELECT q.quarantine_id FROM cdp.quarantine AS q'
        ' WHERE q.namespace OPERATOR(pg_catalog.=) $1'
        ' AND ' OPERATOR(pg_catalog.||) cdp.check_filter('cdp.quarantine', COALESCE(filter, 'true')) OPERATOR(pg_catalog.||) ' ORDER BY q.quarantine_id LIMIT $2) AS c'
        INTO chosen USING cdp.current_namespace(namespace), "limit";
    RETURN QUERY SELECT * FROM cdp.requeue_quarantine(COALESCE(chosen, '{}'::bigint[]), namespace);
END
$$;
COMMENT ON FUNCTION cdp.requeue_quarantine(text, integer, text) IS 'Takes quarantined messages again, oldest first: those that a SQL condition over cdp.quarantine chooses, or all; those that still fail go back';
REVOKE ALL ON FUNCTION cdp.requeue_quarantine(text, integer, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.requeue_quarantine(text, integer, text) TO cdp_admin;

CREATE VIEW cdp.inbox AS
    SELECT
        NULL::text AS type, NULL::text AS user_id, NULL::text AS anonymous_id, NULL::text AS event, NULL::text AS name, NULL::text AS category,
        NULL::jsonb AS properties, NULL::jsonb AS traits, NULL::jsonb AS context, NULL::jsonb AS integrations,
        NULL::text AS group_id, NULL::text AS previous_id, NULL::timestamptz AS "timestamp", NULL::timestamptz AS sent_at,
        NULL::text AS message_id, NULL::text AS namespace
    WHERE false;
ALTER VIEW cdp.inbox ALTER COLUMN type SET DEFAULT 'track';
COMMENT ON VIEW cdp.inbox IS 'INSERT or COPY messages into it: they go through the same pipeline as calls; bad ones go to cdp.quarantine';

CREATE FUNCTION _cdp.inbox_row() RETURNS trigger
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_inbox_row';
COMMENT ON FUNCTION _cdp.inbox_row() IS 'Gathers a row of cdp.inbox';
REVOKE ALL ON FUNCTION _cdp.inbox_row() FROM PUBLIC;

CREATE FUNCTION _cdp.inbox_end() RETURNS trigger
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_inbox_end';
COMMENT ON FUNCTION _cdp.inbox_end() IS 'Sends the rows gathered from cdp.inbox through the pipeline';
REVOKE ALL ON FUNCTION _cdp.inbox_end() FROM PUBLIC;

CREATE TRIGGER inbox_row INSTEAD OF INSERT ON cdp.inbox FOR EACH ROW EXECUTE FUNCTION _cdp.inbox_row();
CREATE TRIGGER inbox_end AFTER INSERT ON cdp.inbox FOR EACH STATEMENT EXECUTE FUNCTION _cdp.inbox_end();
GRANT INSERT ON cdp.inbox TO cdp_writer, cdp_admin;
-- Making, changing and dropping definitions.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE FUNCTION _cdp.bound_namespaces() RETURNS integer[]
    LANGUAGE c STABLE PARALLEL SAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_bound_namespaces';
COMMENT ON FUNCTION _cdp.bound_namespaces() IS 'Ids of the namespaces that the session may use; null: all';
REVOKE ALL ON FUNCTION _cdp.bound_namespaces() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _cdp.bound_namespaces() TO cdp_reader, cdp_writer, cdp_admin;

CREATE VIEW _cdp.namespace_names AS
    SELECT namespace_id, name FROM _cdp.namespaces
    UNION ALL
    SELECT 1, 'default'::text WHERE NOT EXISTS (SELECT FROM _cdp.namespaces WHERE namespace_id OPERATOR(pg_catalog.=) 1)
        AND COALESCE(1 OPERATOR(pg_catalog.=) ANY ((SELECT _cdp.bound_namespaces())::integer[]), true);
COMMENT ON VIEW _cdp.namespace_names IS 'Names of all namespaces, the default one included';

CREATE VIEW cdp.namespaces AS
    SELECT n.name, COALESCE(s.keywords, '{}') AS keywords, COALESCE(s.timezone, 'UTC') AS timezone, COALESCE(s.settings, '{}') AS settings,
        s.created_at, s.updated_at
    FROM _cdp.namespace_names AS n LEFT JOIN _cdp.namespaces AS s ON s.namespace_id OPERATOR(pg_catalog.=) n.namespace_id;
COMMENT ON VIEW cdp.namespaces IS 'Namespaces; "default" is always there';

CREATE VIEW cdp.trait_definitions AS
    SELECT n.name AS namespace, t.key, t.expression, t.result_type, t.description, t.created_at, t.updated_at
    FROM _cdp.traits AS t JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) t.namespace_id;
COMMENT ON VIEW cdp.trait_definitions IS 'Computed traits';

CREATE FUNCTION _cdp.member_counts() RETURNS TABLE (segment_id integer, members bigint)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_member_counts';
COMMENT ON FUNCTION _cdp.member_counts() IS 'How many people are in each segment now';
REVOKE ALL ON FUNCTION _cdp.member_counts() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _cdp.member_counts() TO cdp_reader, cdp_writer, cdp_admin;

CREATE VIEW cdp.segment_definitions AS
    SELECT n.name AS namespace, s.key, s.name, s.rule, s.criteria, s.description, s.sync_to,
        COALESCE(c.members, 0) AS members, s.created_at, s.updated_at
    FROM _cdp.segments AS s
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) s.namespace_id
    LEFT JOIN _cdp.member_counts() AS c ON c.segment_id OPERATOR(pg_catalog.=) s.segment_id;
COMMENT ON VIEW cdp.segment_definitions IS 'Segments and audiences, with how many people are in each now; one without a rule is static: its members are listed';

-- What a call with the argument namespace => $1 is for; the SQL functions of this schema ask it too.
CREATE FUNCTION cdp.current_namespace(
    namespace text DEFAULT NULL
) RETURNS text
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_current_namespace';
COMMENT ON FUNCTION cdp.current_namespace(text) IS 'The namespace that a call with this argument is for; permission is denied to a role bound to another';
REVOKE ALL ON FUNCTION cdp.current_namespace(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.current_namespace(text) TO cdp_reader, cdp_writer, cdp_admin;

CREATE FUNCTION cdp.define_namespace(
    name text,
    keywords text[] DEFAULT '{}',
    timezone text DEFAULT 'UTC',
    settings jsonb DEFAULT '{}'
) RETURNS cdp.namespaces
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_define_namespace';
COMMENT ON FUNCTION cdp.define_namespace(text, text[], text, jsonb) IS 'Makes or changes a namespace';
REVOKE ALL ON FUNCTION cdp.define_namespace(text, text[], text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.define_namespace(text, text[], text, jsonb) TO cdp_admin;

CREATE FUNCTION cdp.define_trait(
    key text,
    expression text,
    description text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS cdp.trait_definitions
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_define_trait';
COMMENT ON FUNCTION cdp.define_trait(text, text, text, text) IS 'Makes or changes a computed trait, for everybody at once';
REVOKE ALL ON FUNCTION cdp.define_trait(text, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.define_trait(text, text, text, text) TO cdp_admin;

CREATE FUNCTION cdp.define_segment(
    key text,
    rule text,
    description text DEFAULT NULL,
    sync_to text[] DEFAULT '{}',
    namespace text DEFAULT NULL
) RETURNS cdp.segment_definitions
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_define_segment';
COMMENT ON FUNCTION cdp.define_segment(text, text, text, text[], text) IS 'Makes or changes a segment, for everybody at once';
REVOKE ALL ON FUNCTION cdp.define_segment(text, text, text, text[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.define_segment(text, text, text, text[], text) TO cdp_admin;

CREATE FUNCTION cdp.define_audience(
    name text,
    criteria jsonb,
    sync_to text[] DEFAULT '{}',
    namespace text DEFAULT NULL
) RETURNS cdp.segment_definitions
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_define_audience';
COMMENT ON FUNCTION cdp.define_audience(text, jsonb, text[], text) IS 'Makes or changes a segment from JSON criteria; its key is the slug of the name';
REVOKE ALL ON FUNCTION cdp.define_audience(text, jsonb, text[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.define_audience(text, jsonb, text[], text) TO cdp_admin;

CREATE FUNCTION cdp.drop_trait(
    key text,
    namespace text DEFAULT NULL
) RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_trait';
COMMENT ON FUNCTION cdp.drop_trait(text, text) IS 'Drops a trait; refused while something uses it';
REVOKE ALL ON FUNCTION cdp.drop_trait(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.drop_trait(text, text) TO cdp_admin;

CREATE FUNCTION cdp.drop_segment(
    key text,
    namespace text DEFAULT NULL
) RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_segment';
COMMENT ON FUNCTION cdp.drop_segment(text, text) IS 'Drops a segment; refused while something uses it';
REVOKE ALL ON FUNCTION cdp.drop_segment(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.drop_segment(text, text) TO cdp_admin;

CREATE FUNCTION cdp.validate(
    expression text,
    kind text DEFAULT 'trait',
    namespace text DEFAULT NULL
) RETURNS TABLE (valid boolean, result_type text, message text, "position" integer, hint text)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_validate';
COMMENT ON FUNCTION cdp.validate(text, text, text) IS 'Checks an expression of a trait, segment, flag, route or score without saving it';
REVOKE ALL ON FUNCTION cdp.validate(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.validate(text, text, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.validate(text, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.validate(text, text, text) TO cdp_admin;

-- Reads: exact as of cdp.now(), on a standby too.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE FUNCTION cdp.resolve(
    id text,
    kind text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS bigint
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_resolve';
COMMENT ON FUNCTION cdp.resolve(text, text, text) IS 'The profile that an identifier belongs to';
REVOKE ALL ON FUNCTION cdp.resolve(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.resolve(text, text, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.resolve(text, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.resolve(text, text, text) TO cdp_admin;

CREATE FUNCTION cdp.profile(
    id text,
    namespace text DEFAULT NULL
) RETURNS TABLE (profile_id bigint, identifiers jsonb, traits jsonb, computed jsonb, segments text[], scores jsonb, groups jsonb, first_seen timestamptz, last_seen timestamptz, event_count bigint)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_profile';
COMMENT ON FUNCTION cdp.profile(text, text) IS 'All that is known about a person';
REVOKE ALL ON FUNCTION cdp.profile(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.profile(text, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.profile(text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.profile(text, text) TO cdp_admin;

CREATE FUNCTION cdp.trait(
    id text,
    key text,
    namespace text DEFAULT NULL
) RETURNS jsonb
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_trait';
COMMENT ON FUNCTION cdp.trait(text, text, text) IS 'Value of a computed trait, or of one the application sent';
REVOKE ALL ON FUNCTION cdp.trait(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.trait(text, text, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.trait(text, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.trait(text, text, text) TO cdp_admin;

CREATE FUNCTION cdp.traits(
    id text,
    namespace text DEFAULT NULL
) RETURNS TABLE (key text, value jsonb, updated_at timestamptz)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_traits';
COMMENT ON FUNCTION cdp.traits(text, text) IS 'Values of all computed traits of a person';
REVOKE ALL ON FUNCTION cdp.traits(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.traits(text, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.traits(text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.traits(text, text) TO cdp_admin;

CREATE FUNCTION cdp.in_segment(
    id text,
    key text,
    namespace text DEFAULT NULL
) RETURNS boolean
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_in_segment';
COMMENT ON FUNCTION cdp.in_segment(text, text, text) IS 'Whether a person is in a segment';
REVOKE ALL ON FUNCTION cdp.in_segment(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.in_segment(text, text, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.in_segment(text, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.in_segment(text, text, text) TO cdp_admin;

CREATE FUNCTION cdp.segments(
    id text,
    namespace text DEFAULT NULL
) RETURNS TABLE (key text, since timestamptz)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_segments';
COMMENT ON FUNCTION cdp.segments(text, text) IS 'The segments a person is in';
REVOKE ALL ON FUNCTION cdp.segments(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.segments(text, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.segments(text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.segments(text, text) TO cdp_admin;

CREATE FUNCTION cdp.members(
    segment text,
    namespace text DEFAULT NULL
) RETURNS TABLE (profile_id bigint, user_id text, since timestamptz)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_members';
COMMENT ON FUNCTION cdp.members(text, text) IS 'The people in a segment';
REVOKE ALL ON FUNCTION cdp.members(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.members(text, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.members(text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.members(text, text) TO cdp_admin;

CREATE FUNCTION cdp.history(
    id text,
    namespace text DEFAULT NULL
) RETURNS TABLE (at timestamptz, what text, key text, old jsonb, new jsonb, cause text)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_history';
COMMENT ON FUNCTION cdp.history(text, text) IS 'When and why a person entered and left segments and changed';
REVOKE ALL ON FUNCTION cdp.history(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.history(text, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.history(text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.history(text, text) TO cdp_admin;

CREATE FUNCTION cdp.evaluate(
    id text,
    expression text,
    namespace text DEFAULT NULL
) RETURNS jsonb
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_evaluate';
COMMENT ON FUNCTION cdp.evaluate(text, text, text) IS 'Value of any expression for a person, now';
REVOKE ALL ON FUNCTION cdp.evaluate(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.evaluate(text, text, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.evaluate(text, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.evaluate(text, text, text) TO cdp_admin;

-- What compiled statements call: the same on every installation, whatever the database's locale.
CREATE FUNCTION _cdp.lower_text("text" text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'cdp_lower_text';
COMMENT ON FUNCTION _cdp.lower_text(text) IS 'The text in lower case, by Unicode';
REVOKE ALL ON FUNCTION _cdp.lower_text(text) FROM PUBLIC;
CREATE FUNCTION _cdp.upper_text("text" text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'cdp_upper_text';
COMMENT ON FUNCTION _cdp.upper_text(text) IS 'The text in upper case, by Unicode';
REVOKE ALL ON FUNCTION _cdp.upper_text(text) FROM PUBLIC;
CREATE FUNCTION _cdp.text_matches("text" text, pattern text) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'cdp_text_matches';
COMMENT ON FUNCTION _cdp.text_matches(text, text) IS 'Whether a regular expression occurs in a text';
REVOKE ALL ON FUNCTION _cdp.text_matches(text, text) FROM PUBLIC;
CREATE FUNCTION _cdp.text_to_instant("text" text) RETURNS timestamptz
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'cdp_text_to_instant';
COMMENT ON FUNCTION _cdp.text_to_instant(text) IS 'The instant that an ISO 8601 text stands for';
REVOKE ALL ON FUNCTION _cdp.text_to_instant(text) FROM PUBLIC;
CREATE FUNCTION _cdp.value_order(value jsonb) RETURNS bytea
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'cdp_value_order';
COMMENT ON FUNCTION _cdp.value_order(jsonb) IS 'Bytes that sort as values of expressions do';
REVOKE ALL ON FUNCTION _cdp.value_order(jsonb) FROM PUBLIC;
CREATE FUNCTION _cdp.value_is_listable(value jsonb) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'cdp_value_is_listable';
COMMENT ON FUNCTION _cdp.value_is_listable(jsonb) IS 'Whether top and list consider a value';
REVOKE ALL ON FUNCTION _cdp.value_is_listable(jsonb) FROM PUBLIC;

CREATE FUNCTION _cdp.compiled_values(expression text, namespace text DEFAULT NULL) RETURNS TABLE (profile_id bigint, value jsonb)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_compiled_values';
COMMENT ON FUNCTION _cdp.compiled_values(text, text) IS 'The value of an expression for everybody, by one statement over all events; no rows for what only a person''s state answers';
REVOKE ALL ON FUNCTION _cdp.compiled_values(text, text) FROM PUBLIC;

CREATE FUNCTION cdp.preview(
    rule text,
    namespace text DEFAULT NULL
) RETURNS TABLE (members bigint, profiles bigint, sample bigint[])
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_preview';
COMMENT ON FUNCTION cdp.preview(text, text) IS 'How many people a rule has, before anything is saved';
REVOKE ALL ON FUNCTION cdp.preview(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.preview(text, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.preview(text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.preview(text, text) TO cdp_admin;

CREATE FUNCTION cdp.explain_trait(
    id text,
    key text,
    namespace text DEFAULT NULL
) RETURNS TABLE (depth integer, expression text, value jsonb, changes_at timestamptz, events jsonb)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_explain_trait';
COMMENT ON FUNCTION cdp.explain_trait(text, text, text) IS 'The tree of a trait with the value of every node, when time changes it next, and the latest events that count';
REVOKE ALL ON FUNCTION cdp.explain_trait(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.explain_trait(text, text, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.explain_trait(text, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.explain_trait(text, text, text) TO cdp_admin;

CREATE FUNCTION cdp.explain_segment(
    id text,
    key text,
    namespace text DEFAULT NULL
) RETURNS TABLE (depth integer, expression text, value jsonb, changes_at timestamptz, events jsonb)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_explain_segment';
COMMENT ON FUNCTION cdp.explain_segment(text, text, text) IS 'The tree of a segment with the value of every node, when time changes it next, and the latest events that count';
REVOKE ALL ON FUNCTION cdp.explain_segment(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.explain_segment(text, text, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.explain_segment(text, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.explain_segment(text, text, text) TO cdp_admin;

CREATE FUNCTION cdp.explain_identity(
    id text,
    namespace text DEFAULT NULL
) RETURNS TABLE (at timestamptz, what text, kind text, value text, profile_id bigint, rule text, message_id text, detail text)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_explain_identity';
COMMENT ON FUNCTION cdp.explain_identity(text, text) IS 'Every identifier, merge, split and refusal of a person, with its cause';
REVOKE ALL ON FUNCTION cdp.explain_identity(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.explain_identity(text, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.explain_identity(text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.explain_identity(text, text) TO cdp_admin;

CREATE VIEW cdp.events AS
    SELECT
        n.name AS namespace,
        COALESCE(p.merged_into, e.profile_id) AS profile_id,
        CASE e.type WHEN 0 THEN 'track' WHEN 1 THEN 'identify' WHEN 2 THEN 'page' WHEN 3 THEN 'screen' WHEN 4 THEN 'group' ELSE 'alias' END AS type,
        d.name AS event, e.ts AS "timestamp", e.received_at,
        CASE WHEN e.type OPERATOR(pg_catalog.=) ANY ('{1,4}'::int2[]) THEN NULL ELSE e.properties END AS properties,
        e.context, e.user_id, e.anonymous_id, e.message_id,
        CASE WHEN e.type OPERATOR(pg_catalog.=) ANY ('{1,4}'::int2[]) THEN e.properties END AS traits,
        e.name, e.category, e.group_id, e.previous_id, e.integrations, e.original_timestamp, e.sent_at, e.event_id
    FROM _cdp.events AS e
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) e.namespace_id
    LEFT JOIN _cdp.event_names AS d ON d.event_name_id OPERATOR(pg_catalog.=) e.event_name_id
    LEFT JOIN _cdp.profiles AS p ON p.profile_id OPERATOR(pg_catalog.=) e.profile_id;
COMMENT ON VIEW cdp.events IS 'Every message taken, with the person it belongs to now';

CREATE FUNCTION _cdp.sent_traits(profile_id bigint, namespace text) RETURNS jsonb
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_sent_traits';
COMMENT ON FUNCTION _cdp.sent_traits(bigint, text) IS 'Traits of identify calls of a profile, with those that wait to be folded in';
REVOKE ALL ON FUNCTION _cdp.sent_traits(bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _cdp.sent_traits(bigint, text) TO cdp_reader, cdp_writer, cdp_admin;

CREATE VIEW cdp.people AS
    SELECT n.name AS namespace, p.profile_id,
        CASE WHEN EXISTS (SELECT FROM _cdp.pending_folds AS f WHERE f.traits IS NOT NULL
                AND f.profile_id OPERATOR(pg_catalog.=) ANY (p.profile_id OPERATOR(pg_catalog.||) p.absorbed))
            THEN _cdp.sent_traits(p.profile_id, n.name) ELSE t.traits END AS traits,
        p.first_seen, p.last_seen, p.event_count, p.created_at,
        (SELECT pg_catalog.array_agg(i.value ORDER BY i.linked_at, i.value) FROM _cdp.identifiers AS i
         WHERE i.profile_id OPERATOR(pg_catalog.=) p.profile_id AND i.kind_id OPERATOR(pg_catalog.=) 1) AS user_ids
    FROM _cdp.profiles AS p
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) p.namespace_id
    LEFT JOIN _cdp.profile_traits AS t ON t.profile_id OPERATOR(pg_catalog.=) p.profile_id
    WHERE p.merged_into IS NULL;
COMMENT ON VIEW cdp.people IS 'People, one row each';

CREATE VIEW cdp.identifiers AS
    SELECT n.name AS namespace, i.profile_id, k.name AS kind, i.value, i.linked_at, i.rule, i.message_id
    FROM _cdp.identifiers AS i
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) i.namespace_id
    JOIN _cdp.identifier_kinds AS k ON k.kind_id OPERATOR(pg_catalog.=) i.kind_id;
COMMENT ON VIEW cdp.identifiers IS 'Which identifier belongs to whom, and why';

CREATE FUNCTION _cdp.traits_of(profile_id bigint, namespace text) RETURNS TABLE (key text, value jsonb, updated_at timestamptz)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_traits_of';
COMMENT ON FUNCTION _cdp.traits_of(bigint, text) IS 'Values of all computed traits of a profile';
REVOKE ALL ON FUNCTION _cdp.traits_of(bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _cdp.traits_of(bigint, text) TO cdp_reader, cdp_writer, cdp_admin;

CREATE VIEW cdp.user_traits AS
    SELECT n.name AS namespace, p.profile_id, t.key, t.value, t.updated_at
    FROM _cdp.profiles AS p
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) p.namespace_id
    CROSS JOIN LATERAL _cdp.traits_of(p.profile_id, n.name) AS t
    WHERE p.merged_into IS NULL;
COMMENT ON VIEW cdp.user_traits IS 'Values of computed traits, as of now';

CREATE VIEW cdp.user_segments AS
    SELECT n.name AS namespace, m.profile_id, s.key, true AS in_segment, m.since
    FROM _cdp.segments AS s
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) s.namespace_id
    CROSS JOIN LATERAL cdp.members(s.key, n.name) AS m;
COMMENT ON VIEW cdp.user_segments IS 'Who is in which segment, as of now';

CREATE VIEW cdp.quarantine AS
    SELECT n.name AS namespace, q.quarantine_id, q.received_at, q.code, q.field, q.reason, q.original
    FROM _cdp.quarantine AS q JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) q.namespace_id;
COMMENT ON VIEW cdp.quarantine IS 'Messages that could not be taken, as they came, with the reason; cdp.requeue_quarantine() takes them again';

GRANT SELECT ON cdp.namespaces, cdp.trait_definitions, cdp.segment_definitions, cdp.events, cdp.people, cdp.identifiers,
    cdp.user_traits, cdp.user_segments, cdp.quarantine TO cdp_reader, cdp_writer, cdp_admin;
-- Operating.
SET LOCAL search_path = pg_catalog, pg_temp;

-- Runs with the caller's rights, as the statements do that the condition goes into.
CREATE FUNCTION cdp.check_filter(
    source regclass,
    filter text
) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF filter IS NULL THEN
        RAISE EXCEPTION 'argument filter is null' USING ERRCODE = '22004', HINT = 'Give a SQL condition; ''true'' chooses all.';
    END IF;
    -- By itself a condition has no parenthesis that ends another one; within parentheses it has nothing after it.
    EXECUTE pg_catalog.format('SELECT FROM %s WHERE %s LIMIT 0', source, filter OPERATOR(pg_catalog.||) E'\n');
    EXECUTE pg_catalog.format('SELECT FROM %s WHERE (%s) LIMIT 0', source, filter OPERATOR(pg_catalog.||) E'\n');
    RETURN pg_catalog.format('(%s)', filter OPERATOR(pg_catalog.||) E'\n');
EXCEPTION
    WHEN syntax_error_or_access_rule_violation THEN
        RAISE EXCEPTION 'the filter is no condition over %: %', source, SQLERRM
            USING ERRCODE = 'CD106', DETAIL = pg_catalog.concat('Filter: ', pg_catalog."left"(filter, 200)),
                HINT = 'Write it as after WHERE, with the columns of the view; functions outside pg_catalog need their schema.';
END
$$;
COMMENT ON FUNCTION cdp.check_filter(regclass, text) IS 'A SQL condition over a table or view in parentheses, when it is one; refuses what is not, or ends the statement it is put into';
REVOKE ALL ON FUNCTION cdp.check_filter(regclass, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.check_filter(regclass, text) TO cdp_reader, cdp_writer, cdp_admin;

CREATE FUNCTION cdp.rebuild(
    id text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_rebuild';
COMMENT ON FUNCTION cdp.rebuild(text, text) IS 'Computes a person, or everybody, from the events again; returns how many people';
REVOKE ALL ON FUNCTION cdp.rebuild(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.rebuild(text, text) TO cdp_admin;

CREATE FUNCTION cdp.unmerge(
    id text,
    identifier text,
    kind text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS TABLE (profile_id bigint, identifiers jsonb, events bigint)
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_unmerge';
COMMENT ON FUNCTION cdp.unmerge(text, text, text, text) IS 'Takes an identifier, and all that came with it, off a person: undoes the merge that brought it, and keeps the two apart; returns both';
REVOKE ALL ON FUNCTION cdp.unmerge(text, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.unmerge(text, text, text, text) TO cdp_admin;

CREATE FUNCTION cdp.run_due(
    max_seconds integer DEFAULT NULL
) RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_run_due';
COMMENT ON FUNCTION cdp.run_due(integer) IS 'Does the work of the background workers here and now';
REVOKE ALL ON FUNCTION cdp.run_due(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.run_due(integer) TO cdp_admin;

CREATE FUNCTION cdp.metrics() RETURNS text
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_metrics';
COMMENT ON FUNCTION cdp.metrics() IS 'Counters and gauges in the text format of Prometheus';
REVOKE ALL ON FUNCTION cdp.metrics() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.metrics() TO cdp_reader, pg_monitor;

CREATE FUNCTION cdp.health() RETURNS TABLE (component text, ok boolean, detail text)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_health';
COMMENT ON FUNCTION cdp.health() IS 'What runs, what does not, and what to do about it';
REVOKE ALL ON FUNCTION cdp.health() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.health() TO cdp_reader, pg_monitor;
-- Application tables whose rows become messages.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE SEQUENCE _cdp.attachment_id_seq AS integer;
CREATE TABLE _cdp.attachments (
    attachment_id integer NOT NULL DEFAULT pg_catalog.nextval('_cdp.attachment_id_seq'::pg_catalog.regclass),
    namespace_id integer NOT NULL,
    event text,
    user_id text,
    anonymous_id text,
    "timestamp" text,
    properties text[],
    traits text[],
    message_id text,
    filter text,
    "on" text[] NOT NULL,
    row_key text,
    track text,
    identify text,
    condition text NOT NULL,
    attached_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (attachment_id)
);
ALTER SEQUENCE _cdp.attachment_id_seq OWNED BY _cdp.attachments.attachment_id;
COMMENT ON TABLE _cdp.attachments IS 'What becomes of the rows of application tables; which tables these are, their triggers tell, which name the attachment';
COMMENT ON COLUMN _cdp.attachments.row_key IS 'SQL over a row: what it is known by when it changes; null: the table has no primary key';
COMMENT ON COLUMN _cdp.attachments.track IS 'SQL over a row: its track message in JSON; null: it makes none';
COMMENT ON COLUMN _cdp.attachments.identify IS 'SQL over a row: its identify message in JSON; null: it makes none';
COMMENT ON COLUMN _cdp.attachments.condition IS 'SQL over a row: whether it makes messages';

CREATE FUNCTION _cdp.attached_insert() RETURNS trigger
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_attached_insert';
COMMENT ON FUNCTION _cdp.attached_insert() IS 'Sends the rows that a statement inserted into an attached table through the pipeline';
REVOKE ALL ON FUNCTION _cdp.attached_insert() FROM PUBLIC;

CREATE FUNCTION _cdp.attached_update() RETURNS trigger
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_attached_update';
COMMENT ON FUNCTION _cdp.attached_update() IS 'Sends the rows of an attached table whose message a statement changed through the pipeline';
REVOKE ALL ON FUNCTION _cdp.attached_update() FROM PUBLIC;

CREATE VIEW _cdp.attachment_triggers AS
    SELECT t.tgrelid::pg_catalog.regclass AS source, t.tgname::pg_catalog.text AS name,
        pg_catalog.split_part(pg_catalog.encode(t.tgargs, 'escape'), E'\\000', 1)::pg_catalog.int4 AS attachment_id
    FROM pg_catalog.pg_trigger AS t
    WHERE t.tgfoid IN ('_cdp.attached_insert()'::pg_catalog.regprocedure, '_cdp.attached_update()'::pg_catalog.regprocedure);
COMMENT ON VIEW _cdp.attachment_triggers IS 'The triggers of attached tables';

CREATE VIEW cdp.attachments AS
    SELECT n.name AS namespace, t.source, a.event, a.user_id, a.anonymous_id, a."timestamp",
        a.properties, a.traits, a.message_id, a.filter, a."on", a.attached_at
    FROM _cdp.attachments AS a
        JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) a.namespace_id
        JOIN (SELECT DISTINCT source, attachment_id FROM _cdp.attachment_triggers) AS t
            ON t.attachment_id OPERATOR(pg_catalog.=) a.attachment_id;
COMMENT ON VIEW cdp.attachments IS 'Application tables whose rows become messages';
GRANT SELECT ON cdp.attachments TO cdp_reader, cdp_writer, cdp_admin;

CREATE FUNCTION cdp.attach(
    source regclass,
    event text,
    user_id text,
    "timestamp" text DEFAULT NULL,
    properties text[] DEFAULT NULL,
    traits text[] DEFAULT NULL,
    message_id text DEFAULT NULL,
    filter text DEFAULT NULL,
    backfill boolean DEFAULT false,
    namespace text DEFAULT NULL,
    anonymous_id text DEFAULT NULL,
    "on" text[] DEFAULT '{insert}'
) RETURNS cdp.attachments
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_attach';
COMMENT ON FUNCTION cdp.attach(regclass, text, text, text, text[], text[], text, text, boolean, text, text, text[]) IS 'Makes the rows that are inserted into a table, and on request those changed, track messages or, with traits, identify messages; the arguments are columns or SQL over a row';
REVOKE ALL ON FUNCTION cdp.attach(regclass, text, text, text, text[], text[], text, text, boolean, text, text, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.attach(regclass, text, text, text, text[], text[], text, text, boolean, text, text, text[]) TO cdp_admin;

CREATE FUNCTION cdp.detach(
    source regclass,
    event text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS integer
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_detach';
COMMENT ON FUNCTION cdp.detach(regclass, text, text) IS 'Ends what cdp.attach began, for one event or for all of a table; returns how many attachments ended';
REVOKE ALL ON FUNCTION cdp.detach(regclass, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.detach(regclass, text, text) TO cdp_admin;
-- Segments whose members are listed by hand, and how segments overlap.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE FUNCTION cdp.define_static_segment(
    key text,
    ids text[] DEFAULT NULL,
    description text DEFAULT NULL,
    sync_to text[] DEFAULT '{}',
    namespace text DEFAULT NULL
) RETURNS cdp.segment_definitions
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_define_static_segment';
COMMENT ON FUNCTION cdp.define_static_segment(text, text[], text, text[], text) IS 'Makes or changes a segment of listed people; ids, if given, become the whole list';
REVOKE ALL ON FUNCTION cdp.define_static_segment(text, text[], text, text[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.define_static_segment(text, text[], text, text[], text) TO cdp_admin;

CREATE FUNCTION cdp.add_members(
    segment text,
    ids text[],
    kind text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_add_members';
COMMENT ON FUNCTION cdp.add_members(text, text[], text, text) IS 'Puts people on the list of a static segment; returns how many of the ids were not on it';
REVOKE ALL ON FUNCTION cdp.add_members(text, text[], text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.add_members(text, text[], text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.add_members(text, text[], text, text) TO cdp_admin;

CREATE FUNCTION cdp.remove_members(
    segment text,
    ids text[],
    kind text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_remove_members';
COMMENT ON FUNCTION cdp.remove_members(text, text[], text, text) IS 'Takes people off the list of a static segment, whatever identifiers they are listed by; returns how many of the ids were on it';
REVOKE ALL ON FUNCTION cdp.remove_members(text, text[], text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.remove_members(text, text[], text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.remove_members(text, text[], text, text) TO cdp_admin;

CREATE FUNCTION _cdp.segment_overlap(a text, b text, namespace text) RETURNS TABLE (only_a bigint, only_b bigint, "both" bigint)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_segment_overlap';
COMMENT ON FUNCTION _cdp.segment_overlap(text, text, text) IS 'How many people are in one of two segments only, and in both';
REVOKE ALL ON FUNCTION _cdp.segment_overlap(text, text, text) FROM PUBLIC;

CREATE FUNCTION cdp.segment_overlap(
    a text,
    b text,
    namespace text DEFAULT NULL
) RETURNS TABLE (members_a bigint, members_b bigint, only_a bigint, only_b bigint, "both" bigint, either bigint,
                 share_of_a numeric, share_of_b numeric)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
        SELECT o.only_a OPERATOR(pg_catalog.+) o."both", o.only_b OPERATOR(pg_catalog.+) o."both", o.only_a, o.only_b, o."both",
            o.only_a OPERATOR(pg_catalog.+) o.only_b OPERATOR(pg_catalog.+) o."both",
            pg_catalog.round(o."both"::numeric OPERATOR(pg_catalog./) NULLIF(o.only_a OPERATOR(pg_catalog.+) o."both", 0), 4),
            pg_catalog.round(o."both"::numeric OPERATOR(pg_catalog./) NULLIF(o.only_b OPERATOR(pg_catalog.+) o."both", 0), 4)
        FROM _cdp.segment_overlap(a, b, namespace) AS o
    $$;
COMMENT ON FUNCTION cdp.segment_overlap(text, text, text) IS 'How many people two segments have in common now, and which share of each that is';
REVOKE ALL ON FUNCTION cdp.segment_overlap(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.segment_overlap(text, text, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.segment_overlap(text, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.segment_overlap(text, text, text) TO cdp_admin;

CREATE VIEW cdp.segment_lists AS
    SELECT n.name AS namespace, s.key AS segment,
        CASE l.kind_id WHEN -1 THEN 'profile_id'::text ELSE k.name END AS kind, l.value,
        CASE l.kind_id WHEN -1 THEN p.profile_id ELSE i.profile_id END AS profile_id, l.added_at
    FROM _cdp.segment_lists AS l
    JOIN _cdp.segments AS s ON s.segment_id OPERATOR(pg_catalog.=) l.segment_id
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) l.namespace_id
    LEFT JOIN _cdp.identifier_kinds AS k ON k.kind_id OPERATOR(pg_catalog.=) l.kind_id
    LEFT JOIN _cdp.identifiers AS i ON i.namespace_id OPERATOR(pg_catalog.=) l.namespace_id
        AND i.value OPERATOR(pg_catalog.=) l.value AND l.kind_id OPERATOR(pg_catalog.=) ANY (ARRAY[0, i.kind_id])
    LEFT JOIN LATERAL (SELECT COALESCE(p.merged_into, p.profile_id) AS profile_id FROM _cdp.profiles AS p
        WHERE l.kind_id OPERATOR(pg_catalog.=) -1
            AND p.profile_id OPERATOR(pg_catalog.=) CASE WHEN l.kind_id OPERATOR(pg_catalog.=) -1 THEN l.value::bigint END) AS p ON true;
COMMENT ON VIEW cdp.segment_lists IS 'Who is on the lists of static segments, as given, and whose identifier it is; profile_id is null while nobody is known by it';
GRANT SELECT ON cdp.segment_lists TO cdp_reader, cdp_writer, cdp_admin;
-- What a user sees of destinations, routes and deliveries. Secrets are never shown: a reference says where one
-- is, "sealed" that one is here.
SET LOCAL search_path = pg_catalog, pg_temp;

-- Upper bound in milliseconds of the bucket of a histogram below which the given share of its entries lies.
CREATE FUNCTION _cdp.percentile(histogram bigint[], share double precision) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT (2::bigint OPERATOR(pg_catalog.^) (pg_catalog.min(b.bucket) OPERATOR(pg_catalog.-) 1))::bigint
    FROM (SELECT h.bucket, pg_catalog.sum(h.entries) OVER (ORDER BY h.bucket) AS below, pg_catalog.sum(h.entries) OVER () AS entries
          FROM pg_catalog.unnest(histogram) WITH ORDINALITY AS h(entries, bucket)) AS b
    WHERE b.entries OPERATOR(pg_catalog.>) 0
      AND b.below::double precision OPERATOR(pg_catalog.>=) (b.entries::double precision OPERATOR(pg_catalog.*) share)
    $$;
COMMENT ON FUNCTION _cdp.percentile(bigint[], double precision) IS 'Percentile of a histogram with buckets of 1, 2, 4, … milliseconds';

CREATE FUNCTION _cdp.masked_secrets(secrets jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT COALESCE(pg_catalog.jsonb_object_agg(s.name, CASE
        WHEN pg_catalog.starts_with(s.value, 'env:') OR pg_catalog.starts_with(s.value, 'file:') THEN s.value
        ELSE 'sealed' END), '{}'::jsonb)
    FROM pg_catalog.jsonb_each_text(secrets) AS s(name, value)
    $$;
COMMENT ON FUNCTION _cdp.masked_secrets(jsonb) IS 'Secrets as they may be shown: references, and "sealed" for sealed ones';

CREATE FUNCTION _cdp.masked_config(config jsonb) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT COALESCE(pg_catalog.jsonb_object_agg(c.name, CASE
        WHEN c.name OPERATOR(pg_catalog.=) 'headers' AND pg_catalog.jsonb_typeof(c.value) OPERATOR(pg_catalog.=) 'object' THEN (
            SELECT COALESCE(pg_catalog.jsonb_object_agg(h.name, CASE
                WHEN h.name OPERATOR(pg_catalog.~*) 'auth|cookie|token|secret|password|credential|key' AND NOT h.name OPERATOR(pg_catalog.~*) 'idempotency' THEN '"***"'::jsonb
                ELSE h.value END), '{}'::jsonb)
            FROM pg_catalog.jsonb_each(c.value) AS h(name, value))
        WHEN c.value OPERATOR(pg_catalog.#>>) '{}' OPERATOR(pg_catalog.~*) '^https?://' THEN
            -- A template is no credential.
            pg_catalog.to_jsonb(pg_catalog.regexp_replace(c.value OPERATOR(pg_catalog.#>>) '{}', '([?&][^=&#]*)=(?![{][{])[^&#]*', '\1=***', 'g'))
        ELSE c.value END), '{}'::jsonb)
    FROM pg_catalog.jsonb_each(config) AS c(name, value)
    $$;
COMMENT ON FUNCTION _cdp.masked_config(jsonb) IS 'A configuration as those may see it who may not change it: headers that look like credentials, and what stands in the query of a URL, are masked';

CREATE VIEW cdp.destinations AS
    SELECT n.name AS namespace, d.key, d.kind,
        CASE WHEN pg_catalog.pg_has_role(CURRENT_USER, 'cdp_admin', 'USAGE') THEN d.config ELSE _cdp.masked_config(d.config) END AS config, _cdp.masked_secrets(d.secrets) AS secrets, d.enabled,
        d.paused_at, d.paused_reason,
        COALESCE(s.delivered, 0) AS delivered, COALESCE(s.discarded, 0) AS discarded, COALESCE(s.retried, 0) AS retried,
        COALESCE(s.rejected, 0) AS rejected, COALESCE(s.repeated, 0) AS repeated,
        _cdp.percentile(s.latency, 0.5) AS latency_p50_ms, _cdp.percentile(s.latency, 0.95) AS latency_p95_ms,
        _cdp.percentile(s.latency, 0.99) AS latency_p99_ms,
        _cdp.percentile(s.lag, 0.5) AS lag_p50_ms, _cdp.percentile(s.lag, 0.95) AS lag_p95_ms,
        _cdp.percentile(s.lag, 0.99) AS lag_p99_ms,
        s.last_delivered_at, s.last_error, s.last_error_at, d.created_at, d.updated_at
    FROM _cdp.destinations AS d
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) d.namespace_id
    LEFT JOIN _cdp.destination_statistics AS s ON s.destination_id OPERATOR(pg_catalog.=) d.destination_id;
COMMENT ON VIEW cdp.destinations IS 'Outside systems, how they are doing, and what became of their messages';
COMMENT ON COLUMN cdp.destinations.latency_p50_ms IS 'Half of the requests took no longer, rounded up to a power of two';
COMMENT ON COLUMN cdp.destinations.lag_p50_ms IS 'Half of the messages arrived no later after they were made, rounded up to a power of two';
COMMENT ON COLUMN cdp.destinations.repeated IS 'Messages sent again although they may have arrived, because a worker was killed';

CREATE VIEW cdp.routes AS
    SELECT n.name AS namespace, d.key AS destination, r.events, r.filter, r.mapping, r.transform, r.consent, r.owner, r.created_at, r.updated_at
    FROM _cdp.routes AS r
    JOIN _cdp.destinations AS d ON d.destination_id OPERATOR(pg_catalog.=) r.destination_id
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) r.namespace_id
    WHERE r.dropped_at IS NULL;
COMMENT ON VIEW cdp.routes IS 'Which events and changes go to which destination';

-- The parts of a message are read one by one, so that counting deliveries reads none of them.
CREATE VIEW cdp.deliveries AS
    SELECT w.outbox_id AS delivery_id, n.name AS namespace, d.key AS destination, w.profile_id,
        (SELECT o.kind FROM _cdp.outbox AS o WHERE o.outbox_id OPERATOR(pg_catalog.=) w.outbox_id
            AND o.created_at OPERATOR(pg_catalog.=) w.created_at) AS kind,
        (SELECT o.message_id FROM _cdp.outbox AS o WHERE o.outbox_id OPERATOR(pg_catalog.=) w.outbox_id
            AND o.created_at OPERATOR(pg_catalog.=) w.created_at) AS message_id,
        (SELECT o.payload FROM _cdp.outbox AS o WHERE o.outbox_id OPERATOR(pg_catalog.=) w.outbox_id
            AND o.created_at OPERATOR(pg_catalog.=) w.created_at) AS payload,
        CASE
            WHEN NOT d.enabled THEN 'disabled'
            WHEN d.paused_at IS NOT NULL THEN 'paused'
            WHEN EXISTS (SELECT FROM _cdp.leases AS l
                         WHERE l.destination_id OPERATOR(pg_catalog.=) w.destination_id
                           AND w.outbox_id OPERATOR(pg_catalog.=) ANY (l.outbox_ids)) THEN 'sending'
            WHEN w.is_behind THEN 'behind another'
            WHEN w.next_attempt_at IS NOT NULL THEN 'waiting to retry'
            ELSE 'waiting' END AS status,
        w.attempts, w.next_attempt_at, w.last_error,
        (SELECT o.replay FROM _cdp.outbox AS o WHERE o.outbox_id OPERATOR(pg_catalog.=) w.outbox_id
            AND o.created_at OPERATOR(pg_catalog.=) w.created_at) AS replay,
        w.created_at
    FROM (SELECT q.outbox_id, q.created_at, q.profile_id, q.namespace_id, q.destination_id, 0 AS attempts,
              NULL::timestamptz AS next_attempt_at, NULL::text AS last_error, false AS is_behind
          FROM _cdp.deliveries AS q
          UNION ALL
          SELECT r.outbox_id, r.created_at, r.profile_id, r.namespace_id, r.destination_id, r.attempts,
              r.next_attempt_at, r.last_error, r.next_attempt_at IS NULL
          FROM _cdp.retries AS r) AS w
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) w.namespace_id
    JOIN _cdp.destinations AS d ON d.destination_id OPERATOR(pg_catalog.=) w.destination_id;
COMMENT ON VIEW cdp.deliveries IS 'Messages that are not delivered yet, and what they wait for';

CREATE VIEW cdp.dead_letters AS
    SELECT l.outbox_id AS delivery_id, n.name AS namespace, d.key AS destination, l.profile_id, l.kind, l.message_id, l.payload,
        l.reason, l.attempts, l.request, l.status, l.response, l.replay, l.created_at, l.failed_at
    FROM _cdp.dead_letters AS l
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) l.namespace_id
    LEFT JOIN _cdp.destinations AS d ON d.destination_id OPERATOR(pg_catalog.=) l.destination_id;
COMMENT ON VIEW cdp.dead_letters IS 'Messages that could not be delivered, with the request, the answer and the reason';

REVOKE ALL ON FUNCTION _cdp.percentile(bigint[], double precision), _cdp.masked_secrets(jsonb), _cdp.masked_config(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _cdp.percentile(bigint[], double precision), _cdp.masked_secrets(jsonb), _cdp.masked_config(jsonb) TO cdp_reader;
GRANT SELECT ON cdp.destinations, cdp.routes, cdp.deliveries, cdp.dead_letters TO cdp_reader;
-- Destinations, routes, and what is done with deliveries by hand.
SET LOCAL search_path = pg_catalog, pg_temp;

-- An error must not write the statement to the server's log: it may hold a secret in clear.
CREATE FUNCTION cdp.define_destination(
    key text,
    kind text,
    config jsonb,
    secrets jsonb DEFAULT '{}',
    enabled boolean DEFAULT true,
    namespace text DEFAULT NULL
) RETURNS cdp.destinations
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET log_min_error_statement = 'panic'
    AS 'MODULE_PATHNAME', 'cdp_define_destination';
COMMENT ON FUNCTION cdp.define_destination(text, text, jsonb, jsonb, boolean, text) IS 'Makes or changes a destination; secrets are env:CDP_NAME, file:NAME, or texts that are sealed';
REVOKE ALL ON FUNCTION cdp.define_destination(text, text, jsonb, jsonb, boolean, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.define_destination(text, text, jsonb, jsonb, boolean, text) TO cdp_admin;

CREATE FUNCTION cdp.drop_destination(
    key text,
    namespace text DEFAULT NULL
) RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_destination';
COMMENT ON FUNCTION cdp.drop_destination(text, text) IS 'Drops a destination and what waits for it; refused while a route or a segment uses it';
REVOKE ALL ON FUNCTION cdp.drop_destination(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.drop_destination(text, text) TO cdp_admin;

CREATE FUNCTION cdp.pause_destination(
    key text,
    reason text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS cdp.destinations
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_pause_destination';
COMMENT ON FUNCTION cdp.pause_destination(text, text, text) IS 'Stops sending to a destination; its messages wait';
REVOKE ALL ON FUNCTION cdp.pause_destination(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.pause_destination(text, text, text) TO cdp_admin;

CREATE FUNCTION cdp.resume_destination(
    key text,
    namespace text DEFAULT NULL
) RETURNS cdp.destinations
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_resume_destination';
COMMENT ON FUNCTION cdp.resume_destination(text, text) IS 'Sends to a paused destination again';
REVOKE ALL ON FUNCTION cdp.resume_destination(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.resume_destination(text, text) TO cdp_admin;

CREATE FUNCTION cdp.test_destination(
    key text,
    namespace text DEFAULT NULL
) RETURNS TABLE (ok boolean, detail text)
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_test_destination';
COMMENT ON FUNCTION cdp.test_destination(text, text) IS 'Asks a destination whether configuration and credentials work, without leaving a trace there';
REVOKE ALL ON FUNCTION cdp.test_destination(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.test_destination(text, text) TO cdp_admin;

CREATE FUNCTION cdp.destination_kinds() RETURNS TABLE (
    kind text,
    name text,
    category text,
    description text,
    duplicates text,
    config_schema jsonb
)
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_destination_kinds';
COMMENT ON FUNCTION cdp.destination_kinds() IS 'The catalogue of destinations, with the JSON Schema of each configuration';
REVOKE ALL ON FUNCTION cdp.destination_kinds() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.destination_kinds() TO cdp_reader;

CREATE FUNCTION cdp.define_route(
    destination text,
    events text[] DEFAULT NULL,
    filter text DEFAULT NULL,
    mapping jsonb DEFAULT NULL,
    transform text DEFAULT NULL,
    namespace text DEFAULT NULL,
    consent text[] DEFAULT NULL
) RETURNS cdp.routes
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_define_route';
COMMENT ON FUNCTION cdp.define_route(text, text[], text, jsonb, text, text, text[]) IS 'Sends events and changes to a destination; destination, events and filter tell routes apart';
REVOKE ALL ON FUNCTION cdp.define_route(text, text[], text, jsonb, text, text, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.define_route(text, text[], text, jsonb, text, text, text[]) TO cdp_admin;

CREATE FUNCTION cdp.drop_route(
    destination text,
    events text[] DEFAULT NULL,
    filter text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_route';
COMMENT ON FUNCTION cdp.drop_route(text, text[], text, text) IS 'Drops the route to a destination with these events and this filter';
REVOKE ALL ON FUNCTION cdp.drop_route(text, text[], text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.drop_route(text, text[], text, text) TO cdp_admin;

CREATE FUNCTION cdp.try_route(
    destination text,
    message jsonb,
    mapping jsonb DEFAULT NULL,
    transform text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS TABLE (outcome text, result jsonb, request text, detail text)
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_try_route';
COMMENT ON FUNCTION cdp.try_route(text, jsonb, jsonb, text, text) IS 'What a mapping and a transformation make of a message, and the request that would be sent; sends nothing';
REVOKE ALL ON FUNCTION cdp.try_route(text, jsonb, jsonb, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.try_route(text, jsonb, jsonb, text, text) TO cdp_admin;

CREATE FUNCTION cdp.replay_events(
    events jsonb[],
    destination text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_replay_events';
COMMENT ON FUNCTION cdp.replay_events(jsonb[], text, text) IS 'Sends rows of cdp.events again where routes want them, marked as replay; returns how many messages';
REVOKE ALL ON FUNCTION cdp.replay_events(jsonb[], text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.replay_events(jsonb[], text, text) TO cdp_admin;

-- The filter is SQL and runs with the caller's rights, so this function must not be SECURITY DEFINER.
CREATE FUNCTION cdp.replay(
    filter text,
    destination text DEFAULT NULL,
    since timestamptz DEFAULT NULL,
    until timestamptz DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    chosen CONSTANT text := cdp.current_namespace(namespace);
    statement text;
    batch jsonb[];
    total bigint := 0;
BEGIN
    -- That there is such a destination, and that it takes replays, is told even when no event is chosen.
    PERFORM cdp.replay_events('{}', destination, chosen);
    IF until OPERATOR(pg_catalog.<=) since THEN
        RAISE EXCEPTION 'until (%) is not after since (%)', until, since
            USING ERRCODE = 'invalid_parameter_value', HINT = 'No event can be in that time: give them the other way round.';
    END IF;
    statement := pg_catalog.concat(
        'SELECT pg_catalog.array_agg(p.event ORDER BY p.place) FROM (',
        'SELECT pg_catalog.to_jsonb(e) AS event, pg_catalog.row_number() OVER (ORDER BY e."timestamp", e.event_id) OPERATOR(pg_catalog.-) 1 AS place',
        ' FROM cdp.events AS e WHERE e.namespace OPERATOR(pg_catalog.=) $1',
        ' AND (e."timestamp" OPERATOR(pg_catalog.>=) $2 OR $2 IS NULL) AND (e."timestamp" OPERATOR(pg_catalog.<) $3 OR $3 IS NULL)',
        ' AND ', cdp.check_filter('cdp.events', filter), ') AS p',
        ' GROUP BY p.place OPERATOR(pg_catalog./) 1000 ORDER BY p.place OPERATOR(pg_catalog./) 1000');
    FOR batch IN EXECUTE statement USING chosen, since, until LOOP
        total := total OPERATOR(pg_catalog.+) cdp.replay_events(batch, destination, chosen);
    END LOOP;
    RETURN total;
END
$$;
COMMENT ON FUNCTION cdp.replay(text, text, timestamptz, timestamptz, text) IS 'Sends past events again where routes want them, marked as replay: those that a SQL condition over cdp.events chooses, since and before the given times; returns how many messages';
REVOKE ALL ON FUNCTION cdp.replay(text, text, timestamptz, timestamptz, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.replay(text, text, timestamptz, timestamptz, text) TO cdp_admin;

CREATE FUNCTION cdp.retry_dead_letters(
    delivery_ids bigint[]
) RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_retry_dead_letters';
COMMENT ON FUNCTION cdp.retry_dead_letters(bigint[]) IS 'Sends these dead letters again; returns how many';
REVOKE ALL ON FUNCTION cdp.retry_dead_letters(bigint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.retry_dead_letters(bigint[]) TO cdp_admin;

-- The filter is SQL and runs with the caller's rights, so this function must not be SECURITY DEFINER.
CREATE FUNCTION cdp.retry_dead_letters(
    destination text DEFAULT NULL,
    filter text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    own CONSTANT text := cdp.current_namespace(namespace);
    chosen bigint[];
BEGIN
    IF destination IS NOT NULL AND NOT EXISTS (SELECT FROM cdp.destinations AS d
        WHERE d.namespace OPERATOR(pg_catalog.=) own AND d.key OPERATOR(pg_catalog.=) destination) THEN
        RAISE EXCEPTION 'destination "%" does not exist', destination USING ERRCODE = 'CD104', HINT = 'cdp.destinations lists them.';
    END IF;
    EXECUTE 'SELECT pg_catalog.array_agg(l.delivery_id) FROM cdp.dead_letters AS l'
        ' WHERE l.namespace OPERATOR(pg_catalog.=) $2'
        ' AND (l.destination OPERATOR(pg_catalog.=) $1 OR $1 IS NULL) AND ' OPERATOR(pg_catalog.||) cdp.check_filter('cdp.dead_letters', COALESCE(filter, 'true'))
        INTO chosen USING destination, own;
    RETURN cdp.retry_dead_letters(COALESCE(chosen, '{}'::bigint[]));
END
$$;
COMMENT ON FUNCTION cdp.retry_dead_letters(text, text, text) IS 'Sends dead letters again: those of a destination, those that a SQL condition over cdp.dead_letters chooses, or all; returns how many';
REVOKE ALL ON FUNCTION cdp.retry_dead_letters(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.retry_dead_letters(text, text, text) TO cdp_admin;

CREATE FUNCTION _cdp.announce_workers() RETURNS void
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_announce_workers';
COMMENT ON FUNCTION _cdp.announce_workers() IS 'Lets the workers of this database start, or warns that there are none';
REVOKE ALL ON FUNCTION _cdp.announce_workers() FROM PUBLIC;

DO $$
BEGIN
    PERFORM _cdp.announce_workers();
END
$$;
-- Scores: definitions and reads.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE FUNCTION _cdp.lead_definition() RETURNS jsonb
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_lead_definition';
COMMENT ON FUNCTION _cdp.lead_definition() IS 'The definition of the score "lead" that every namespace has unless it defines its own';
REVOKE ALL ON FUNCTION _cdp.lead_definition() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _cdp.lead_definition() TO cdp_reader;

CREATE FUNCTION _cdp.namespaces_with_default_score() RETURNS integer[]
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_namespaces_with_default_score';
COMMENT ON FUNCTION _cdp.namespaces_with_default_score() IS 'Ids of the namespaces that the session may use and that have the score "lead" as it comes with the extension';
REVOKE ALL ON FUNCTION _cdp.namespaces_with_default_score() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _cdp.namespaces_with_default_score() TO cdp_reader;

CREATE VIEW cdp.score_rules AS
    SELECT n.name AS namespace, s.key, s.definition, s.is_default, s.created_at, s.updated_at
    FROM (
        SELECT s.namespace_id, s.key, s.definition, false AS is_default, s.created_at, s.updated_at
        FROM _cdp.scores AS s WHERE s.definition IS NOT NULL
        UNION ALL
        SELECT n.namespace_id, 'lead'::text, _cdp.lead_definition(), true, NULL, NULL
        FROM pg_catalog.unnest(_cdp.namespaces_with_default_score()) AS n (namespace_id)
    ) AS s JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) s.namespace_id;
COMMENT ON VIEW cdp.score_rules IS 'Scores with their rules; "lead" is there without being defined';

CREATE FUNCTION cdp.define_score(
    key text,
    definition jsonb,
    namespace text DEFAULT NULL
) RETURNS cdp.score_rules
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_define_score';
COMMENT ON FUNCTION cdp.define_score(text, jsonb, text) IS 'Makes or changes a score, for everybody at once';
REVOKE ALL ON FUNCTION cdp.define_score(text, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.define_score(text, jsonb, text) TO cdp_admin;

CREATE FUNCTION cdp.drop_score(
    key text,
    namespace text DEFAULT NULL
) RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_score';
COMMENT ON FUNCTION cdp.drop_score(text, text) IS 'Drops a score; refused while something uses it';
REVOKE ALL ON FUNCTION cdp.drop_score(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.drop_score(text, text) TO cdp_admin;

CREATE FUNCTION cdp.score(
    id text,
    key text DEFAULT 'lead',
    namespace text DEFAULT NULL
) RETURNS TABLE (total numeric, icp numeric, behavior numeric, grade text, meta jsonb)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_score';
COMMENT ON FUNCTION cdp.score(text, text, text) IS 'A score of a person, now, with the points of each rule';
REVOKE ALL ON FUNCTION cdp.score(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.score(text, text, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.score(text, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.score(text, text, text) TO cdp_admin;

CREATE FUNCTION cdp.scores(
    id text,
    namespace text DEFAULT NULL
) RETURNS TABLE (key text, total numeric, icp numeric, behavior numeric, grade text, meta jsonb)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_scores';
COMMENT ON FUNCTION cdp.scores(text, text) IS 'All scores of a person, now';
REVOKE ALL ON FUNCTION cdp.scores(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.scores(text, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.scores(text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.scores(text, text) TO cdp_admin;

CREATE FUNCTION cdp.explain_score(
    id text,
    key text DEFAULT 'lead',
    namespace text DEFAULT NULL
) RETURNS TABLE (component text, rule text, input text, value jsonb, points numeric, note text, changes_at timestamptz)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_explain_score';
COMMENT ON FUNCTION cdp.explain_score(text, text, text) IS 'Each rule of a score for a person: what it reads, the points it gives, what is missing, and when time changes it';
REVOKE ALL ON FUNCTION cdp.explain_score(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.explain_score(text, text, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.explain_score(text, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.explain_score(text, text, text) TO cdp_admin;

CREATE FUNCTION _cdp.score_chunk(
    namespace_id integer,
    key text,
    after_profile_id bigint,
    chunk integer
) RETURNS bigint
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_score_chunk';
COMMENT ON FUNCTION _cdp.score_chunk(integer, text, bigint, integer) IS 'Scores the next people after a profile anew; the last of them, or NULL when nobody is left';
REVOKE ALL ON FUNCTION _cdp.score_chunk(integer, text, bigint, integer) FROM PUBLIC;

GRANT SELECT ON cdp.score_rules TO cdp_reader;
-- Flags: defining and answering them.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE VIEW cdp.flags AS
    SELECT n.name AS namespace, f.key, f.rule, f.definition, f.description, f.created_at, f.updated_at
    FROM _cdp.flags AS f JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) f.namespace_id;
COMMENT ON VIEW cdp.flags IS 'Flags';

CREATE VIEW cdp.flag_overrides AS
    SELECT n.name AS namespace, f.key AS flag, o.profile_id, o.variant, o.set_at, o.set_by
    FROM _cdp.flag_overrides AS o
    JOIN _cdp.flags AS f ON f.flag_id OPERATOR(pg_catalog.=) o.flag_id
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) o.namespace_id;
COMMENT ON VIEW cdp.flag_overrides IS 'Variants given to people by hand, when and by whom';

CREATE VIEW cdp.holdouts AS
    SELECT n.name AS namespace, h.key, h.share::float8 OPERATOR(pg_catalog./) 10000 AS percent, h.description, h.created_at, h.updated_at
    FROM _cdp.holdouts AS h JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) h.namespace_id;
COMMENT ON VIEW cdp.holdouts IS 'People who are kept out of flags, in percent of all';

CREATE VIEW cdp.experiments AS
    SELECT n.name AS namespace, e.key, e.flag, e.definition, e.description, e.created_at, e.updated_at
    FROM _cdp.experiments AS e JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) e.namespace_id;
COMMENT ON VIEW cdp.experiments IS 'Experiments on flags';

GRANT SELECT ON cdp.flags, cdp.flag_overrides, cdp.holdouts, cdp.experiments TO cdp_reader, cdp_writer, cdp_admin;

CREATE FUNCTION cdp.define_flag(
    key text,
    rule text DEFAULT NULL,
    definition jsonb DEFAULT NULL,
    description text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS cdp.flags
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_define_flag';
COMMENT ON FUNCTION cdp.define_flag(text, text, jsonb, text, text) IS 'Makes or changes a flag: a rule, or a definition with rules, variants and rollouts';
REVOKE ALL ON FUNCTION cdp.define_flag(text, text, jsonb, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.define_flag(text, text, jsonb, text, text) TO cdp_admin;

CREATE FUNCTION cdp.drop_flag(
    key text,
    namespace text DEFAULT NULL
) RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_flag';
COMMENT ON FUNCTION cdp.drop_flag(text, text) IS 'Drops a flag; refused while something uses it';
REVOKE ALL ON FUNCTION cdp.drop_flag(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.drop_flag(text, text) TO cdp_admin;

CREATE FUNCTION cdp.define_holdout(
    key text,
    percent double precision,
    description text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS cdp.holdouts
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_define_holdout';
COMMENT ON FUNCTION cdp.define_holdout(text, double precision, text, text) IS 'Makes or changes a holdout: a percentage of people whom the flags that name it leave alone';
REVOKE ALL ON FUNCTION cdp.define_holdout(text, double precision, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.define_holdout(text, double precision, text, text) TO cdp_admin;

CREATE FUNCTION cdp.drop_holdout(
    key text,
    namespace text DEFAULT NULL
) RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_holdout';
COMMENT ON FUNCTION cdp.drop_holdout(text, text) IS 'Drops a holdout; refused while a flag names it';
REVOKE ALL ON FUNCTION cdp.drop_holdout(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.drop_holdout(text, text) TO cdp_admin;

CREATE FUNCTION cdp.set_override(
    id text,
    flag text,
    variant text,
    namespace text DEFAULT NULL
) RETURNS cdp.flag_overrides
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_set_override';
COMMENT ON FUNCTION cdp.set_override(text, text, text, text) IS 'Gives a person a variant by hand, whatever the flag says';
REVOKE ALL ON FUNCTION cdp.set_override(text, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.set_override(text, text, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.set_override(text, text, text, text) TO cdp_admin;

CREATE FUNCTION cdp.clear_override(
    id text,
    flag text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_clear_override';
COMMENT ON FUNCTION cdp.clear_override(text, text, text) IS 'Takes back what a person was given by hand, for one flag or for all; returns how many';
REVOKE ALL ON FUNCTION cdp.clear_override(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.clear_override(text, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.clear_override(text, text, text) TO cdp_admin;

CREATE FUNCTION cdp.decide(
    id text,
    flag text,
    context jsonb DEFAULT '{}',
    namespace text DEFAULT NULL
) RETURNS cdp.decision
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_decide';
COMMENT ON FUNCTION cdp.decide(text, text, jsonb, text) IS 'Answers a flag for a person, with reasons';
REVOKE ALL ON FUNCTION cdp.decide(text, text, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.decide(text, text, jsonb, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.decide(text, text, jsonb, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.decide(text, text, jsonb, text) TO cdp_admin;

CREATE FUNCTION cdp.decide_all(
    id text,
    context jsonb DEFAULT '{}',
    namespace text DEFAULT NULL
) RETURNS TABLE (flag text, allow boolean, variant text, value jsonb, reason text, reasons text[])
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_decide_all';
COMMENT ON FUNCTION cdp.decide_all(text, jsonb, text) IS 'Answers all flags for a person, for a client that starts';
REVOKE ALL ON FUNCTION cdp.decide_all(text, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.decide_all(text, jsonb, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.decide_all(text, jsonb, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.decide_all(text, jsonb, text) TO cdp_admin;

CREATE FUNCTION cdp.explain_decision(
    id text,
    flag text,
    context jsonb DEFAULT '{}',
    namespace text DEFAULT NULL
) RETURNS TABLE (depth integer, expression text, value jsonb, changes_at timestamptz)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_explain_decision';
COMMENT ON FUNCTION cdp.explain_decision(text, text, jsonb, text) IS 'The way to an answer, step by step, each condition as a tree with the value of every node, and when time changes it next';
REVOKE ALL ON FUNCTION cdp.explain_decision(text, text, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.explain_decision(text, text, jsonb, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.explain_decision(text, text, jsonb, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.explain_decision(text, text, jsonb, text) TO cdp_admin;

CREATE FUNCTION cdp.expose(
    id text,
    flag text,
    context jsonb DEFAULT '{}',
    namespace text DEFAULT NULL
) RETURNS cdp.decision
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_expose';
COMMENT ON FUNCTION cdp.expose(text, text, jsonb, text) IS 'Answers a flag for a person and records that the person sees it, once per variant and period';
REVOKE ALL ON FUNCTION cdp.expose(text, text, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.expose(text, text, jsonb, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.expose(text, text, jsonb, text) TO cdp_admin;

CREATE FUNCTION cdp.define_experiment(
    key text,
    definition jsonb,
    description text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS cdp.experiments
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_define_experiment';
COMMENT ON FUNCTION cdp.define_experiment(text, jsonb, text, text) IS 'Makes or changes an experiment: a flag, the variants to compare, and what is measured';
REVOKE ALL ON FUNCTION cdp.define_experiment(text, jsonb, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.define_experiment(text, jsonb, text, text) TO cdp_admin;

CREATE FUNCTION cdp.drop_experiment(
    key text,
    namespace text DEFAULT NULL
) RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_experiment';
COMMENT ON FUNCTION cdp.drop_experiment(text, text) IS 'Drops an experiment; its exposures stay, they are events';
REVOKE ALL ON FUNCTION cdp.drop_experiment(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.drop_experiment(text, text) TO cdp_admin;

CREATE FUNCTION cdp.experiment_report(
    key text,
    namespace text DEFAULT NULL
) RETURNS TABLE (metric text, role text, variant text, exposures bigint, people bigint, mean double precision, adjusted_mean double precision,
    difference double precision, difference_low double precision, difference_high double precision,
    lift double precision, lift_low double precision, lift_high double precision, p_value double precision,
    sequential_p_value double precision, sequential_low double precision, sequential_high double precision,
    sample_ratio_p_value double precision, mixed bigint, verdict text)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_experiment_report';
COMMENT ON FUNCTION cdp.experiment_report(text, text) IS 'What an experiment says so far: each metric of each variant, compared with the control';
REVOKE ALL ON FUNCTION cdp.experiment_report(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.experiment_report(text, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.experiment_report(text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.experiment_report(text, text) TO cdp_admin;
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
-- Which roles may use which namespaces.
SET LOCAL search_path = pg_catalog, pg_temp;

-- regrole: a role that is renamed stays bound, and a dump says its name.
CREATE TABLE _cdp.role_bindings (
    role regrole NOT NULL,
    namespace_id integer NOT NULL,
    bound_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (role)
);
COMMENT ON TABLE _cdp.role_bindings IS 'Roles that see and write one namespace only';

CREATE VIEW cdp.role_bindings AS
    SELECT r.rolname::text AS role, n.name AS namespace, b.bound_at
    FROM _cdp.role_bindings AS b
    JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) b.role::oid
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) b.namespace_id;
COMMENT ON VIEW cdp.role_bindings IS 'Roles that see and write one namespace only';
GRANT SELECT ON cdp.role_bindings TO cdp_reader, cdp_writer, cdp_admin;

CREATE FUNCTION cdp.bind_role(
    role text,
    namespace text
) RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_bind_role';
COMMENT ON FUNCTION cdp.bind_role(text, text) IS 'Binds a role, and those that inherit from it, to a namespace: they see and write that one only';
REVOKE ALL ON FUNCTION cdp.bind_role(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.bind_role(text, text) TO cdp_admin;

CREATE FUNCTION cdp.unbind_role(
    role text
) RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_unbind_role';
COMMENT ON FUNCTION cdp.unbind_role(text) IS 'Lets a role use all namespaces again';
REVOKE ALL ON FUNCTION cdp.unbind_role(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.unbind_role(text) TO cdp_admin;

CREATE FUNCTION cdp.drop_namespace(
    name text,
    everything boolean DEFAULT false
) RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_namespace';
COMMENT ON FUNCTION cdp.drop_namespace(text, boolean) IS 'Drops a namespace; refused while anything is in it, unless everything is to be deleted with it';
REVOKE ALL ON FUNCTION cdp.drop_namespace(text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.drop_namespace(text, boolean) TO cdp_admin;

CREATE FUNCTION cdp.namespace_statistics(
    namespace text DEFAULT NULL
) RETURNS TABLE (people bigint, events bigint, traits bigint, segments bigint, destinations bigint,
    deliveries_waiting bigint, delivered bigint, dead_letters bigint, storage_bytes bigint)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_namespace_statistics';
COMMENT ON FUNCTION cdp.namespace_statistics(text) IS 'How much is in a namespace; storage is its share of tables and indexes, by its share of their rows';
REVOKE ALL ON FUNCTION cdp.namespace_statistics(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.namespace_statistics(text) TO cdp_reader, cdp_writer, cdp_admin;

CREATE FUNCTION cdp.route_namespace(
    campaign_name text
) RETURNS text
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_route_namespace';
COMMENT ON FUNCTION cdp.route_namespace(text) IS 'The namespace whose longest keyword is in the name of a campaign, as words of its own; else default';
REVOKE ALL ON FUNCTION cdp.route_namespace(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.route_namespace(text) TO cdp_reader, cdp_writer, cdp_admin;

-- The view is made with the caller's rights, in the schema in which the caller's objects are made.
CREATE FUNCTION cdp.create_compat_views(
    namespace text DEFAULT NULL,
    schema text DEFAULT pg_catalog.current_schema()
) RETURNS SETOF text
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    chosen CONSTANT text := cdp.current_namespace(namespace);
    view_name text;
    has_scores CONSTANT boolean := pg_catalog.to_regprocedure('cdp.score(text, text, text)') IS NOT NULL;
BEGIN
    IF schema IS NULL THEN
        RAISE EXCEPTION 'there is no schema to make the view in' USING ERRCODE = 'invalid_schema_name', HINT = 'Name one: schema => ''public''.';
    END IF;
    FOREACH view_name IN ARRAY CASE chosen WHEN 'default' THEN ARRAY['default_user_source', 'playmaker_user_source']
        ELSE ARRAY[pg_catalog.regexp_replace(pg_catalog.lower(chosen), '[^a-z0-9_]+', '_', 'g') OPERATOR(pg_catalog.||) '_user_source'] END
    LOOP
        EXECUTE pg_catalog.format(
            'CREATE OR REPLACE VIEW %1$I.%2$I AS
             SELECT p.profile_id AS id, COALESCE(p.traits OPERATOR(pg_catalog.->>) ''email'',
                    (SELECT pg_catalog.min(i.value) FROM cdp.identifiers AS i
                     WHERE i.namespace OPERATOR(pg_catalog.=) %3$L AND i.profile_id OPERATOR(pg_catalog.=) p.profile_id
                       AND i.kind OPERATOR(pg_catalog.=) ''email'')) AS email,
                 COALESCE(p.traits OPERATOR(pg_catalog.->>) ''first_name'', p.traits OPERATOR(pg_catalog.->>) ''firstName'') AS first_name,
                 COALESCE(p.traits OPERATOR(pg_catalog.->>) ''last_name'', p.traits OPERATOR(pg_catalog.->>) ''lastName'') AS last_name,
                 p.traits OPERATOR(pg_catalog.->>) ''company'' AS company,
                 COALESCE(p.traits OPERATOR(pg_catalog.->>) ''linkedin_url'', p.traits OPERATOR(pg_catalog.->>) ''linkedinUrl'') AS linkedin_url,
                 p.traits, %4$s, p.event_count, p.first_seen, p.last_seen, p.created_at
             FROM cdp.people AS p %5$s WHERE p.namespace OPERATOR(pg_catalog.=) %3$L',
            schema, view_name, chosen,
            CASE WHEN has_scores THEN 's.icp AS icp_score, s.behavior AS behaviour_score, s.total AS lead_score, s.grade AS icp, s.meta AS scoring_meta'
                ELSE 'NULL::numeric AS icp_score, NULL::numeric AS behaviour_score, NULL::numeric AS lead_score, NULL::text AS icp, NULL::jsonb AS scoring_meta' END,
            CASE WHEN has_scores THEN pg_catalog.format('LEFT JOIN LATERAL cdp.score(p.profile_id::text, ''lead'', %L) AS s ON true', chosen) ELSE '' END);
        EXECUTE pg_catalog.format('COMMENT ON VIEW %I.%I IS %L', schema, view_name, 'People of the namespace ' OPERATOR(pg_catalog.||) chosen);
        view_name := pg_catalog.format('%I.%I', schema, view_name);
        RETURN NEXT view_name;
    END LOOP;
END
$$;
COMMENT ON FUNCTION cdp.create_compat_views(text, text) IS 'Makes the view <namespace>_user_source of a namespace''s people, with their scores; returns the names of the views';
REVOKE ALL ON FUNCTION cdp.create_compat_views(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.create_compat_views(text, text) TO cdp_reader, cdp_writer, cdp_admin;

CREATE TABLE _cdp.usage (
    namespace_id integer NOT NULL,
    day date NOT NULL,
    events bigint NOT NULL DEFAULT 0,
    active_people bigint NOT NULL DEFAULT 0,
    deliveries bigint NOT NULL DEFAULT 0,
    decisions bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (namespace_id, day)
);
COMMENT ON TABLE _cdp.usage IS 'What each namespace used on days that are over; of the day that is not, the decisions alone';

CREATE TABLE _cdp.usage_days (
    day date NOT NULL,
    PRIMARY KEY (day)
);
COMMENT ON TABLE _cdp.usage_days IS 'Days of UTC whose usage was counted';

CREATE VIEW cdp.usage AS
    WITH open AS (
        SELECT COALESCE((pg_catalog.max(d.day) OPERATOR(pg_catalog.+) 1)::timestamp AT TIME ZONE 'UTC', '-infinity'::timestamptz) AS since
        FROM _cdp.usage_days AS d)
    SELECT n.name AS namespace, u.day, pg_catalog.sum(u.events)::bigint AS events, pg_catalog.sum(u.active_people)::bigint AS active_people,
        pg_catalog.sum(u.deliveries)::bigint AS deliveries, pg_catalog.sum(u.decisions)::bigint AS decisions
    FROM (SELECT s.namespace_id, s.day, s.events, s.active_people, s.deliveries, s.decisions FROM _cdp.usage AS s
          UNION ALL
          SELECT m.namespace_id, (m.received_at AT TIME ZONE 'UTC')::date, pg_catalog.count(*), 0, 0, 0 FROM _cdp.message_ids AS m
          WHERE m.received_at OPERATOR(pg_catalog.>=) (SELECT o.since FROM open AS o)
          GROUP BY m.namespace_id, (m.received_at AT TIME ZONE 'UTC')::date
          UNION ALL
          SELECT e.namespace_id, (e.ts AT TIME ZONE 'UTC')::date, 0, pg_catalog.count(DISTINCT COALESCE(p.merged_into, e.profile_id)), 0, 0
          FROM _cdp.events AS e LEFT JOIN _cdp.profiles AS p ON p.profile_id OPERATOR(pg_catalog.=) e.profile_id
          WHERE e.ts OPERATOR(pg_catalog.>=) GREATEST((SELECT o.since FROM open AS o), pg_catalog.now() OPERATOR(pg_catalog.-) '31 days'::interval)
          GROUP BY e.namespace_id, (e.ts AT TIME ZONE 'UTC')::date
          UNION ALL
          SELECT b.namespace_id, (b.created_at AT TIME ZONE 'UTC')::date, 0, 0, pg_catalog.count(*), 0 FROM _cdp.outbox AS b
          WHERE b.created_at OPERATOR(pg_catalog.>=) (SELECT o.since FROM open AS o)
          GROUP BY b.namespace_id, (b.created_at AT TIME ZONE 'UTC')::date) AS u
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) u.namespace_id
    GROUP BY n.name, u.day;
COMMENT ON VIEW cdp.usage IS 'What each namespace used on each day of UTC: messages taken, people who did something, messages made for destinations, decisions';
GRANT SELECT ON cdp.usage TO cdp_reader, cdp_writer, cdp_admin;

-- Runs with the caller's rights: who may read there and send here. Message ids stay, so that a second time copies nothing.
CREATE FUNCTION cdp.copy_people(
    ids text[],
    target text,
    namespace text DEFAULT NULL
) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    source CONSTANT text := cdp.current_namespace(namespace);
    destination CONSTANT text := cdp.current_namespace(target);
    people bigint[];
    batch jsonb;
    copied bigint := 0;
BEGIN
    IF target IS NULL OR source OPERATOR(pg_catalog.=) destination THEN
        RAISE EXCEPTION 'people cannot be copied to the namespace they are in' USING ERRCODE = 'invalid_parameter_value', HINT = 'Name another one: target => ''…''.';
    END IF;
    SELECT pg_catalog.array_agg(DISTINCT cdp.resolve(i.id, namespace => source)) INTO people FROM pg_catalog.unnest(ids) AS i(id);
    FOR batch IN
        SELECT pg_catalog.jsonb_agg(m.message ORDER BY m.place)
        FROM (SELECT e.event_id, (pg_catalog.row_number() OVER (ORDER BY e."timestamp", e.event_id)) AS place,
                  (SELECT pg_catalog.jsonb_object_agg(f.key, f.value)
                   FROM pg_catalog.jsonb_each(pg_catalog.to_jsonb(e)) AS f(key, value)
                   WHERE f.value OPERATOR(pg_catalog.<>) 'null'::jsonb
                     AND (f.key OPERATOR(pg_catalog.=) ANY (ARRAY['type', 'user_id', 'anonymous_id', 'previous_id', 'group_id', 'name', 'category',
                              'properties', 'traits', 'context', 'integrations', 'timestamp', 'message_id'])
                          OR f.key OPERATOR(pg_catalog.=) 'event' AND e.type OPERATOR(pg_catalog.=) 'track')) AS message
              FROM cdp.events AS e
              WHERE e.namespace OPERATOR(pg_catalog.=) source AND e.profile_id OPERATOR(pg_catalog.=) ANY (people)) AS m
        GROUP BY m.place OPERATOR(pg_catalog./) 1000 ORDER BY m.place OPERATOR(pg_catalog./) 1000
    LOOP
        copied := copied OPERATOR(pg_catalog.+) (
            SELECT pg_catalog.count(*) FROM cdp.ingest(batch, destination) AS r WHERE r.status OPERATOR(pg_catalog.=) 'accepted');
    END LOOP;
    RETURN copied;
END
$$;
COMMENT ON FUNCTION cdp.copy_people(text[], text, text) IS 'Sends all messages of people to another namespace, where they count as if they had come there; returns how many were new';
REVOKE ALL ON FUNCTION cdp.copy_people(text[], text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.copy_people(text[], text, text) TO cdp_admin;
-- Who must be left alone, and who agreed to what.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE TABLE _cdp.suppressions (
    namespace_id integer NOT NULL,
    value text NOT NULL,
    kind_id integer NOT NULL,
    suppressed_at timestamptz NOT NULL,
    reason text,
    suppressed_by text NOT NULL,
    PRIMARY KEY (namespace_id, value, kind_id)
);
COMMENT ON TABLE _cdp.suppressions IS 'Identifiers of people of whom nothing is taken and nothing is sent';
COMMENT ON COLUMN _cdp.suppressions.kind_id IS '0: whatever the kind; -1: no identifier, but the mark that the namespace has had some';

CREATE SEQUENCE _cdp.consent_statement_id_seq;
CREATE TABLE _cdp.consent_statements (
    profile_id bigint NOT NULL,
    statement_id bigint NOT NULL DEFAULT pg_catalog.nextval('_cdp.consent_statement_id_seq'::pg_catalog.regclass),
    namespace_id integer NOT NULL,
    category text NOT NULL,
    granted boolean NOT NULL,
    stated_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    source text,
    message_id text,
    kind_id integer,
    value text,
    PRIMARY KEY (profile_id, statement_id)
);
ALTER SEQUENCE _cdp.consent_statement_id_seq OWNED BY _cdp.consent_statements.statement_id;
COMMENT ON TABLE _cdp.consent_statements IS 'What people said about categories of consent, append-only; what that comes to is worked out from it';
COMMENT ON COLUMN _cdp.consent_statements.profile_id IS 'Profile at the time; merges do not rewrite it';
COMMENT ON COLUMN _cdp.consent_statements.message_id IS 'The message that said it; null: cdp.set_consent';
COMMENT ON COLUMN _cdp.consent_statements.value IS 'The identifier that cdp.set_consent was given: who is split off takes along what was said by it';

CREATE VIEW cdp.suppressions AS
    SELECT n.name AS namespace, k.name AS kind, s.value AS identifier, s.suppressed_at, s.reason, s.suppressed_by
    FROM _cdp.suppressions AS s
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) s.namespace_id
    LEFT JOIN _cdp.identifier_kinds AS k ON k.kind_id OPERATOR(pg_catalog.=) s.kind_id
    WHERE s.kind_id OPERATOR(pg_catalog.>=) 0;
COMMENT ON VIEW cdp.suppressions IS 'Identifiers of people of whom nothing is taken and nothing is sent';
COMMENT ON COLUMN cdp.suppressions.kind IS 'Null: whatever the kind';

CREATE VIEW cdp.consent_statements AS
    SELECT n.name AS namespace, COALESCE(p.merged_into, s.profile_id) AS profile_id, s.category, s.granted, s.stated_at, s.recorded_at,
        s.source, s.message_id
    FROM _cdp.consent_statements AS s
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) s.namespace_id
    LEFT JOIN _cdp.profiles AS p ON p.profile_id OPERATOR(pg_catalog.=) s.profile_id;
COMMENT ON VIEW cdp.consent_statements IS 'What people said about categories of consent: when, where and in which message';

GRANT SELECT ON cdp.suppressions, cdp.consent_statements TO cdp_reader;

CREATE TYPE cdp.consent_standing AS (
    category text,
    granted boolean,
    since timestamptz,
    source text
);
COMMENT ON TYPE cdp.consent_standing IS 'Where somebody stands on a category of consent, since when, and where that was said';

CREATE FUNCTION cdp.suppress(
    id text,
    reason text DEFAULT NULL,
    kind text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS SETOF cdp.suppressions
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_suppress';
COMMENT ON FUNCTION cdp.suppress(text, text, text, text) IS 'From now on takes no message of a person and sends none, also of those that wait; returns the identifiers it holds for';
REVOKE ALL ON FUNCTION cdp.suppress(text, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.suppress(text, text, text, text) TO cdp_writer;

CREATE FUNCTION cdp.unsuppress(
    id text,
    kind text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_unsuppress';
COMMENT ON FUNCTION cdp.unsuppress(text, text, text) IS 'Takes and sends messages of a person again; returns for how many identifiers';
REVOKE ALL ON FUNCTION cdp.unsuppress(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.unsuppress(text, text, text) TO cdp_admin;

CREATE FUNCTION cdp.set_consent(
    id text,
    categories jsonb,
    source text DEFAULT NULL,
    "timestamp" timestamptz DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS SETOF cdp.consent_standing
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_set_consent';
COMMENT ON FUNCTION cdp.set_consent(text, jsonb, text, timestamptz, text) IS 'Writes down what a person agreed to, such as {"marketing": true, "advertising": false}; returns where the person stands';
REVOKE ALL ON FUNCTION cdp.set_consent(text, jsonb, text, timestamptz, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.set_consent(text, jsonb, text, timestamptz, text) TO cdp_writer;

CREATE FUNCTION cdp.consent(
    id text,
    namespace text DEFAULT NULL
) RETURNS SETOF cdp.consent_standing
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_consent';
COMMENT ON FUNCTION cdp.consent(text, text) IS 'Where a person stands on each category that something was said about';
REVOKE ALL ON FUNCTION cdp.consent(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.consent(text, text) TO cdp_reader;
-- What pg_dump does with the tables of the extension (docs/decisions/0002-partitions-and-dump.md): their rows
-- are dumped, those that come with the extension left out. Partitions are ordinary tables.
SET LOCAL search_path = pg_catalog, pg_temp;

SELECT pg_catalog.pg_extension_config_dump('_cdp.namespaces', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.role_bindings',
    'WHERE EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.oid OPERATOR(pg_catalog.=) role::pg_catalog.oid)');
SELECT pg_catalog.pg_extension_config_dump('_cdp.event_names', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.namespace_event_names', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.usage', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.usage_days', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.jobs', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.job_runs', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.job_log', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.job_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.job_run_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.job_log_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.identifiers', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.identity_demotions', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.profile_merges', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.profile_splits', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.message_ids', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.quarantine', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.attachments', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.attachment_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.profiles', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.profile_traits', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.pending_folds', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.pending_group_traits', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.timers', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.groups', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.group_members', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.history', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.sweeps', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.definition_versions', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.traits', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.segments', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.segment_members', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.segment_lists', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.list_changes', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.flags', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.flag_overrides', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.holdouts', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.experiments', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.slots', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.scores', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.destinations', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.routes', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.deliveries', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.retries', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.dead_letters', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.destination_statistics', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.suppressions', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.consent_statements', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.identifier_kinds', 'WHERE kind_id >= 1000');
SELECT pg_catalog.pg_extension_config_dump('_cdp.namespace_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.event_name_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.identifier_kind_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.event_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.quarantine_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.profile_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.pending_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.history_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.list_change_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.definition_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.slot_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.outbox_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.lease_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('_cdp.consent_statement_id_seq', '');
-- Row security (docs/decisions/0020-row-security.md): the views belong to a role that may read every table, but
-- only rows of the namespaces that the session may use. Tables and views of all other files are covered: this one
-- comes after them.
SET LOCAL search_path = pg_catalog, pg_temp;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) 'cdp_view_owner'::pg_catalog.name) THEN
        BEGIN
            CREATE ROLE cdp_view_owner NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            -- Made by the same statement in another database at the same moment.
            NULL;
        END;
    END IF;
END
$$;

DO $$
DECLARE
    relation regclass;
BEGIN
    -- Every table that says whose its rows are.
    FOR relation IN
        SELECT c.oid::regclass FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS s ON s.oid OPERATOR(pg_catalog.=) c.relnamespace
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) c.oid
        WHERE s.nspname::text OPERATOR(pg_catalog.=) '_cdp' AND a.attname::text OPERATOR(pg_catalog.=) 'namespace_id'
          AND c.relkind::text OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p']) AND NOT c.relispartition
        ORDER BY c.relname
    LOOP
        EXECUTE pg_catalog.format('CREATE POLICY namespaces ON %s FOR SELECT TO cdp_view_owner USING '
            '(COALESCE(namespace_id OPERATOR(pg_catalog.=) ANY ((SELECT _cdp.bound_namespaces())::integer[]), true))', relation);
        EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', relation);
    END LOOP;
END
$$;

DO $$
DECLARE
    relation regclass;
BEGIN
    FOR relation IN
        SELECT c.oid::regclass FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS s ON s.oid OPERATOR(pg_catalog.=) c.relnamespace
        WHERE s.nspname::text OPERATOR(pg_catalog.=) ANY (ARRAY['cdp', '_cdp'])
          AND c.relkind::text OPERATOR(pg_catalog.=) ANY (ARRAY['v', 'r', 'p', 'm'])
        ORDER BY c.relkind::text, c.relname
    LOOP
        IF (SELECT c.relkind::text OPERATOR(pg_catalog.=) 'v' FROM pg_catalog.pg_class AS c WHERE c.oid OPERATOR(pg_catalog.=) relation::oid) THEN
            EXECUTE pg_catalog.format('ALTER VIEW %s OWNER TO cdp_view_owner', relation);
        END IF;
        -- Also where it owns the view: the last GRANT is what pg_dump takes for the extension's own.
        EXECUTE pg_catalog.format('GRANT SELECT ON %s TO cdp_view_owner', relation);
    END LOOP;
END
$$;
-- Who may see the schemas. Nothing else is granted to PUBLIC.
SET LOCAL search_path = pg_catalog, pg_temp;

GRANT USAGE ON SCHEMA cdp TO cdp_reader, cdp_writer, cdp_admin;
GRANT cdp_reader TO cdp_writer;
GRANT cdp_writer TO cdp_admin;
REVOKE ALL ON FUNCTION cdp.version() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.version() TO cdp_reader;
REVOKE ALL ON FUNCTION cdp.now() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.now() TO cdp_reader;
REVOKE ALL ON FUNCTION _cdp.create_event_partition(timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION _cdp.create_outbox_partition(timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION _cdp.drop_outbox_partitions(timestamptz, bigint) FROM PUBLIC;
