-- The calls of the spec, batches, and the inbox.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE FUNCTION cdp.track(
    user_id text,
    event text,
    properties jsonb DEFAULT '{}',
    anonymous_id text DEFAULT NULL,
    "timestamp" timestamptz DEFAULT NULL,
    context jsonb DEFAULT '{}',
    integrations jsonb DEFAULT '{}',
    message_id text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS cdp.receipt
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_track';
COMMENT ON FUNCTION cdp.track(text, text, jsonb, text, timestamptz, jsonb, jsonb, text, text) IS 'Records that somebody did something';
REVOKE ALL ON FUNCTION cdp.track(text, text, jsonb, text, timestamptz, jsonb, jsonb, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.track(text, text, jsonb, text, timestamptz, jsonb, jsonb, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.track(text, text, jsonb, text, timestamptz, jsonb, jsonb, text, text) TO cdp_admin;

CREATE FUNCTION cdp.identify(
    user_id text,
    traits jsonb DEFAULT '{}',
    anonymous_id text DEFAULT NULL,
    "timestamp" timestamptz DEFAULT NULL,
    context jsonb DEFAULT '{}',
    integrations jsonb DEFAULT '{}',
    message_id text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS cdp.receipt
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_identify';
COMMENT ON FUNCTION cdp.identify(text, jsonb, text, timestamptz, jsonb, jsonb, text, text) IS 'Says who somebody is, with their traits; null removes a trait';
REVOKE ALL ON FUNCTION cdp.identify(text, jsonb, text, timestamptz, jsonb, jsonb, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.identify(text, jsonb, text, timestamptz, jsonb, jsonb, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.identify(text, jsonb, text, timestamptz, jsonb, jsonb, text, text) TO cdp_admin;

CREATE FUNCTION cdp.page(
    user_id text,
    name text DEFAULT NULL,
    properties jsonb DEFAULT '{}',
    category text DEFAULT NULL,
    anonymous_id text DEFAULT NULL,
    "timestamp" timestamptz DEFAULT NULL,
    context jsonb DEFAULT '{}',
    integrations jsonb DEFAULT '{}',
    message_id text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS cdp.receipt
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_page';
COMMENT ON FUNCTION cdp.page(text, text, jsonb, text, text, timestamptz, jsonb, jsonb, text, text) IS 'Records that somebody saw a page: it counts as the event Page Viewed';
REVOKE ALL ON FUNCTION cdp.page(text, text, jsonb, text, text, timestamptz, jsonb, jsonb, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.page(text, text, jsonb, text, text, timestamptz, jsonb, jsonb, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.page(text, text, jsonb, text, text, timestamptz, jsonb, jsonb, text, text) TO cdp_admin;

CREATE FUNCTION cdp.screen(
    user_id text,
    name text DEFAULT NULL,
    properties jsonb DEFAULT '{}',
    category text DEFAULT NULL,
    anonymous_id text DEFAULT NULL,
    "timestamp" timestamptz DEFAULT NULL,
    context jsonb DEFAULT '{}',
    integrations jsonb DEFAULT '{}',
    message_id text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS cdp.receipt
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_screen';
COMMENT ON FUNCTION cdp.screen(text, text, jsonb, text, text, timestamptz, jsonb, jsonb, text, text) IS 'Records that somebody saw a screen: it counts as the event Screen Viewed';
REVOKE ALL ON FUNCTION cdp.screen(text, text, jsonb, text, text, timestamptz, jsonb, jsonb, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.screen(text, text, jsonb, text, text, timestamptz, jsonb, jsonb, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.screen(text, text, jsonb, text, text, timestamptz, jsonb, jsonb, text, text) TO cdp_admin;

CREATE FUNCTION cdp."group"(
    user_id text,
    group_id text,
    traits jsonb DEFAULT '{}',
    anonymous_id text DEFAULT NULL,
    "timestamp" timestamptz DEFAULT NULL,
    context jsonb DEFAULT '{}',
    integrations jsonb DEFAULT '{}',
    message_id text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS cdp.receipt
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_group';
COMMENT ON FUNCTION cdp."group"(text, text, jsonb, text, timestamptz, jsonb, jsonb, text, text) IS 'Says that somebody belongs to a group, with the traits of the group';
REVOKE ALL ON FUNCTION cdp."group"(text, text, jsonb, text, timestamptz, jsonb, jsonb, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp."group"(text, text, jsonb, text, timestamptz, jsonb, jsonb, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp."group"(text, text, jsonb, text, timestamptz, jsonb, jsonb, text, text) TO cdp_admin;

CREATE FUNCTION cdp.alias(
    user_id text,
    previous_id text,
    "timestamp" timestamptz DEFAULT NULL,
    context jsonb DEFAULT '{}',
    integrations jsonb DEFAULT '{}',
    message_id text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS cdp.receipt
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_alias';
COMMENT ON FUNCTION cdp.alias(text, text, timestamptz, jsonb, jsonb, text, text) IS 'Says that two ids are one person';
REVOKE ALL ON FUNCTION cdp.alias(text, text, timestamptz, jsonb, jsonb, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.alias(text, text, timestamptz, jsonb, jsonb, text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.alias(text, text, timestamptz, jsonb, jsonb, text, text) TO cdp_admin;

CREATE FUNCTION cdp.ingest(
    payload jsonb,
    namespace text DEFAULT NULL
) RETURNS SETOF cdp.receipt
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_ingest_jsonb';
COMMENT ON FUNCTION cdp.ingest(jsonb, text) IS 'Takes one message, an array of messages, or a batch as SDKs send it; a bad message goes to cdp.quarantine';
REVOKE ALL ON FUNCTION cdp.ingest(jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.ingest(jsonb, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.ingest(jsonb, text) TO cdp_admin;

CREATE FUNCTION cdp.ingest(
    payload text,
    namespace text DEFAULT NULL
) RETURNS SETOF cdp.receipt
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_ingest_text';
COMMENT ON FUNCTION cdp.ingest(text, text) IS 'Takes messages as JSON or NDJSON text: the fast path for clients';
REVOKE ALL ON FUNCTION cdp.ingest(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.ingest(text, text) TO cdp_writer;
GRANT EXECUTE ON FUNCTION cdp.ingest(text, text) TO cdp_admin;

CREATE FUNCTION cdp.requeue_quarantine(
    quarantine_ids bigint[],
    namespace text DEFAULT NULL
) RETURNS SETOF cdp.receipt
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_requeue_quarantine';
COMMENT ON FUNCTION cdp.requeue_quarantine(bigint[], text) IS 'Takes these quarantined messages again; those that still fail go back';
REVOKE ALL ON FUNCTION cdp.requeue_quarantine(bigint[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.requeue_quarantine(bigint[], text) TO cdp_admin;

-- The filter is SQL and runs with the caller's rights, so this function must not be SECURITY DEFINER.
CREATE FUNCTION cdp.requeue_quarantine(
    filter text DEFAULT NULL,
    "limit" integer DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS SETOF cdp.receipt
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    chosen bigint[];
BEGIN
    EXECUTE 'SELECT pg_catalog.array_agg(c.quarantine_id ORDER BY c.quarantine_id) FROM ('
        'SELECT q.quarantine_id FROM cdp.quarantine AS q'
        ' WHERE q.namespace OPERATOR(pg_catalog.=) $1'
        ' AND ' OPERATOR(pg_catalog.||) cdp.check_filter('cdp.quarantine', COALESCE(filter, 'true')) OPERATOR(pg_catalog.||) ' ORDER BY q.quarantine_id LIMIT $2) AS c'
        INTO chosen USING cdp.current_namespace(namespace), "limit";
    RETURN QUERY SELECT * FROM cdp.requeue_quarantine(COALESCE(chosen, '{}'::bigint[]), namespace);
END
$$;
COMMENT ON FUNCTION cdp.requeue_quarantine(text, integer, text) IS 'Takes quarantined messages again, oldest first: those that a SQL condition over cdp.quarantine chooses, or all; those that still fail go back';
REVOKE ALL ON FUNCTION cdp.requeue_quarantine(text, integer, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.requeue_quarantine(text, integer, text) TO cdp_admin;

CREATE VIEW cdp.inbox AS
    SELECT
        NULL::text AS type, NULL::text AS user_id, NULL::text AS anonymous_id, NULL::text AS event, NULL::text AS name, NULL::text AS category,
        NULL::jsonb AS properties, NULL::jsonb AS traits, NULL::jsonb AS context, NULL::jsonb AS integrations,
        NULL::text AS group_id, NULL::text AS previous_id, NULL::timestamptz AS "timestamp", NULL::timestamptz AS sent_at,
        NULL::text AS message_id, NULL::text AS namespace
    WHERE false;
ALTER VIEW cdp.inbox ALTER COLUMN type SET DEFAULT 'track';
COMMENT ON VIEW cdp.inbox IS 'INSERT or COPY messages into it: they go through the same pipeline as calls; bad ones go to cdp.quarantine';

CREATE FUNCTION _cdp.inbox_row() RETURNS trigger
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_inbox_row';
COMMENT ON FUNCTION _cdp.inbox_row() IS 'Gathers a row of cdp.inbox';
REVOKE ALL ON FUNCTION _cdp.inbox_row() FROM PUBLIC;

CREATE FUNCTION _cdp.inbox_end() RETURNS trigger
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_inbox_end';
COMMENT ON FUNCTION _cdp.inbox_end() IS 'Sends the rows gathered from cdp.inbox through the pipeline';
REVOKE ALL ON FUNCTION _cdp.inbox_end() FROM PUBLIC;

CREATE TRIGGER inbox_row INSTEAD OF INSERT ON cdp.inbox FOR EACH ROW EXECUTE FUNCTION _cdp.inbox_row();
CREATE TRIGGER inbox_end AFTER INSERT ON cdp.inbox FOR EACH STATEMENT EXECUTE FUNCTION _cdp.inbox_end();
GRANT INSERT ON cdp.inbox TO cdp_writer, cdp_admin;
