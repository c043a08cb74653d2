-- Operating.
SET LOCAL search_path = pg_catalog, pg_temp;

-- Runs with the caller's rights, as the statements do that the condition goes into.
CREATE FUNCTION cdp.check_filter(
    source regclass,
    filter text
) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF filter IS NULL THEN
        RAISE EXCEPTION 'argument filter is null' USING ERRCODE = '22004', HINT = 'Give a SQL condition; ''true'' chooses all.';
    END IF;
    -- By itself a condition has no parenthesis that ends another one; within parentheses it has nothing after it.
    EXECUTE pg_catalog.format('SELECT FROM %s WHERE %s LIMIT 0', source, filter OPERATOR(pg_catalog.||) E'\n');
    EXECUTE pg_catalog.format('SELECT FROM %s WHERE (%s) LIMIT 0', source, filter OPERATOR(pg_catalog.||) E'\n');
    RETURN pg_catalog.format('(%s)', filter OPERATOR(pg_catalog.||) E'\n');
EXCEPTION
    WHEN syntax_error_or_access_rule_violation THEN
        RAISE EXCEPTION 'the filter is no condition over %: %', source, SQLERRM
            USING ERRCODE = 'CD106', DETAIL = pg_catalog.concat('Filter: ', pg_catalog."left"(filter, 200)),
                HINT = 'Write it as after WHERE, with the columns of the view; functions outside pg_catalog need their schema.';
END
$$;
COMMENT ON FUNCTION cdp.check_filter(regclass, text) IS 'A SQL condition over a table or view in parentheses, when it is one; refuses what is not, or ends the statement it is put into';
REVOKE ALL ON FUNCTION cdp.check_filter(regclass, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.check_filter(regclass, text) TO cdp_reader, cdp_writer, cdp_admin;

CREATE FUNCTION cdp.rebuild(
    id text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_rebuild';
COMMENT ON FUNCTION cdp.rebuild(text, text) IS 'Computes a person, or everybody, from the events again; returns how many people';
REVOKE ALL ON FUNCTION cdp.rebuild(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.rebuild(text, text) TO cdp_admin;

CREATE FUNCTION cdp.unmerge(
    id text,
    identifier text,
    kind text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS TABLE (profile_id bigint, identifiers jsonb, events bigint)
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_unmerge';
COMMENT ON FUNCTION cdp.unmerge(text, text, text, text) IS 'Takes an identifier, and all that came with it, off a person: undoes the merge that brought it, and keeps the two apart; returns both';
REVOKE ALL ON FUNCTION cdp.unmerge(text, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.unmerge(text, text, text, text) TO cdp_admin;

CREATE FUNCTION cdp.run_due(
    max_seconds integer DEFAULT NULL
) RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_run_due';
COMMENT ON FUNCTION cdp.run_due(integer) IS 'Does the work of the background workers here and now';
REVOKE ALL ON FUNCTION cdp.run_due(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.run_due(integer) TO cdp_admin;

CREATE FUNCTION cdp.metrics() RETURNS text
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_metrics';
COMMENT ON FUNCTION cdp.metrics() IS 'Counters and gauges in the text format of Prometheus';
REVOKE ALL ON FUNCTION cdp.metrics() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.metrics() TO cdp_reader, pg_monitor;

CREATE FUNCTION cdp.health() RETURNS TABLE (component text, ok boolean, detail text)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_health';
COMMENT ON FUNCTION cdp.health() IS 'What runs, what does not, and what to do about it';
REVOKE ALL ON FUNCTION cdp.health() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.health() TO cdp_reader, pg_monitor;
