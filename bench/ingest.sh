#!/usr/bin/env bash
# ingest.sh [EVENTS] [ROUNDS]: bare COPY against cdp.inbox, interleaved; prints medians and the ratio.
set -euo pipefail
events=${1:-100000}
rounds=${2:-5}
people=$((events / 10))
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
query() { psql -XqAt -v ON_ERROR_STOP=1 "$@"; }

query <<SQL
DROP EXTENSION IF EXISTS cdp CASCADE;
CREATE EXTENSION cdp;
DROP TABLE IF EXISTS floor_events;
CREATE TABLE floor_events (LIKE _cdp.events INCLUDING DEFAULTS);
ALTER TABLE floor_events ALTER COLUMN event_id SET DEFAULT nextval('_cdp.event_id_seq');
ALTER TABLE floor_events ADD PRIMARY KEY (profile_id, event_name_id, ts, event_id);
SELECT count(cdp.define_trait('count_' || e || '_' || d, format('events.%s.count_%sd', e, d))) FROM unnest(ARRAY['view', 'click', 'order', 'login']) AS e, unnest(ARRAY[7, 30]) AS d;
SELECT count(cdp.define_trait('days_' || e, format('events.%s.unique_days_14d', e))) FROM unnest(ARRAY['view', 'click', 'order', 'login']) AS e;
SELECT count(cdp.define_trait('sum_' || d, format('events.order.sum_%sd(total)', d))) FROM unnest(ARRAY[7, 30, 90]) AS d;
SELECT cdp.define_trait('ltv', 'events.order.sum(total)'), cdp.define_trait('average', 'events.order.avg(total)'),
       cdp.define_trait('largest', 'events.order.max(total)'), cdp.define_trait('first_page', 'events.view.first(path)'),
       cdp.define_trait('last_page', 'events.view.last(path)');
SELECT count(cdp.define_segment('segment_' || n, format('count_view_7d >= %s && count_order_30d >= %s', n, n / 2))) FROM generate_series(1, 9) AS n;
SELECT cdp.define_segment('recent', 'last_seen_minutes_ago < 1440');
SELECT cdp.define_destination('bench', 'webhook', '{"url": "https://bench.invalid/"}', enabled => true);
SELECT cdp.define_route('bench', ARRAY['order'], 'total > 990');
SELECT cdp.define_route('bench', ARRAY['login'], 'total > 995');
SELECT cdp.define_route('bench', ARRAY['Segment Entered', 'Segment Exited'], 'properties.segment == "segment_9"');
SELECT cdp.pause_destination('bench', 'benchmark');
SQL

make_round() {
    query -v seed="$1" -c "SELECT setseed(:seed / 1000.0)" >/dev/null
    query <<SQL
SELECT setseed($1 / 1000.0);
\copy (SELECT 'user_' || (random() * $people)::int, (ARRAY['view','view','view','view','click','click','click','login','order','other'])[1 + (random() * 9)::int], jsonb_build_object('total', (random() * 1000)::numeric(8,2), 'path', '/p/' || (random() * 50)::int, 'sku', md5(n::text)), now() - random() * interval '2 days', 'bench-$1-' || n FROM generate_series(1, $events) AS n) TO '$folder/inbox.$1'
\copy (SELECT (random() * $people)::int, now() - random() * interval '2 days', now(), 1, 1 + (random() * 4)::int, 0, 'bench-$1-' || n, 'user_' || (random() * $people)::int, jsonb_build_object('total', (random() * 1000)::numeric(8,2), 'path', '/p/' || (random() * 50)::int, 'sku', md5(n::text)) FROM generate_series(1, $events) AS n) TO '$folder/floor.$1'
SQL
}
seconds() { local start; start=$(date +%s.%N); "$@" >/dev/null; echo "$(date +%s.%N) - $start" | bc; }
floor() { query -c "\\copy floor_events (profile_id, ts, received_at, namespace_id, event_name_id, type, message_id, user_id, properties) FROM '$folder/floor.$1'"; }
inbox() { query -c "\\copy cdp.inbox (user_id, event, properties, \"timestamp\", message_id) FROM '$folder/inbox.$1'"; }
median() { sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }

for round in $(seq 1 "$rounds"); do
    make_round "$round"
    seconds floor "$round" >>"$folder/floor_times"
    seconds inbox "$round" >>"$folder/inbox_times"
done
bare=$(median <"$folder/floor_times")
full=$(median <"$folder/inbox_times")
printf 'events a round %s, rounds %s, people %s\n' "$events" "$rounds" "$people"
printf 'bare COPY      %8.2f s  %9.0f events/s  (%s)\n' "$bare" "$(echo "$events / $bare" | bc -l)" "$(paste -sd' ' "$folder/floor_times")"
printf 'cdp.inbox      %8.2f s  %9.0f events/s  (%s)\n' "$full" "$(echo "$events / $full" | bc -l)" "$(paste -sd' ' "$folder/inbox_times")"
printf 'ratio          %8.2f\n' "$(echo "$bare / $full" | bc -l)"
