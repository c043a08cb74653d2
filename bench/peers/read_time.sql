-- No engine at all: events are inserted, and whoever asks computes. And the usual step after that: a materialised view
-- that a job refreshes every minute.
CREATE FUNCTION peer.segment_at_read(who text, n int) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT peer.in_segment(n, count(*) FILTER (WHERE event = 'view' AND at >= now() - interval '7 days'),
                           count(*) FILTER (WHERE event = 'order'), max(at))
    FROM peer.events
    WHERE person_id = (SELECT person_id FROM peer.people WHERE user_id = who) AND at >= now() - interval '30 days'
$$;
CREATE MATERIALIZED VIEW peer.refreshed AS
    SELECT person_id, event, count(*) FILTER (WHERE at >= now() - interval '7 days') AS week, count(*) AS month,
           count(DISTINCT at::date) FILTER (WHERE at >= now() - interval '14 days') AS days_14
    FROM peer.events WHERE at >= now() - interval '30 days' GROUP BY person_id, event WITH NO DATA;
CREATE UNIQUE INDEX ON peer.refreshed (person_id, event);
