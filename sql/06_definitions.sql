-- What is computed: traits, segments, flags, and the slots of the state they need.
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
    rule text NOT NULL,
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

CREATE TABLE _cdp.segment_members (
    profile_id bigint NOT NULL,
    segment_id integer NOT NULL,
    namespace_id integer NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (profile_id, segment_id)
);
CREATE INDEX segment_members_segment ON _cdp.segment_members (segment_id, profile_id);
COMMENT ON TABLE _cdp.segment_members IS 'Who is in which segment, and since when';

CREATE TABLE _cdp.flags (
    flag_id integer NOT NULL DEFAULT pg_catalog.nextval('_cdp.definition_id_seq'::pg_catalog.regclass),
    namespace_id integer NOT NULL,
    key text NOT NULL,
    rule text,
    definition jsonb,
    description text,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (flag_id),
    UNIQUE (namespace_id, key)
);
COMMENT ON TABLE _cdp.flags IS 'Flags';

CREATE SEQUENCE _cdp.slot_id_seq AS integer;
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
