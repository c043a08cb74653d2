-- Application tables whose rows become messages.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE SEQUENCE _cdp.attachment_id_seq AS integer;
CREATE TABLE _cdp.attachments (
    attachment_id integer NOT NULL DEFAULT pg_catalog.nextval('_cdp.attachment_id_seq'::pg_catalog.regclass),
    namespace_id integer NOT NULL,
    event text,
    user_id text,
    anonymous_id text,
    "timestamp" text,
    properties text[],
    traits text[],
    message_id text,
    filter text,
    "on" text[] NOT NULL,
    row_key text,
    track text,
    identify text,
    condition text NOT NULL,
    attached_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (attachment_id)
);
ALTER SEQUENCE _cdp.attachment_id_seq OWNED BY _cdp.attachments.attachment_id;
COMMENT ON TABLE _cdp.attachments IS 'What becomes of the rows of application tables; which tables these are, their triggers tell, which name the attachment';
COMMENT ON COLUMN _cdp.attachments.row_key IS 'SQL over a row: what it is known by when it changes; null: the table has no primary key';
COMMENT ON COLUMN _cdp.attachments.track IS 'SQL over a row: its track message in JSON; null: it makes none';
COMMENT ON COLUMN _cdp.attachments.identify IS 'SQL over a row: its identify message in JSON; null: it makes none';
COMMENT ON COLUMN _cdp.attachments.condition IS 'SQL over a row: whether it makes messages';

CREATE FUNCTION _cdp.attached_insert() RETURNS trigger
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_attached_insert';
COMMENT ON FUNCTION _cdp.attached_insert() IS 'Sends the rows that a statement inserted into an attached table through the pipeline';
REVOKE ALL ON FUNCTION _cdp.attached_insert() FROM PUBLIC;

CREATE FUNCTION _cdp.attached_update() RETURNS trigger
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_attached_update';
COMMENT ON FUNCTION _cdp.attached_update() IS 'Sends the rows of an attached table whose message a statement changed through the pipeline';
REVOKE ALL ON FUNCTION _cdp.attached_update() FROM PUBLIC;

CREATE VIEW _cdp.attachment_triggers AS
    SELECT t.tgrelid::pg_catalog.regclass AS source, t.tgname::pg_catalog.text AS name,
        pg_catalog.split_part(pg_catalog.encode(t.tgargs, 'escape'), E'\\000', 1)::pg_catalog.int4 AS attachment_id
    FROM pg_catalog.pg_trigger AS t
    WHERE t.tgfoid IN ('_cdp.attached_insert()'::pg_catalog.regprocedure, '_cdp.attached_update()'::pg_catalog.regprocedure);
COMMENT ON VIEW _cdp.attachment_triggers IS 'The triggers of attached tables';

CREATE VIEW cdp.attachments AS
    SELECT n.name AS namespace, t.source, a.event, a.user_id, a.anonymous_id, a."timestamp",
        a.properties, a.traits, a.message_id, a.filter, a."on", a.attached_at
    FROM _cdp.attachments AS a
        JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) a.namespace_id
        JOIN (SELECT DISTINCT source, attachment_id FROM _cdp.attachment_triggers) AS t
            ON t.attachment_id OPERATOR(pg_catalog.=) a.attachment_id;
COMMENT ON VIEW cdp.attachments IS 'Application tables whose rows become messages';
GRANT SELECT ON cdp.attachments TO cdp_reader, cdp_writer, cdp_admin;

CREATE FUNCTION cdp.attach(
    source regclass,
    event text,
    user_id text,
    "timestamp" text DEFAULT NULL,
    properties text[] DEFAULT NULL,
    traits text[] DEFAULT NULL,
    message_id text DEFAULT NULL,
    filter text DEFAULT NULL,
    backfill boolean DEFAULT false,
    namespace text DEFAULT NULL,
    anonymous_id text DEFAULT NULL,
    "on" text[] DEFAULT '{insert}'
) RETURNS cdp.attachments
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_attach';
COMMENT ON FUNCTION cdp.attach(regclass, text, text, text, text[], text[], text, text, boolean, text, text, text[]) IS 'Makes the rows that are inserted into a table, and on request those changed, track messages or, with traits, identify messages; the arguments are columns or SQL over a row';
REVOKE ALL ON FUNCTION cdp.attach(regclass, text, text, text, text[], text[], text, text, boolean, text, text, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.attach(regclass, text, text, text, text[], text[], text, text, boolean, text, text, text[]) TO cdp_admin;

CREATE FUNCTION cdp.detach(
    source regclass,
    event text DEFAULT NULL,
    namespace text DEFAULT NULL
) RETURNS integer
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_detach';
COMMENT ON FUNCTION cdp.detach(regclass, text, text) IS 'Ends what cdp.attach began, for one event or for all of a table; returns how many attachments ended';
REVOKE ALL ON FUNCTION cdp.detach(regclass, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.detach(regclass, text, text) TO cdp_admin;
