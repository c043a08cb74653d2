-- Destinations, routes, and what is done with deliveries by hand.
SET LOCAL search_path = pg_catalog, pg_temp;

-- An error must not write the statement to the server's log: it may hold a secret in clear.
CREATE FUNCTION cdp.define_destination(
    key text,
    kind text,
    config jsonb,
    secrets jsonb DEFAULT '{}',
    enabled boolean DEFAULT true,
    namespace text DEFAULT NULL
) RETURNS cdp.destinations
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET log_min_error_statement = 'panic'
    AS 'MODULE_PATHNAME', 'cdp_define_destination';
COMMENT ON FUNCTION cdp.define_destination(text, text, jsonb, jsonb, boolean, text) IS 'Makes or changes a destination; secrets are env:CDP_NAME, file:NAME, or texts that are sealed';
REVOKE ALL ON FUNCTION cdp.define_destination(text, text, jsonb, jsonb, boolean, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.define_destination(text, text, jsonb, jsonb, boolean, text) TO cdp_admin;

CREATE FUNCTION cdp.drop_destination(
    key text,
    namespace text DEFAULT NULL
) RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_destination';
COMMENT ON FUNCTION cdp.drop_destination(text, text) IS 'Drops a destination and what waits for it; refused while a route or a segment uses it';
REVOKE ALL ON FUNCTION cdp.drop_destination(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.drop_destination(text, text) TO cdp_admin;

CREATE FUNCTION cdp.pause_destination(
    key text,
    reason text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS cdp.destinations
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_pause_destination';
COMMENT ON FUNCTION cdp.pause_destination(text, text, text) IS 'Stops sending to a destination; its messages wait';
REVOKE ALL ON FUNCTION cdp.pause_destination(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.pause_destination(text, text, text) TO cdp_admin;

CREATE FUNCTION cdp.resume_destination(
    key text,
    namespace text DEFAULT NULL
) RETURNS cdp.destinations
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_resume_destination';
COMMENT ON FUNCTION cdp.resume_destination(text, text) IS 'Sends to a paused destination again';
REVOKE ALL ON FUNCTION cdp.resume_destination(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.resume_destination(text, text) TO cdp_admin;

CREATE FUNCTION cdp.test_destination(
    key text,
    namespace text DEFAULT NULL
) RETURNS TABLE (ok boolean, detail text)
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_test_destination';
COMMENT ON FUNCTION cdp.test_destination(text, text) IS 'Asks a destination whether configuration and credentials work, without leaving a trace there';
REVOKE ALL ON FUNCTION cdp.test_destination(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.test_destination(text, text) TO cdp_admin;

CREATE FUNCTION cdp.destination_kinds() RETURNS TABLE (
    kind text,
    name text,
    category text,
    description text,
    duplicates text,
    config_schema jsonb
)
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_destination_kinds';
COMMENT ON FUNCTION cdp.destination_kinds() IS 'The catalogue of destinations, with the JSON Schema of each configuration';
REVOKE ALL ON FUNCTION cdp.destination_kinds() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.destination_kinds() TO cdp_reader;

CREATE FUNCTION cdp.define_route(
    destination text,
    events text[] DEFAULT NULL,
    filter text DEFAULT NULL,
    mapping jsonb DEFAULT NULL,
    transform text DEFAULT NULL,
    namespace text DEFAULT NULL,
    consent text[] DEFAULT NULL
) RETURNS cdp.routes
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_define_route';
COMMENT ON FUNCTION cdp.define_route(text, text[], text, jsonb, text, text, text[]) IS 'Sends events and changes to a destination; destination, events and filter tell routes apart';
REVOKE ALL ON FUNCTION cdp.define_route(text, text[], text, jsonb, text, text, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.define_route(text, text[], text, jsonb, text, text, text[]) TO cdp_admin;

CREATE FUNCTION cdp.drop_route(
    destination text,
    events text[] DEFAULT NULL,
    filter text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_route';
COMMENT ON FUNCTION cdp.drop_route(text, text[], text, text) IS 'Drops the route to a destination with these events and this filter';
REVOKE ALL ON FUNCTION cdp.drop_route(text, text[], text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.drop_route(text, text[], text, text) TO cdp_admin;

CREATE FUNCTION cdp.try_route(
    destination text,
    message jsonb,
    mapping jsonb DEFAULT NULL,
    transform text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS TABLE (outcome text, result jsonb, request text, detail text)
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_try_route';
COMMENT ON FUNCTION cdp.try_route(text, jsonb, jsonb, text, text) IS 'What a mapping and a transformation make of a message, and the request that would be sent; sends nothing';
REVOKE ALL ON FUNCTION cdp.try_route(text, jsonb, jsonb, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.try_route(text, jsonb, jsonb, text, text) TO cdp_admin;

CREATE FUNCTION cdp.replay_events(
    events jsonb[],
    destination text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_replay_events';
COMMENT ON FUNCTION cdp.replay_events(jsonb[], text, text) IS 'Sends rows of cdp.events again where routes want them, marked as replay; returns how many messages';
REVOKE ALL ON FUNCTION cdp.replay_events(jsonb[], text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.replay_events(jsonb[], text, text) TO cdp_admin;

-- The filter is SQL and runs with the caller's rights, so this function must not be SECURITY DEFINER.
CREATE FUNCTION cdp.replay(
    filter text,
    destination text DEFAULT NULL,
    since timestamptz DEFAULT NULL,
    until timestamptz DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    chosen CONSTANT text := cdp.current_namespace(namespace);
    statement text;
    batch jsonb[];
    total bigint := 0;
BEGIN
    -- That there is such a destination, and that it takes replays, is told even when no event is chosen.
    PERFORM cdp.replay_events('{}', destination, chosen);
    IF until OPERATOR(pg_catalog.<=) since THEN
        RAISE EXCEPTION 'until (%) is not after since (%)', until, since
            USING ERRCODE = 'invalid_parameter_value', HINT = 'No event can be in that time: give them the other way round.';
    END IF;
    statement := pg_catalog.concat(
        'SELECT pg_catalog.array_agg(p.event ORDER BY p.place) FROM (',
        'SELECT pg_catalog.to_jsonb(e) AS event, pg_catalog.row_number() OVER (ORDER BY e."timestamp", e.event_id) OPERATOR(pg_catalog.-) 1 AS place',
        ' FROM cdp.events AS e WHERE e.namespace OPERATOR(pg_catalog.=) $1',
        ' AND (e."timestamp" OPERATOR(pg_catalog.>=) $2 OR $2 IS NULL) AND (e."timestamp" OPERATOR(pg_catalog.<) $3 OR $3 IS NULL)',
        ' AND ', cdp.check_filter('cdp.events', filter), ') AS p',
        ' GROUP BY p.place OPERATOR(pg_catalog./) 1000 ORDER BY p.place OPERATOR(pg_catalog./) 1000');
    FOR batch IN EXECUTE statement USING chosen, since, until LOOP
        total := total OPERATOR(pg_catalog.+) cdp.replay_events(batch, destination, chosen);
    END LOOP;
    RETURN total;
END
$$;
COMMENT ON FUNCTION cdp.replay(text, text, timestamptz, timestamptz, text) IS 'Sends past events again where routes want them, marked as replay: those that a SQL condition over cdp.events chooses, since and before the given times; returns how many messages';
REVOKE ALL ON FUNCTION cdp.replay(text, text, timestamptz, timestamptz, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.replay(text, text, timestamptz, timestamptz, text) TO cdp_admin;

CREATE FUNCTION cdp.retry_dead_letters(
    delivery_ids bigint[]
) RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_retry_dead_letters';
COMMENT ON FUNCTION cdp.retry_dead_letters(bigint[]) IS 'Sends these dead letters again; returns how many';
REVOKE ALL ON FUNCTION cdp.retry_dead_letters(bigint[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.retry_dead_letters(bigint[]) TO cdp_admin;

-- The filter is SQL and runs with the caller's rights, so this function must not be SECURITY DEFINER.
CREATE FUNCTION cdp.retry_dead_letters(
    destination text DEFAULT NULL,
    filter text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    own CONSTANT text := cdp.current_namespace(namespace);
    chosen bigint[];
BEGIN
    IF destination IS NOT NULL AND NOT EXISTS (SELECT FROM cdp.destinations AS d
        WHERE d.namespace OPERATOR(pg_catalog.=) own AND d.key OPERATOR(pg_catalog.=) destination) THEN
        RAISE EXCEPTION 'destination "%" does not exist', destination USING ERRCODE = 'CD104', HINT = 'cdp.destinations lists them.';
    END IF;
    EXECUTE 'SELECT pg_catalog.array_agg(l.delivery_id) FROM cdp.dead_letters AS l'
        ' WHERE l.namespace OPERATOR(pg_catalog.=) $2'
        ' AND (l.destination OPERATOR(pg_catalog.=) $1 OR $1 IS NULL) AND ' OPERATOR(pg_catalog.||) cdp.check_filter('cdp.dead_letters', COALESCE(filter, 'true'))
        INTO chosen USING destination, own;
    RETURN cdp.retry_dead_letters(COALESCE(chosen, '{}'::bigint[]));
END
$$;
COMMENT ON FUNCTION cdp.retry_dead_letters(text, text, text) IS 'Sends dead letters again: those of a destination, those that a SQL condition over cdp.dead_letters chooses, or all; returns how many';
REVOKE ALL ON FUNCTION cdp.retry_dead_letters(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.retry_dead_letters(text, text, text) TO cdp_admin;

CREATE FUNCTION _cdp.announce_workers() RETURNS void
    LANGUAGE c VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_announce_workers';
COMMENT ON FUNCTION _cdp.announce_workers() IS 'Lets the workers of this database start, or warns that there are none';
REVOKE ALL ON FUNCTION _cdp.announce_workers() FROM PUBLIC;

DO $$
BEGIN
    PERFORM _cdp.announce_workers();
END
$$;
