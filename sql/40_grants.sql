-- Who may see the schemas. Nothing else is granted to PUBLIC.
SET LOCAL search_path = pg_catalog, pg_temp;

GRANT USAGE ON SCHEMA cdp TO cdp_reader, cdp_writer, cdp_admin;
GRANT cdp_reader TO cdp_writer;
GRANT cdp_writer TO cdp_admin;
REVOKE ALL ON FUNCTION cdp.version() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.version() TO cdp_reader;
REVOKE ALL ON FUNCTION cdp.now() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.now() TO cdp_reader;
REVOKE ALL ON FUNCTION _cdp.create_event_partition(timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION _cdp.create_outbox_partition(timestamptz) FROM PUBLIC;
REVOKE ALL ON FUNCTION _cdp.drop_outbox_partitions(timestamptz, bigint) FROM PUBLIC;
