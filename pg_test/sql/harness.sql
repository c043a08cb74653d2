-- database: empty
-- What the goldens rely on: output is in order, errors included, and free of place and time.
SELECT current_setting('TimeZone') AS "time zone", timestamptz '1998-07-01' AS "a day";
SELECT 1 / 0;
SELECT NULL::int AS nothing, jsonb '{"total": 10.10}' AS kept;
DO $$ BEGIN RAISE EXCEPTION 'no such trait' USING ERRCODE = 'CD001', DETAIL = 'orders', HINT = 'Define it.'; END $$;
