-- What the peers have in common: plain tables in schema peer, with the indexes that a careful owner would give them.
CREATE SCHEMA peer;
CREATE TABLE peer.people (person_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id text NOT NULL UNIQUE);
CREATE TABLE peer.events (
    event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    person_id bigint NOT NULL,
    event text NOT NULL,
    at timestamptz NOT NULL,
    properties jsonb NOT NULL
);
CREATE INDEX ON peer.events (person_id, event, at);
CREATE TABLE peer.traits (person_id bigint, key text, value jsonb, updated_at timestamptz NOT NULL, PRIMARY KEY (person_id, key));
CREATE TABLE peer.segments (person_id bigint, key text, is_member boolean NOT NULL, updated_at timestamptz NOT NULL, PRIMARY KEY (person_id, key));

-- The segments of the series: nine thresholds and "seen within a day".
CREATE FUNCTION peer.in_segment(n int, views numeric, orders numeric, last_seen timestamptz) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN n <= 9 THEN views >= n AND orders >= n / 2 ELSE last_seen IS NOT NULL END
$$;
