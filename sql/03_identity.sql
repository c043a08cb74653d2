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
