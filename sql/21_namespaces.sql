-- Which roles may use which namespaces.
SET LOCAL search_path = pg_catalog, pg_temp;

-- regrole: a role that is renamed stays bound, and a dump says its name.
CREATE TABLE _cdp.role_bindings (
    role regrole NOT NULL,
    namespace_id integer NOT NULL,
    bound_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (role)
);
COMMENT ON TABLE _cdp.role_bindings IS 'Roles that see and write one namespace only';

CREATE VIEW cdp.role_bindings AS
    SELECT r.rolname::text AS role, n.name AS namespace, b.bound_at
    FROM _cdp.role_bindings AS b
    JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) b.role::oid
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) b.namespace_id;
COMMENT ON VIEW cdp.role_bindings IS 'Roles that see and write one namespace only';
GRANT SELECT ON cdp.role_bindings TO cdp_reader, cdp_writer, cdp_admin;

CREATE FUNCTION cdp.bind_role(
    role text,
    namespace text
) RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_bind_role';
COMMENT ON FUNCTION cdp.bind_role(text, text) IS 'Binds a role, and those that inherit from it, to a namespace: they see and write that one only';
REVOKE ALL ON FUNCTION cdp.bind_role(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.bind_role(text, text) TO cdp_admin;

CREATE FUNCTION cdp.unbind_role(
    role text
) RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_unbind_role';
COMMENT ON FUNCTION cdp.unbind_role(text) IS 'Lets a role use all namespaces again';
REVOKE ALL ON FUNCTION cdp.unbind_role(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.unbind_role(text) TO cdp_admin;

