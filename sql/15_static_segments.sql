-- Segments whose members are listed by hand, and how segments overlap.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE FUNCTION cdp.define_static_segment(
    key text,
    ids text[] DEFAULT NULL,
    description text DEFAULT NULL,
    sync_to text[] DEFAULT '{}',
    namespace text DEFAULT NULL
) RETURNS cdp.segment_definitions
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_define_static_segment';
COMMENT ON FUNCTION cdp.define_static_segment(text, text[], text, text[], text) IS 'Makes or changes a segment of listed people; ids, if given, become the whole list';
REVOKE ALL ON FUNCTION cdp.define_static_segment(text, text[], text, text[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.define_static_segment(text, text[], text, text[], text) TO cdp_admin;

CREATE FUNCTION cdp.add_members(
    segment text,
    ids text[],
    kind text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_add_members';
COMMENT ON FUNCTION cdp.add_members(text, text[], text, text) IS 'Puts people on the list of a static segment; returns how many of the ids were not on it';
REVOKE ALL ON FUNCTION cdp.add_members(text, text[], text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.add_members(text, text[], text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.add_members(text, text[], text, text) TO cdp_admin;

CREATE FUNCTION cdp.remove_members(
    segment text,
    ids text[],
    kind text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_remove_members';
COMMENT ON FUNCTION cdp.remove_members(text, text[], text, text) IS 'Takes people off the list of a static segment, whatever identifiers they are listed by; returns how many of the ids were on it';
REVOKE ALL ON FUNCTION cdp.remove_members(text, text[], text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.remove_members(text, text[], text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.remove_members(text, text[], text, text) TO cdp_admin;

CREATE FUNCTION _cdp.segment_overlap(a text, b text, namespace text) RETURNS TABLE (only_a bigint, only_b bigint, "both" bigint)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_segment_overlap';
COMMENT ON FUNCTION _cdp.segment_overlap(text, text, text) IS 'How many people are in one of two segments only, and in both';
REVOKE ALL ON FUNCTION _cdp.segment_overlap(text, text, text) FROM PUBLIC;

CREATE FUNCTION cdp.segment_overlap(
    a text,
    b text,
    namespace text DEFAULT NULL
) RETURNS TABLE (members_a bigint, members_b bigint, only_a bigint, only_b bigint, "both" bigint, either bigint,
                 share_of_a numeric, share_of_b numeric)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS $$
        SELECT o.only_a OPERATOR(pg_catalog.+) o."both", o.only_b OPERATOR(pg_catalog.+) o."both", o.only_a, o.only_b, o."both",
            o.only_a OPERATOR(pg_catalog.+) o.only_b OPERATOR(pg_catalog.+) o."both",
            pg_catalog.round(o."both"::numeric OPERATOR(pg_catalog./) NULLIF(o.only_a OPERATOR(pg_catalog.+) o."both", 0), 4),
            pg_catalog.round(o."both"::numeric OPERATOR(pg_catalog./) NULLIF(o.only_b OPERATOR(pg_catalog.+) o."both", 0), 4)
        FROM _cdp.segment_overlap(a, b, namespace) AS o
    $$;
COMMENT ON FUNCTION cdp.segment_overlap(text, text, text) IS 'How many people two segments have in common now, and which share of each that is';
REVOKE ALL ON FUNCTION cdp.segment_overlap(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.segment_overlap(text, text, text) TO cdp_reader;
GRANT EXECUTE ON FUNCTION cdp.segment_overlap(text, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.segment_overlap(text, text, text) TO cdp_admin;

CREATE VIEW cdp.segment_lists AS
    SELECT n.name AS namespace, s.key AS segment,
        CASE l.kind_id WHEN -1 THEN 'profile_id'::text ELSE k.name END AS kind, l.value,
        CASE l.kind_id WHEN -1 THEN p.profile_id ELSE i.profile_id END AS profile_id, l.added_at
    FROM _cdp.segment_lists AS l
    JOIN _cdp.segments AS s ON s.segment_id OPERATOR(pg_catalog.=) l.segment_id
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) l.namespace_id
    LEFT JOIN _cdp.identifier_kinds AS k ON k.kind_id OPERATOR(pg_catalog.=) l.kind_id
    LEFT JOIN _cdp.identifiers AS i ON i.namespace_id OPERATOR(pg_catalog.=) l.namespace_id
        AND i.value OPERATOR(pg_catalog.=) l.value AND l.kind_id OPERATOR(pg_catalog.=) ANY (ARRAY[0, i.kind_id])
    LEFT JOIN LATERAL (SELECT COALESCE(p.merged_into, p.profile_id) AS profile_id FROM _cdp.profiles AS p
        WHERE l.kind_id OPERATOR(pg_catalog.=) -1
            AND p.profile_id OPERATOR(pg_catalog.=) CASE WHEN l.kind_id OPERATOR(pg_catalog.=) -1 THEN l.value::bigint END) AS p ON true;
COMMENT ON VIEW cdp.segment_lists IS 'Who is on the lists of static segments, as given, and whose identifier it is; profile_id is null while nobody is known by it';
GRANT SELECT ON cdp.segment_lists TO cdp_reader, cdp_writer, cdp_admin;
