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
