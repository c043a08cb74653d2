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

