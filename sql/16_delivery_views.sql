-- What a user sees of destinations, routes and deliveries. Secrets are never shown: a reference says where one
-- is, "sealed" that one is here.
SET LOCAL search_path = pg_catalog, pg_temp;

-- Upper bound in milliseconds of the bucket of a histogram below which the given share of its entries lies.
CREATE FUNCTION _cdp.percentile(histogram bigint[], share double precision) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT (2::bigint OPERATOR(pg_catalog.^) (pg_catalog.min(b.bucket) OPERATOR(pg_catalog.-) 1))::bigint
    FROM (SELECT h.bucket, pg_catalog.sum(h.entries) OVER (ORDER BY h.bucket) AS below, pg_catalog.sum(h.entries) OVER () AS entries
          FROM pg_catalog.unnest(histogram) WITH ORDINALITY AS h(entries, bucket)) AS b
    WHERE b.entries OPERATOR(pg_catalog.>) 0
      AND b.below::double precision OPERATOR(pg_catalog.>=) (b.entries::double precision OPERATOR(pg_catalog.*) share)
    $$;
COMMENT ON FUNCTION _cdp.percentile(bigint[], double precision) IS 'Percentile of a histogram with buckets of 1, 2, 4, … milliseconds';

CREATE FUNCTION _cdp.masked_secrets(secrets jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT COALESCE(pg_catalog.jsonb_object_agg(s.name, CASE
        WHEN pg_catalog.starts_with(s.value, 'env:') OR pg_catalog.starts_with(s.value, 'file:') THEN s.value
        ELSE 'sealed' END), '{}'::jsonb)
    FROM pg_catalog.jsonb_each_text(secrets) AS s(name, value)
    $$;
COMMENT ON FUNCTION _cdp.masked_secrets(jsonb) IS 'Secrets as they may be shown: references, and "sealed" for sealed ones';

CREATE FUNCTION _cdp.masked_config(config jsonb) RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT COALESCE(pg_catalog.jsonb_object_agg(c.name, CASE
        WHEN c.name OPERATOR(pg_catalog.=) 'headers' AND pg_catalog.jsonb_typeof(c.value) OPERATOR(pg_catalog.=) 'object' THEN (
            SELECT COALESCE(pg_catalog.jsonb_object_agg(h.name, CASE
                WHEN h.name OPERATOR(pg_catalog.~*) 'auth|cookie|token|secret|password|credential|key' AND NOT h.name OPERATOR(pg_catalog.~*) 'idempotency' THEN '"***"'::jsonb
                ELSE h.value END), '{}'::jsonb)
            FROM pg_catalog.jsonb_each(c.value) AS h(name, value))
        WHEN c.value OPERATOR(pg_catalog.#>>) '{}' OPERATOR(pg_catalog.~*) '^https?://' THEN
            -- A template is no credential.
            pg_catalog.to_jsonb(pg_catalog.regexp_replace(c.value OPERATOR(pg_catalog.#>>) '{}', '([?&][^=&#]*)=(?![{][{])[^&#]*', '\1=***', 'g'))
        ELSE c.value END), '{}'::jsonb)
    FROM pg_catalog.jsonb_each(config) AS c(name, value)
    $$;
COMMENT ON FUNCTION _cdp.masked_config(jsonb) IS 'A configuration as those may see it who may not change it: headers that look like credentials, and what stands in the query of a URL, are masked';

CREATE VIEW cdp.destinations AS
    SELECT n.name AS namespace, d.key, d.kind,
        CASE WHEN pg_catalog.pg_has_role(CURRENT_USER, 'cdp_admin', 'USAGE') THEN d.config ELSE _cdp.masked_config(d.config) END AS config, _cdp.masked_secrets(d.secrets) AS secrets, d.enabled,
        d.paused_at, d.paused_reason,
        COALESCE(s.delivered, 0) AS delivered, COALESCE(s.discarded, 0) AS discarded, COALESCE(s.retried, 0) AS retried,
        COALESCE(s.rejected, 0) AS rejected, COALESCE(s.repeated, 0) AS repeated,
        _cdp.percentile(s.latency, 0.5) AS latency_p50_ms, _cdp.percentile(s.latency, 0.95) AS latency_p95_ms,
        _cdp.percentile(s.latency, 0.99) AS latency_p99_ms,
        _cdp.percentile(s.lag, 0.5) AS lag_p50_ms, _cdp.percentile(s.lag, 0.95) AS lag_p95_ms,
        _cdp.percentile(s.lag, 0.99) AS lag_p99_ms,
        s.last_delivered_at, s.last_error, s.last_error_at, d.created_at, d.updated_at
    FROM _cdp.destinations AS d
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) d.namespace_id
    LEFT JOIN _cdp.destination_statistics AS s ON s.destination_id OPERATOR(pg_catalog.=) d.destination_id;
COMMENT ON VIEW cdp.destinations IS 'Outside systems, how they are doing, and what became of their messages';
COMMENT ON COLUMN cdp.destinations.latency_p50_ms IS 'Half of the requests took no longer, rounded up to a power of two';
COMMENT ON COLUMN cdp.destinations.lag_p50_ms IS 'Half of the messages arrived no later after they were made, rounded up to a power of two';
COMMENT ON COLUMN cdp.destinations.repeated IS 'Messages sent again although they may have arrived, because a worker was killed';

CREATE VIEW cdp.routes AS
    SELECT n.name AS namespace, d.key AS destination, r.events, r.filter, r.mapping, r.transform, r.consent, r.owner, r.created_at, r.updated_at
    FROM _cdp.routes AS r
    JOIN _cdp.destinations AS d ON d.destination_id OPERATOR(pg_catalog.=) r.destination_id
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) r.namespace_id
    WHERE r.dropped_at IS NULL;
COMMENT ON VIEW cdp.routes IS 'Which events and changes go to which destination';

-- The parts of a message are read one by one, so that counting deliveries reads none of them.
CREATE VIEW cdp.deliveries AS
    SELECT w.outbox_id AS delivery_id, n.name AS namespace, d.key AS destination, w.profile_id,
        (SELECT o.kind FROM _cdp.outbox AS o WHERE o.outbox_id OPERATOR(pg_catalog.=) w.outbox_id
            AND o.created_at OPERATOR(pg_catalog.=) w.created_at) AS kind,
        (SELECT o.message_id FROM _cdp.outbox AS o WHERE o.outbox_id OPERATOR(pg_catalog.=) w.outbox_id
            AND o.created_at OPERATOR(pg_catalog.=) w.created_at) AS message_id,
        (SELECT o.payload FROM _cdp.outbox AS o WHERE o.outbox_id OPERATOR(pg_catalog.=) w.outbox_id
            AND o.created_at OPERATOR(pg_catalog.=) w.created_at) AS payload,
        CASE
            WHEN NOT d.enabled THEN 'disabled'
            WHEN d.paused_at IS NOT NULL THEN 'paused'
            WHEN EXISTS (SELECT FROM _cdp.leases AS l
                         WHERE l.destination_id OPERATOR(pg_catalog.=) w.destination_id
                           AND w.outbox_id OPERATOR(pg_catalog.=) ANY (l.outbox_ids)) THEN 'sending'
            WHEN w.is_behind THEN 'behind another'
            WHEN w.next_attempt_at IS NOT NULL THEN 'waiting to retry'
            ELSE 'waiting' END AS status,
        w.attempts, w.next_attempt_at, w.last_error,
        (SELECT o.replay FROM _cdp.outbox AS o WHERE o.outbox_id OPERATOR(pg_catalog.=) w.outbox_id
            AND o.created_at OPERATOR(pg_catalog.=) w.created_at) AS replay,
        w.created_at
    FROM (SELECT q.outbox_id, q.created_at, q.profile_id, q.namespace_id, q.destination_id, 0 AS attempts,
              NULL::timestamptz AS next_attempt_at, NULL::text AS last_error, false AS is_behind
          FROM _cdp.deliveries AS q
          UNION ALL
          SELECT r.outbox_id, r.created_at, r.profile_id, r.namespace_id, r.destination_id, r.attempts,
              r.next_attempt_at, r.last_error, r.next_attempt_at IS NULL
          FROM _cdp.retries AS r) AS w
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) w.namespace_id
    JOIN _cdp.destinations AS d ON d.destination_id OPERATOR(pg_catalog.=) w.destination_id;
COMMENT ON VIEW cdp.deliveries IS 'Messages that are not delivered yet, and what they wait for';

CREATE VIEW cdp.dead_letters AS
    SELECT l.outbox_id AS delivery_id, n.name AS namespace, d.key AS destination, l.profile_id, l.kind, l.message_id, l.payload,
        l.reason, l.attempts, l.request, l.status, l.response, l.replay, l.created_at, l.failed_at
    FROM _cdp.dead_letters AS l
    JOIN _cdp.namespace_names AS n ON n.namespace_id OPERATOR(pg_catalog.=) l.namespace_id
    LEFT JOIN _cdp.destinations AS d ON d.destination_id OPERATOR(pg_catalog.=) l.destination_id;
COMMENT ON VIEW cdp.dead_letters IS 'Messages that could not be delivered, with the request, the answer and the reason';

REVOKE ALL ON FUNCTION _cdp.percentile(bigint[], double precision), _cdp.masked_secrets(jsonb), _cdp.masked_config(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _cdp.percentile(bigint[], double precision), _cdp.masked_secrets(jsonb), _cdp.masked_config(jsonb) TO cdp_reader;
GRANT SELECT ON cdp.destinations, cdp.routes, cdp.deliveries, cdp.dead_letters TO cdp_reader;
