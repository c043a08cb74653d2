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
