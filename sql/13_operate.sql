-- Operating.
SET LOCAL search_path = pg_catalog, pg_temp;

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
