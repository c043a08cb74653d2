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
