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
