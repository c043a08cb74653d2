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
