-- Made-up events from a fixed seed. People and events are drawn evenly; see README.md for the shape.
CREATE FUNCTION bench.make_events(seed int, events int, people int)
    RETURNS TABLE (n int, person int, event text, properties jsonb, ts timestamptz, message_id text)
    LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM setseed(seed / 100000.0);
    RETURN QUERY
    SELECT g, 1 + floor(random() * people)::int,
           (ARRAY['view', 'view', 'view', 'view', 'click', 'click', 'click', 'login', 'order', 'other'])[1 + floor(random() * 10)::int],
           jsonb_build_object('total', (random() * 1000)::numeric(8, 2), 'path', '/p/' || floor(random() * 50)::int, 'sku', md5(seed || '/' || g)),
           now() - random() * interval '2 days',
           md5('message' || seed || '/' || g)
    FROM generate_series(1, events) AS g;
END
$$;

-- The floor: the table that cdp keeps events in, with its partitions and keys, and nothing else.
CREATE FUNCTION bench.make_floor() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    month timestamptz := date_trunc('month', now() - interval '100 days');
BEGIN
    CREATE SEQUENCE bench.floor_id_seq CACHE 32;
    CREATE TABLE bench.floor (LIKE _cdp.events) PARTITION BY RANGE (ts);
    ALTER TABLE bench.floor ALTER COLUMN event_id SET DEFAULT nextval('bench.floor_id_seq');
    WHILE month <= now() LOOP
        EXECUTE format('CREATE TABLE bench.%I PARTITION OF bench.floor (PRIMARY KEY (profile_id, event_name_id, ts, event_id)) FOR VALUES FROM (%L) TO (%L)',
                       'floor_' || to_char(month, 'YYYY_MM'), month, month + interval '1 month');
        month := month + interval '1 month';
    END LOOP;
END
$$;
SELECT bench.make_floor();
CREATE TABLE bench.raw (round int, n int, person int, event text, properties jsonb, ts timestamptz, message_id text);
CREATE TABLE bench.payloads (id int PRIMARY KEY, body text);
ALTER TABLE bench.payloads ALTER COLUMN body SET STORAGE EXTERNAL;
