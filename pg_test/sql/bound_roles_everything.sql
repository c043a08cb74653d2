-- Every function and view of schema cdp, found in the catalogue, is tried by a role that is bound to another
-- namespace. Nothing of it may come out ("xyzzy", and the ids of its people, which begin with 777), it must not
-- change, and every answer must be the one that is given where there is nothing: "zebra" is there, "qqqqq" is not.
SET cdp.clock = '2026-01-15 12:00:00+00';
SET client_min_messages = error;
DROP ROLE IF EXISTS everything_tester;
CREATE ROLE everything_tester IN ROLE cdp_admin;
SELECT name FROM cdp.define_namespace('ours', ARRAY['Ours']);
SELECT name FROM cdp.define_namespace('zebra', ARRAY['xyzzy']);
SELECT cdp.bind_role('everything_tester', 'ours');

-- What there is to be seen.
SELECT setval('_cdp.profile_id_seq', 7770000) > 0 AS "ids of people";
SELECT count(*) FROM cdp.ingest('[
    {"type": "track", "userId": "zebra", "event": "xyzzy Ordered", "properties": {"what": "xyzzy"}, "messageId": "zebra-1"},
    {"type": "track", "userId": "zebra", "event": "zebra Ordered", "messageId": "zebra-2"},
    {"type": "identify", "userId": "zebra", "traits": {"email": "xyzzy@example.com", "secret": "xyzzy"}, "messageId": "zebra-3"},
    {"type": "group", "userId": "zebra", "groupId": "zebra", "traits": {"name": "xyzzy"}, "messageId": "zebra-4"},
    {"type": "alias", "userId": "zebra", "previousId": "xyzzy-before", "messageId": "zebra-5"},
    {"type": "track", "event": "xyzzy", "messageId": "zebra-6"}]', 'zebra');
SELECT key FROM cdp.define_trait('zebra_trait', 'events."xyzzy Ordered".count', 'xyzzy', namespace => 'zebra');
SELECT key FROM cdp.define_segment('zebra_segment', 'zebra_trait >= 1', 'xyzzy', namespace => 'zebra');
SELECT key FROM cdp.define_flag('zebra_flag', 'segment("zebra_segment")', description => 'xyzzy', namespace => 'zebra');
SELECT key FROM cdp.define_destination('zebra_destination', 'webhook', '{"url": "https://xyzzy.example.com/"}', namespace => 'zebra');
SELECT destination FROM cdp.define_route('zebra_destination', ARRAY['xyzzy Ordered'], namespace => 'zebra');
SELECT status FROM cdp.track('zebra', 'xyzzy Ordered', message_id => 'zebra-7', namespace => 'zebra');
INSERT INTO _cdp.dead_letters (outbox_id, created_at, failed_at, profile_id, namespace_id, destination_id, attempts, kind, message_id, payload, reason)
SELECT 7770001, now(), now(), 7770001, namespace_id, destination_id, 1, 'track', 'zebra-1', '"xyzzy"', 'xyzzy' FROM _cdp.destinations;
SELECT setval('_cdp.profile_id_seq', 100) > 0 AS "ids of our people";
SELECT status FROM cdp.track('our user', 'Ordered', message_id => 'ours-1', namespace => 'ours');

CREATE SCHEMA tester;
GRANT ALL ON SCHEMA tester TO everything_tester;

-- The foreign namespace as it is: one view over all tables that hold data of namespaces.
DO $$ BEGIN
    EXECUTE (SELECT 'CREATE VIEW tester.foreign_rows AS ' || string_agg(format(
            'SELECT %L AS relation, t::text AS line FROM %s AS t WHERE namespace_id = (SELECT n.namespace_id FROM _cdp.namespaces AS n WHERE n.name = ''zebra'')',
            attrelid::regclass, attrelid::regclass), ' UNION ALL ')
        FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid
        WHERE attname = 'namespace_id' AND relnamespace = '_cdp'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition);
END $$;
CREATE FUNCTION tester.picture() RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    RETURN (SELECT md5(string_agg(relation || line, '' ORDER BY relation, line)) FROM tester.foreign_rows);
END $$;
CREATE TABLE tester.before AS SELECT tester.picture();

