-- Counts the lines of the webhook receiver's log, which is the input, by event and segment.
CREATE TEMP TABLE log (line jsonb);
\copy log FROM pstdin WITH (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02')
SELECT line #>> '{body,event}' AS event, line #>> '{body,properties,segment}' AS segment, count(*) AS webhooks,
    min(line #>> '{body,timestamp}') AS first, max(line #>> '{body,timestamp}') AS last
FROM log GROUP BY 1, 2 ORDER BY 1, 2;
