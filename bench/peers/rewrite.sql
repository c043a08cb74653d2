-- The competent rewrite: one grouped query over the person's events of thirty days, one upsert for each table. It is
-- spared first, last and all-time sums, which would need all of the person's history.
CREATE FUNCTION peer.rewrite(who text, what text, properties jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    person bigint;
    moment timestamptz := clock_timestamp();
BEGIN
    SELECT person_id INTO person FROM peer.people WHERE user_id = who;
    IF person IS NULL THEN
        INSERT INTO peer.people (user_id) VALUES (who) ON CONFLICT (user_id) DO UPDATE SET user_id = EXCLUDED.user_id RETURNING person_id INTO person;
    END IF;
    INSERT INTO peer.events (person_id, event, at, properties) VALUES (person, what, moment, properties);
    WITH counted AS MATERIALIZED (
        SELECT event, count(*) FILTER (WHERE at >= moment - interval '7 days') AS week, count(*) AS month,
               count(DISTINCT at::date) FILTER (WHERE at >= moment - interval '14 days') AS days_14
        FROM peer.events WHERE person_id = person AND at >= moment - interval '30 days' GROUP BY event
    ), written AS (
        INSERT INTO peer.traits AS t (person_id, key, value, updated_at)
        SELECT person, event || suffix, value, moment
        FROM counted, LATERAL (VALUES ('_7', to_jsonb(week)), ('_30', to_jsonb(month)), ('_days_14', to_jsonb(days_14))) AS v (suffix, value)
        ON CONFLICT (person_id, key) DO UPDATE SET value = EXCLUDED.value, updated_at = EXCLUDED.updated_at WHERE t.value IS DISTINCT FROM EXCLUDED.value
    )
    INSERT INTO peer.segments AS s (person_id, key, is_member, updated_at)
    SELECT person, 'segment_' || n, peer.in_segment(n, coalesce((SELECT week FROM counted WHERE event = 'view'), 0),
                                                    coalesce((SELECT month FROM counted WHERE event = 'order'), 0), moment), moment
    FROM generate_series(1, 10) AS n
    ON CONFLICT (person_id, key) DO UPDATE SET is_member = EXCLUDED.is_member, updated_at = EXCLUDED.updated_at WHERE s.is_member <> EXCLUDED.is_member;
END
$$;