-- An argument: whatever may lead to what is foreign. Unknown types fail the test: say here what is to be tried.
CREATE FUNCTION tester.argument(name text, type regtype, subject text, key text) RETURNS text LANGUAGE sql AS $$
    SELECT CASE
        WHEN type = 'text'::regtype THEN quote_literal(CASE
            WHEN name ~ '^(id|user_id|anonymous_id|previous_id|identifier|group_id)$' THEN subject
            WHEN name ~ '^(expression|rule)$' THEN format('trait("zebra_trait") >= 0 or events."xyzzz Ordered".count > %s', length(key))
            WHEN name IN ('event', 'name', 'category') THEN 'zebra Ordered'
            WHEN name = 'message_id' THEN 'zebra-new'
            WHEN name = 'filter' THEN 'profile_id >= 0'
            WHEN name = 'timezone' THEN 'UTC'
            WHEN name = 'payload' THEN format('{"type": "track", "userId": "%s", "event": "zebra Ordered", "messageId": "new"}', subject)
            WHEN name = 'kind' THEN 'trait'
            WHEN name = 'role' THEN 'everything_tester'
            ELSE key END)
        WHEN type = 'text[]'::regtype THEN format('ARRAY[%L]', key)
        WHEN type = 'jsonb'::regtype THEN quote_literal(CASE
            WHEN name = 'payload' THEN format('{"type": "track", "userId": "%s", "event": "zebra Ordered", "messageId": "new"}', subject)
            WHEN name = 'criteria' THEN '{"trait": "zebra_trait", "operator": ">", "value": 0}'
            WHEN name = 'message' THEN format('{"type": "track", "userId": "%s", "event": "zebra Ordered"}', subject)
            ELSE '{}' END)
        WHEN type = 'jsonb[]'::regtype THEN format('ARRAY[%L::jsonb]', jsonb_build_object('type', 'track', 'event', 'zebra Ordered',
            'timestamp', '2026-01-15T12:00:00+00:00', 'message_id', 'zebra-1', 'profile_id', 7770001)::text)
        WHEN type = 'bigint[]'::regtype THEN 'ARRAY[7770001, 7770002]'
        WHEN type IN ('bigint'::regtype, 'integer'::regtype) THEN '1'
        WHEN type IN ('numeric'::regtype, 'double precision'::regtype) THEN '1'
        WHEN type = 'boolean'::regtype THEN 'true'
        WHEN type = 'timestamptz'::regtype THEN quote_literal('2026-01-15 12:00:00+00')
        WHEN type = 'interval'::regtype THEN quote_literal('1 day')
        WHEN type = 'regclass'::regtype THEN quote_literal('pg_catalog.pg_am')
    END
$$;

