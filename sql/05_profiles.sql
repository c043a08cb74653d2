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
