-- Logging in does not change what somebody gets.
SET cdp.clock = '2026-01-15 12:00:00+00';
SELECT key FROM cdp.define_flag('colour', definition => '{"variants": {"red": "#f00", "blue": "#00f", "green": "#0f0"}, "default": "red",
    "split": {"red": 33.34, "blue": 33.33, "green": 33.33}}');
SELECT count(*) FROM generate_series(1, 200) AS n, cdp.track(NULL, 'visit', anonymous_id => 'device' || n, message_id => 'v' || n);
CREATE TEMPORARY TABLE before AS SELECT n, variant FROM generate_series(1, 200) AS n, cdp.decide('device' || n, 'colour');
SELECT variant, count(*) > 40 AS many FROM before GROUP BY variant ORDER BY variant;

-- First login: the profile gets a user id.
SELECT count(*) FROM generate_series(1, 100) AS n, cdp.identify('user' || n, anonymous_id => 'device' || n, message_id => 'l' || n);
SELECT count(*) AS changed FROM before, cdp.decide('user' || n, 'colour') AS now WHERE n <= 100 AND now.variant <> before.variant;

-- Login of somebody known on another device: the two profiles become one, and the older one's variant is the person's.
SET cdp.clock = '2026-01-16 12:00:00+00';
SELECT count(*) FROM generate_series(1, 100) AS n, cdp.track(NULL, 'visit', anonymous_id => 'phone' || n, message_id => 'p' || n);
SELECT count(*) FROM generate_series(1, 100) AS n, cdp.identify('user' || n, anonymous_id => 'phone' || n, message_id => 'k' || n);
SELECT count(*) AS changed FROM before, cdp.decide('user' || n, 'colour') AS now WHERE n <= 100 AND now.variant <> before.variant;
SELECT count(*) AS differ FROM before, cdp.decide('user' || n, 'colour') AS a, cdp.decide('phone' || n, 'colour') AS b WHERE n <= 100 AND a.variant <> b.variant;

-- What was given by hand comes along; what the survivor has stays.
SELECT status FROM cdp.track('old', 'visit', message_id => 'o1');
SELECT status FROM cdp.track(NULL, 'visit', anonymous_id => 'new', message_id => 'n1');
SELECT variant FROM cdp.set_override('new', 'colour', 'green');
SELECT status FROM cdp.identify('old', anonymous_id => 'new', message_id => 'o2');
SELECT variant, reason FROM cdp.decide('old', 'colour');

-- Read-only transactions answer too.
BEGIN READ ONLY;
SELECT variant FROM cdp.decide('old', 'colour');
SELECT count(*) FROM cdp.decide_all('old');
SELECT count(*) > 0 AS explained FROM cdp.explain_decision('old', 'colour');
COMMIT;

-- Taken apart again, each has what was their own before.
SET cdp.clock = '2026-01-17 12:00:00+00';
CREATE TEMPORARY TABLE apart AS SELECT n, variant FROM generate_series(1, 40) AS n, cdp.decide('user' || n, 'colour');
SELECT count(*) FROM generate_series(1, 40) AS n, cdp.track(NULL, 'visit', anonymous_id => 'tablet' || n, message_id => 't' || n);
CREATE TEMPORARY TABLE tablets AS SELECT n, variant FROM generate_series(1, 40) AS n, cdp.decide('tablet' || n, 'colour');
SELECT count(*) > 10 AS differ FROM apart JOIN tablets USING (n) WHERE apart.variant <> tablets.variant;
SELECT count(*) FROM generate_series(1, 40) AS n, cdp.identify('user' || n, anonymous_id => 'tablet' || n, message_id => 'q' || n);
SELECT count(*) AS changed FROM tablets, cdp.decide('tablet' || n, 'colour') AS now WHERE now.variant <> tablets.variant;
SELECT count(*) FROM generate_series(1, 40) AS n, cdp.unmerge('user' || n, 'tablet' || n);
SELECT count(*) AS changed FROM tablets, cdp.decide('tablet' || n, 'colour') AS now WHERE now.variant <> tablets.variant;
SELECT count(*) AS changed FROM apart, cdp.decide('user' || n, 'colour') AS now WHERE now.variant <> apart.variant;
