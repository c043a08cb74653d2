-- Namespaces: one customer base each, in one database. Namespace 1 is "default" and needs no row.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE SEQUENCE _cdp.namespace_id_seq AS integer START 2;
CREATE TABLE _cdp.namespaces (
    namespace_id integer NOT NULL DEFAULT pg_catalog.nextval('_cdp.namespace_id_seq'::pg_catalog.regclass),
    name text NOT NULL,
    keywords text[] NOT NULL DEFAULT '{}',
    timezone text NOT NULL DEFAULT 'UTC',
    settings jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (namespace_id),
    UNIQUE (name)
);
ALTER SEQUENCE _cdp.namespace_id_seq OWNED BY _cdp.namespaces.namespace_id;
COMMENT ON TABLE _cdp.namespaces IS 'Namespaces; "default" has id 1 and a row only once it was configured';

CREATE SEQUENCE _cdp.event_name_id_seq AS integer;
CREATE TABLE _cdp.event_names (
    event_name_id integer NOT NULL DEFAULT pg_catalog.nextval('_cdp.event_name_id_seq'::pg_catalog.regclass),
    name text NOT NULL,
    PRIMARY KEY (event_name_id),
    UNIQUE (name)
);
ALTER SEQUENCE _cdp.event_name_id_seq OWNED BY _cdp.event_names.event_name_id;
COMMENT ON TABLE _cdp.event_names IS 'Dictionary of event names, so that hot tables carry an integer';

CREATE TABLE _cdp.namespace_event_names (
    namespace_id integer NOT NULL,
    event_name_id integer NOT NULL,
    PRIMARY KEY (namespace_id, event_name_id)
);
COMMENT ON TABLE _cdp.namespace_event_names IS 'Which events were seen in which namespace, so that one learns nothing of another''s';