-- The answer to a call by the bound role, or its error. What the call did is undone.
CREATE FUNCTION tester.answer(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer text;
    message text; detail text; hint text; state text;
BEGIN
    BEGIN
        SET LOCAL ROLE everything_tester;
        EXECUTE call INTO answer;
        RESET ROLE;
        RAISE EXCEPTION USING ERRCODE = 'TTTTT', MESSAGE = coalesce(answer, 'null'),
            DETAIL = CASE WHEN position('zebra' in call) > 0 AND tester.picture() <> (SELECT picture FROM tester.before) THEN 'changed' ELSE '' END;
    EXCEPTION WHEN OTHERS THEN
        GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT, state = RETURNED_SQLSTATE;
        IF state = 'TTTTT' AND detail = 'changed' THEN
            RETURN 'CHANGED what is foreign: ' || message;
        ELSIF state = 'TTTTT' THEN
            RETURN message;
        END IF;
        -- Builds for development add where in the source it was.
        RETURN concat_ws(' | ', 'error ' || state, message, regexp_replace(detail, '\n.*', ''), hint);
    END;
END $$;

-- What differs from call to call: new ids.
CREATE FUNCTION tester.accidental() RETURNS text LANGUAGE sql AS $$ SELECT '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d+' $$;

CREATE TABLE tester.complaints (what text, call text, answer text);
DO $$
DECLARE
    f record;
    key text; given text; subject text; call text; mode text; nowhere text;
    answer text; other text;
    calls text[] := '{}';
BEGIN
    FOR f IN SELECT p.oid, p.oid::regprocedure AS signature, p.proname, p.pronargs, p.pronargdefaults,
                 coalesce(p.proargnames, '{}') AS names, p.proargtypes::oid[] AS types
             FROM pg_proc AS p WHERE pronamespace = 'cdp'::regnamespace AND prorettype <> 'trigger'::regtype AND prokind = 'f'
               AND has_function_privilege('everything_tester', p.oid, 'execute')
               AND p.oid NOT IN (SELECT unnest(ARRAY[typinput, typoutput, typreceive, typsend]) FROM pg_type)
             ORDER BY 2 LOOP
        FOREACH mode IN ARRAY ARRAY['necessary arguments', 'all arguments', 'namespace'] LOOP
            CONTINUE WHEN mode = 'namespace' AND NOT 'namespace' = ANY (f.names);
            FOREACH key IN ARRAY ARRAY['zebra_trait', 'zebra_segment', 'zebra_flag', 'zebra_destination', 'zebra'] LOOP
                FOREACH subject IN ARRAY ARRAY['zebra', '7770001'] LOOP
                    SELECT string_agg(format('%I => %s', f.names[i], CASE WHEN f.names[i] = 'namespace' THEN quote_literal('zebra')
                            ELSE tester.argument(f.names[i], f.types[i - 1]::regtype, subject, key) END), ', ' ORDER BY i),
                        string_agg(f.names[i] || ' ' || f.types[i - 1]::regtype, ', ') FILTER (WHERE tester.argument(f.names[i], f.types[i - 1]::regtype, subject, key) IS NULL)
                    INTO given, other
                    FROM generate_series(1, f.pronargs) AS i
                    WHERE CASE mode WHEN 'necessary arguments' THEN i <= f.pronargs - f.pronargdefaults
                                    WHEN 'all arguments' THEN f.names[i] <> 'namespace' OR i <= f.pronargs - f.pronargdefaults
                                    ELSE i <= f.pronargs - f.pronargdefaults OR f.names[i] = 'namespace' END;
                    IF other IS NOT NULL THEN
                        INSERT INTO tester.complaints VALUES ('tester.argument knows no value for', f.signature::text, other);
                    END IF;
                    call := format('SELECT coalesce(string_agg(r::text, E''\n''), ''nothing'') FROM cdp.%I(%s) AS r', f.proname, given);
                    nowhere := replace(replace(call, 'zebra', 'qqqqq'), '7770', '9990');
                    CONTINUE WHEN subject <> 'zebra' AND position(subject in call) = 0;
                    CONTINUE WHEN key <> 'zebra' AND (mode = 'namespace' OR position(key in call) = 0);
                    CONTINUE WHEN call = ANY (calls);
                    calls := calls || call;
                    answer := tester.answer(call);
                    other := tester.answer(nowhere);
                    INSERT INTO tester.complaints
                    SELECT 'shows what is foreign', call, answer WHERE answer ~ 'xyzzy(?!z)' OR (answer ~ '7770' AND position('7770' in call) = 0)
                    UNION ALL SELECT 'foreign', call, answer WHERE answer ~ '^CHANGED'
                    UNION ALL SELECT 'is let into the foreign namespace', call, answer WHERE mode = 'namespace' AND answer !~ '^error'
                    UNION ALL SELECT 'tells what is there from what is not', call, answer || E'\n' || other
                        WHERE regexp_replace(replace(answer, 'zebra', 'qqqqq'), tester.accidental(), '#', 'g') <> regexp_replace(other, tester.accidental(), '#', 'g');
                END LOOP;
            END LOOP;
        END LOOP;
    END LOOP;
    IF cardinality(calls) < 100 THEN
        RAISE EXCEPTION 'only % calls were tried', cardinality(calls);
    END IF;
END $$;
SELECT DISTINCT * FROM tester.complaints;
TRUNCATE tester.complaints;

-- Views, also through a function that tells on every row it is shown and claims to cost nothing.
CREATE FUNCTION tester.tell(shown text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
BEGIN
    PERFORM set_config('tester.told', current_setting('tester.told') || shown, false);
    RETURN true;
END $$;
DO $$
DECLARE
    v regclass;
    found text;
    columns text;
BEGIN
    FOR v IN SELECT oid FROM pg_class WHERE relnamespace = 'cdp'::regnamespace AND relkind IN ('v', 'm', 'r', 'p', 'f')
             AND has_any_column_privilege('everything_tester', oid, 'SELECT') ORDER BY relname LOOP
        SELECT string_agg(format('tester.tell(v.%I::text)', attname), ' AND ') INTO columns
        FROM pg_attribute WHERE attrelid = v AND attnum > 0 AND NOT attisdropped;
        PERFORM set_config('tester.told', '', false);
        SET LOCAL ROLE everything_tester;
        EXECUTE format('SELECT string_agg(v::text, E''\n'') FROM %s AS v', v) INTO found;
        EXECUTE format('SELECT count(*) FROM %s AS v WHERE %s', v, columns);
        RESET ROLE;
        INSERT INTO tester.complaints SELECT 'shows what is foreign', v::text, found WHERE found ~ 'xyzzy|7770|zebra'
        UNION ALL SELECT 'lets a function see what is foreign', v::text, t FROM current_setting('tester.told') AS t WHERE t ~ 'xyzzy|7770|zebra';
    END LOOP;
END $$;
SELECT * FROM tester.complaints;

-- And tables are for nobody; each that holds data of namespaces is secured, and every view has an owner who is subject to that.
SELECT relname FROM pg_class WHERE relnamespace = '_cdp'::regnamespace AND has_table_privilege('everything_tester', oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE') AND relkind <> 'S';
SELECT relname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'namespace_id'
WHERE relnamespace = '_cdp'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
  AND NOT (relrowsecurity AND EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid));
SELECT relname FROM pg_class WHERE relnamespace = 'cdp'::regnamespace AND relkind = 'v' AND relowner <> 'cdp_view_owner'::regrole;
SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = 'cdp_view_owner';
SELECT cdp.unbind_role('everything_tester');
DROP SCHEMA tester CASCADE;
DROP ROLE everything_tester;
