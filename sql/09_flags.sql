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
