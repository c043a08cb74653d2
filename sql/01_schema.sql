-- Schemas, roles and the types that functions return.
SET LOCAL search_path = pg_catalog, pg_temp;

DO $$
BEGIN
    IF pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.<>) 'UTF8' THEN
        RAISE EXCEPTION 'cdp needs a database with encoding UTF8, and this one has %', pg_catalog.getdatabaseencoding()
            USING ERRCODE = 'feature_not_supported',
                  HINT = 'Make one with CREATE DATABASE … ENCODING ''UTF8'' TEMPLATE template0.';
    END IF;
END
$$;

CREATE SCHEMA _cdp;
COMMENT ON SCHEMA cdp IS 'Customer Data Platform: everything a user calls or reads';
COMMENT ON SCHEMA _cdp IS 'Customer Data Platform: tables and private functions; use schema cdp';

-- Roles belong to the cluster, not to a database: another one may have made them already.
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['cdp_reader', 'cdp_writer', 'cdp_admin'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname OPERATOR(pg_catalog.=) role_name::pg_catalog.name) THEN
            BEGIN
                EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', role_name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                -- Made by the same statement in another database at the same moment.
                NULL;
            END;
        END IF;
    END LOOP;
END
$$;

CREATE TYPE cdp.receipt AS (
    message_id text,
    profile_id bigint,
    status text,
    reason text
);
COMMENT ON TYPE cdp.receipt IS 'What became of a message: accepted, duplicate, dropped, suppressed or quarantined, and why';

CREATE TYPE cdp.decision AS (
    allow boolean,
    variant text,
    value jsonb,
    reason text,
    reasons text[]
);
COMMENT ON TYPE cdp.decision IS 'The answer of a flag for one person, with the reasons that led to it';

CREATE FUNCTION cdp.now() RETURNS timestamptz
    LANGUAGE c STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_now';
COMMENT ON FUNCTION cdp.now() IS 'The instant every answer refers to: the real time, or the fixed time of the setting cdp.clock';

CREATE FUNCTION cdp.version() RETURNS text
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_version';
COMMENT ON FUNCTION cdp.version() IS 'Version of the installed library';
