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

CREATE FUNCTION cdp.drop_namespace(
    name text,
    everything boolean DEFAULT false
) RETURNS void
    LANGUAGE c VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_drop_namespace';
COMMENT ON FUNCTION cdp.drop_namespace(text, boolean) IS 'Drops a namespace; refused while anything is in it, unless everything is to be deleted with it';
REVOKE ALL ON FUNCTION cdp.drop_namespace(text, boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.drop_namespace(text, boolean) TO cdp_admin;

CREATE FUNCTION cdp.namespace_statistics(
    namespace text DEFAULT NULL
) RETURNS TABLE (people bigint, events bigint, traits bigint, segments bigint, destinations bigint,
    deliveries_waiting bigint, delivered bigint, dead_letters bigint, storage_bytes bigint)
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_namespace_statistics';
COMMENT ON FUNCTION cdp.namespace_statistics(text) IS 'How much is in a namespace; storage is its share of tables and indexes, by its share of their rows';
REVOKE ALL ON FUNCTION cdp.namespace_statistics(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.namespace_statistics(text) TO cdp_reader, cdp_writer, cdp_admin;

CREATE FUNCTION cdp.route_namespace(
    campaign_name text
) RETURNS text
    LANGUAGE c STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'cdp_route_namespace';
COMMENT ON FUNCTION cdp.route_namespace(text) IS 'The namespace whose longest keyword is in the name of a campaign, as words of its own; else default';
REVOKE ALL ON FUNCTION cdp.route_namespace(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.route_namespace(text) TO cdp_reader, cdp_writer, cdp_admin;

-- The view is made with the caller's rights, in the schema in which the caller's objects are made.
CREATE FUNCTION cdp.create_compat_views(
    namespace text DEFAULT NULL,
    schema text DEFAULT pg_catalog.current_schema()
) RETURNS SETOF text
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    chosen CONSTANT text := cdp.current_namespace(namespace);
    view_name text;
    has_scores CONSTANT boolean := pg_catalog.to_regprocedure('cdp.score(text, text, text)') IS NOT NULL;
BEGIN
    IF schema IS NULL THEN
        RAISE EXCEPTION 'there is no schema to make the view in' USING ERRCODE = 'invalid_schema_name', HINT = 'Name one: schema => ''public''.';
    END IF;
    FOREACH view_name IN ARRAY CASE chosen WHEN 'default' THEN ARRAY['default_user_source', 'playmaker_user_source']
        ELSE ARRAY[pg_catalog.regexp_replace(pg_catalog.lower(chosen), '[^a-z0-9_]+', '_', 'g') OPERATOR(pg_catalog.||) '_user_source'] END
    LOOP
        EXECUTE pg_catalog.format(
            'CREATE OR REPLACE VIEW %1$I.%2$I AS
             SELECT p.profile_id AS id, COALESCE(p.traits OPERATOR(pg_catalog.->>) ''email'',
                    (SELECT pg_catalog.min(i.value) FROM cdp.identifiers AS i
                     WHERE i.namespace OPERATOR(pg_catalog.=) %3$L AND i.profile_id OPERATOR(pg_catalog.=) p.profile_id
                       AND i.kind OPERATOR(pg_catalog.=) ''email'')) AS email,
                 COALESCE(p.traits OPERATOR(pg_catalog.->>) ''first_name'', p.traits OPERATOR(pg_catalog.->>) ''firstName'') AS first_name,
                 COALESCE(p.traits OPERATOR(pg_catalog.->>) ''last_name'', p.traits OPERATOR(pg_catalog.->>) ''lastName'') AS last_name,
                 p.traits OPERATOR(pg_catalog.->>) ''company'' AS company,
                 COALESCE(p.traits OPERATOR(pg_catalog.->>) ''linkedin_url'', p.traits OPERATOR(pg_catalog.->>) ''linkedinUrl'') AS linkedin_url,
                 p.traits, %4$s, p.event_count, p.first_seen, p.last_seen, p.created_at
             FROM cdp.people AS p %5$s WHERE p.namespace OPERATOR(pg_catalog.=) %3$L',
            schema, view_name, chosen,
            CASE WHEN has_scores THEN 's.icp AS icp_score, s.behavior AS behaviour_score, s.total AS lead_score, s.grade AS icp, s.meta AS scoring_meta'
                ELSE 'NULL::numeric AS icp_score, NULL::numeric AS behaviour_score, NULL::numeric AS lead_score, NULL::text AS icp, NULL::jsonb AS scoring_meta' END,
            CASE WHEN has_scores THEN pg_catalog.format('LEFT JOIN LATERAL cdp.score(p.profile_id::text, ''lead'', %L) AS s ON true', chosen) ELSE '' END);
        EXECUTE pg_catalog.format('COMMENT ON VIEW %I.%I IS %L', schema, view_name, 'People of the namespace ' OPERATOR(pg_catalog.||) chosen);
        view_name := pg_catalog.format('%I.%I', schema, view_name);
        RETURN NEXT view_name;
    END LOOP;
END
$$;
COMMENT ON FUNCTION cdp.create_compat_views(text, text) IS 'Makes the view <namespace>_user_source of a namespace''s people, with their scores; returns the names of the views';
REVOKE ALL ON FUNCTION cdp.create_compat_views(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.create_compat_views(text, text) TO cdp_reader, cdp_writer, cdp_admin;

CREATE TABLE _cdp.usage (
    namespace_id integer NOT NULL,
    day date NOT NULL,
    events bigint NOT NULL DEFAULT 0,
    active_people bigint NOT NULL DEFAULT 0,
    deliveries bigint NOT NULL DEFAULT 0,
    decisions bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (namespace_id, day)
);
COMMENT ON TABLE _cdp.usage IS 'What each namespace used on days that are over; of the day that is not, the decisions alone';

CREATE TABLE _cdp.usage_days (
    day date NOT NULL,
    PRIMARY KEY (day)
);
COMMENT ON TABLE _cdp.usage_days IS 'Days of UTC whose usage was counted';

CREATE VIEW cdp.usage AS
    WITH open AS (
        SELECT COALESCE((pg_catalog.max(d.day) OPERATOR(pg_catalog.+) 1)::timestamp AT TIME ZONE 'UTC', '-infinity'::timestamptz) AS since
        FROM _cdp.usage_days AS d)
    SELECT n.name AS namespace, u.day, pg_catalog.sum(u.events)::bigint AS events, pg_catalog.sum(u.active_people)::bigint AS active_people,
        pg_catalog.sum(u.deliveries)::bigint AS deliveries, pg_catalog.sum(u.decisions)::bigint AS decisions
    FROM (SELECT s.namespace_id, s.day, s.events, s.active_people, s.deliveries, s.decisions FROM _cdp.usage AS s
          UNION ALL
          SELECT m.namespace_id, (m.received_at AT TIME ZONE 'UTC')::date, pg_catalog.count(*), 0, 0, 0 FROM _cdp.message_ids AS m
          WHERE m.received_at OPERATOR(pg_catalog.>=) (SELECT o.since FROM open AS o)
          GROUP BY m.namespace_id, (m.received_at AT TIME ZONE 'UTC')::date
          UNION ALL
          SELECT e.namespace_id, (e.ts AT TIME ZONE 'UTC')::date, 0, pg_catalog.count(DISTINCT COALESCE(p.merged_into, e.profile_id)), 0, 0
          FROM _cdp.events AS e LEFT JOIN _cdp.profiles AS p ON p.profile_id OPERATOR(pg_catalog.=) e.profile_id
          WHERE e.ts OPERATOR(pg_catalog.>=) GREATEST((SELECT o.since FROM open AS o), pg_catalog.now() OPERATOR(pg_catalog.-) '31 days'::interval)
          GROUP BY e.namespace_id, (e.ts AT TIME ZONE 'UTC')::date
          UNION ALL
          SELECT b.namespace_id, (b.created_at AT TIME ZONE 'UTC')::date, 0, 0, pg_catalog.count(*), 0 FROM _cdp.outbox AS b
          WHERE b.created_at OPERATOR(pg_catalog.>=) (SELECT o.since FROM open AS o)
          GROUP BY b.namespace_id, (b.created_at AT TIME ZONE 'UTC')::date) AS u
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) u.namespace_id
    GROUP BY n.name, u.day;
COMMENT ON VIEW cdp.usage IS 'What each namespace used on each day of UTC: messages taken, people who did something, messages made for destinations, decisions';
GRANT SELECT ON cdp.usage TO cdp_reader, cdp_writer, cdp_admin;

-- Runs with the caller's rights: who may read there and send here. Message ids stay, so that a second time copies nothing.
CREATE FUNCTION cdp.copy_people(
    ids text[],
    target text,
    namespace text DEFAULT NULL
) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    source CONSTANT text := cdp.current_namespace(namespace);
    destination CONSTANT text := cdp.current_namespace(target);
    people bigint[];
    batch jsonb;
    copied bigint := 0;
BEGIN
    IF target IS NULL OR source OPERATOR(pg_catalog.=) destination THEN
        RAISE EXCEPTION 'people cannot be copied to the namespace they are in' USING ERRCODE = 'invalid_parameter_value', HINT = 'Name another one: target => ''…''.';
    END IF;
    SELECT pg_catalog.array_agg(DISTINCT cdp.resolve(i.id, namespace => source)) INTO people FROM pg_catalog.unnest(ids) AS i(id);
    FOR batch IN
        SELECT pg_catalog.jsonb_agg(m.message ORDER BY m.place)
        FROM (SELECT e.event_id, (pg_catalog.row_number() OVER (ORDER BY e."timestamp", e.event_id)) AS place,
                  (SELECT pg_catalog.jsonb_object_agg(f.key, f.value)
                   FROM pg_catalog.jsonb_each(pg_catalog.to_jsonb(e)) AS f(key, value)
                   WHERE f.value OPERATOR(pg_catalog.<>) 'null'::jsonb
                     AND (f.key OPERATOR(pg_catalog.=) ANY (ARRAY['type', 'user_id', 'anonymous_id', 'previous_id', 'group_id', 'name', 'category',
                              'properties', 'traits', 'context', 'integrations', 'timestamp', 'message_id'])
                          OR f.key OPERATOR(pg_catalog.=) 'event' AND e.type OPERATOR(pg_catalog.=) 'track')) AS message
              FROM cdp.events AS e
              WHERE e.namespace OPERATOR(pg_catalog.=) source AND e.profile_id OPERATOR(pg_catalog.=) ANY (people)) AS m
        GROUP BY m.place OPERATOR(pg_catalog./) 1000 ORDER BY m.place OPERATOR(pg_catalog./) 1000
    LOOP
        copied := copied OPERATOR(pg_catalog.+) (
            SELECT pg_catalog.count(*) FROM cdp.ingest(batch, destination) AS r WHERE r.status OPERATOR(pg_catalog.=) 'accepted');
    END LOOP;
    RETURN copied;
END
$$;
COMMENT ON FUNCTION cdp.copy_people(text[], text, text) IS 'Sends all messages of people to another namespace, where they count as if they had come there; returns how many were new';
REVOKE ALL ON FUNCTION cdp.copy_people(text[], text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION cdp.copy_people(text[], text, text) TO cdp_admin;
