-- Row security (docs/decisions/0020-row-security.md): the views belong to a role that may read every table, but
-- only rows of the namespaces that the session may use. Tables and views of all other files are covered: this one
-- comes after them.
SET LOCAL search_path = pg_catalog, pg_temp;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) 'cdp_view_owner'::pg_catalog.name) THEN
        BEGIN
            CREATE ROLE cdp_view_owner NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            -- Made by the same statement in another database at the same moment.
            NULL;
        END;
    END IF;
END
$$;

DO $$
DECLARE
    relation regclass;
BEGIN
    -- Every table that says whose its rows are.
    FOR relation IN
        SELECT c.oid::regclass FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS s ON s.oid OPERATOR(pg_catalog.=) c.relnamespace
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) c.oid
        WHERE s.nspname::text OPERATOR(pg_catalog.=) '_cdp' AND a.attname::text OPERATOR(pg_catalog.=) 'namespace_id'
          AND c.relkind::text OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p']) AND NOT c.relispartition
        ORDER BY c.relname
    LOOP
        EXECUTE pg_catalog.format('CREATE POLICY namespaces ON %s FOR SELECT TO cdp_view_owner USING '
            '(COALESCE(namespace_id OPERATOR(pg_catalog.=) ANY ((SELECT _cdp.bound_namespaces())::integer[]), true))', relation);
        EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', relation);
    END LOOP;
END
$$;

DO $$
DECLARE
    relation regclass;
BEGIN
    FOR relation IN
        SELECT c.oid::regclass FROM pg_catalog.pg_class AS c
        JOIN pg_catalog.pg_namespace AS s ON s.oid OPERATOR(pg_catalog.=) c.relnamespace
        WHERE s.nspname::text OPERATOR(pg_catalog.=) ANY (ARRAY['cdp', '_cdp'])
          AND c.relkind::text OPERATOR(pg_catalog.=) ANY (ARRAY['v', 'r', 'p', 'm'])
        ORDER BY c.relkind::text, c.relname
    LOOP
        IF (SELECT c.relkind::text OPERATOR(pg_catalog.=) 'v' FROM pg_catalog.pg_class AS c WHERE c.oid OPERATOR(pg_catalog.=) relation::oid) THEN
            EXECUTE pg_catalog.format('ALTER VIEW %s OWNER TO cdp_view_owner', relation);
        END IF;
        -- Also where it owns the view: the last GRANT is what pg_dump takes for the extension's own.
        EXECUTE pg_catalog.format('GRANT SELECT ON %s TO cdp_view_owner', relation);
    END LOOP;
END
$$;
