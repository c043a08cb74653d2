-- The recount: what small trait engines do for each event, from an application or, as here without the round trips, in
-- the database. Everything about the person is counted again, one question at a time, and everything is written.
CREATE FUNCTION peer.recount(who text, what text, properties jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    person bigint;
    name text;
    moment timestamptz := clock_timestamp();
    week numeric; fortnight numeric; month numeric; days_7 numeric; days_14 numeric; days_30 numeric;
    first_at timestamptz; last_at timestamptz; views numeric := 0; orders numeric := 0;
BEGIN
    SELECT person_id INTO person FROM peer.people WHERE user_id = who;
    IF person IS NULL THEN
        INSERT INTO peer.people (user_id) VALUES (who) ON CONFLICT (user_id) DO UPDATE SET user_id = EXCLUDED.user_id RETURNING person_id INTO person;
    END IF;
    INSERT INTO peer.events (person_id, event, at, properties) VALUES (person, what, moment, properties);
    FOR name IN SELECT DISTINCT event FROM peer.events WHERE person_id = person LOOP
        SELECT count(*) INTO week FROM peer.events WHERE person_id = person AND event = name AND at >= moment - interval '7 days';
        SELECT count(*) INTO fortnight FROM peer.events WHERE person_id = person AND event = name AND at >= moment - interval '14 days';
        SELECT count(*) INTO month FROM peer.events WHERE person_id = person AND event = name AND at >= moment - interval '30 days';
        SELECT count(DISTINCT at::date) INTO days_7 FROM peer.events WHERE person_id = person AND event = name AND at >= moment - interval '7 days';
        SELECT count(DISTINCT at::date) INTO days_14 FROM peer.events WHERE person_id = person AND event = name AND at >= moment - interval '14 days';
        SELECT count(DISTINCT at::date) INTO days_30 FROM peer.events WHERE person_id = person AND event = name AND at >= moment - interval '30 days';
        SELECT min(at) INTO first_at FROM peer.events WHERE person_id = person AND event = name;
        SELECT max(at) INTO last_at FROM peer.events WHERE person_id = person AND event = name;
        IF name = 'view' THEN views := week; END IF;
        IF name = 'order' THEN orders := month; END IF;
        INSERT INTO peer.traits (person_id, key, value, updated_at) VALUES (person, name || '_7', to_jsonb(week), moment) ON CONFLICT (person_id, key) DO UPDATE SET value = EXCLUDED.value, updated_at = EXCLUDED.updated_at;
        INSERT INTO peer.traits (person_id, key, value, updated_at) VALUES (person, name || '_14', to_jsonb(fortnight), moment) ON CONFLICT (person_id, key) DO UPDATE SET value = EXCLUDED.value, updated_at = EXCLUDED.updated_at;
        INSERT INTO peer.traits (person_id, key, value, updated_at) VALUES (person, name || '_30', to_jsonb(month), moment) ON CONFLICT (person_id, key) DO UPDATE SET value = EXCLUDED.value, updated_at = EXCLUDED.updated_at;
        INSERT INTO peer.traits (person_id, key, value, updated_at) VALUES (person, name || '_days_14', to_jsonb(days_14), moment) ON CONFLICT (person_id, key) DO UPDATE SET value = EXCLUDED.value, updated_at = EXCLUDED.updated_at;
    END LOOP;
    FOR n IN 1..10 LOOP
        INSERT INTO peer.segments (person_id, key, is_member, updated_at) VALUES (person, 'segment_' || n, peer.in_segment(n, views, orders, moment), moment)
            ON CONFLICT (person_id, key) DO UPDATE SET is_member = EXCLUDED.is_member, updated_at = EXCLUDED.updated_at;
    END LOOP;
END
$$;
