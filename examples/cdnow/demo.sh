#!/usr/bin/env bash
# demo.sh: the main job on real purchases. Needs a server with cdp preloaded and its workers in the database, the
# PG* environment of a superuser, and a running webhook receiver (tools/demo.sh and the tests provide all three):
#   CDP_SINK_URL   its address       CDP_SINK_LOG   its log, one JSON line a request
# It fixes the clock (cdp.clock) of the whole server.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=examples/cdnow
: "${CDP_SINK_URL:?is not set}" "${CDP_SINK_LOG:?is not set}"
export PGTZ=UTC PGDATESTYLE=ISO
started=$SECONDS

run() { psql -X -q -w -v ON_ERROR_STOP=1 "$@"; }
value() { run -A -t -c "$1"; }
show() { run -P footer=off -P null='' "$@" | sed 's/^/   /'; }
say() { printf '\n-- %s\n' "$*"; }
note() { printf '   %s\n' "$*"; }
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# wait_until SECONDS WHAT PROGRESS SQL: until the SQL is true. Meanwhile PROGRESS, a command, is run every two seconds.
wait_until() {
    local limit=$1 what=$2 progress=$3 sql=$4 began=$SECONDS said=$SECONDS answer
    while answer=$(value "$sql") || exit 1; do
        if [ "$answer" = t ]; then return; fi
        if [ $((SECONDS - began)) -ge "$limit" ]; then fail "$what: not within $limit s"; fi
        if [ $((SECONDS - said)) -ge 2 ]; then
            said=$SECONDS
            $progress
        fi
        sleep 0.2
    done
}

set_clock() {
    value "ALTER SYSTEM SET cdp.clock = '$1'"
    value 'SELECT pg_reload_conf()' >/dev/null
    wait_until 30 'the new clock' true "SELECT cdp.now() = '$1'"
}

# copy WHAT SELECT COLUMNS: COPY from a query over the unpacked file into cdp.inbox, with progress.
copy_into_inbox() {
    local what=$1 select=$2 columns=$3 total process before=$SECONDS said=$SECONDS sent done=0
    total=$(run -A -t -f $here/unpack.sql -c "SELECT count(*) FROM ($select) AS rows")
    (run -f $here/unpack.sql -c "COPY ($select) TO STDOUT" | run -c "COPY cdp.inbox ($columns) FROM STDIN") &
    process=$!
    while kill -0 "$process" 2>/dev/null; do
        sleep 0.2
        if [ $((SECONDS - said)) -ge 2 ]; then
            said=$SECONDS
            # The COPY that sends is never more than a buffer ahead of the one that takes; at the end it is gone.
            sent=$(value "SELECT coalesce(max(tuples_processed), $done) FROM pg_stat_progress_copy WHERE command = 'COPY TO'")
            if [ "$sent" != "$done" ]; then note "... $sent of $total $what"; fi
            done=$sent
        fi
    done
    wait "$process"
    note "$total $what in $((SECONDS - before)) s"
}

received() { note "... $(wc -l <"$CDP_SINK_LOG") webhooks received"; }

# Until the workers have done all that is due, and nothing waits for delivery.
wait_for_workers() {
    wait_until 600 'the work of the background workers' received \
        'SELECT NOT EXISTS (SELECT FROM _cdp.timers WHERE due <= cdp.now()) AND NOT EXISTS (SELECT FROM cdp.deliveries)'
}

# show_webhooks FIRST: what arrived from that line of the receiver's log on.
show_webhooks() {
    tail -n "+$1" "$CDP_SINK_LOG" | show -f $here/webhooks.sql
}

say 'the extension; its clock is set to 1998-07-01, the day after the last purchase'
run -c 'CREATE EXTENSION IF NOT EXISTS cdp'
set_clock '1998-07-01 00:00:00+00'

say 'a webhook destination, a route, traits, segments and a flag'
show -v sink="$CDP_SINK_URL" -f $here/define.sql

say 'the history: every purchase is an event, every customer is identified'
copy_into_inbox purchases "
    SELECT customer, 'Order Completed', jsonb_build_object('amount', round(cents / 100, 2), 'cds', cds), at, format('cdnow-%s-%s', customer, number)
    FROM purchases ORDER BY customer, number" 'user_id, event, properties, "timestamp", message_id'
copy_into_inbox customers "
    SELECT 'identify', customer, jsonb_build_object('email', format('customer%s@cdnow.example', customer), 'cohort', to_char(min(at), 'YYYY-MM')),
        min(at), format('cdnow-%s', customer)
    FROM purchases GROUP BY customer ORDER BY customer" 'type, user_id, traits, "timestamp", message_id'

say 'what is known now'
show -f $here/results.sql
say 'webhooks received so far'
wait_for_workers
show_webhooks 1
first_part=$(wc -l <"$CDP_SINK_LOG")
say 'the same, computed by plain SQL over the raw file'
show -f $here/check.sql <"$CDP_SINK_LOG"

say '60 days pass, in which nobody does anything'
set_clock '1998-08-30 00:00:00+00'
show -f $here/results.sql
say 'webhooks received since'
wait_for_workers
show_webhooks $((first_part + 1))
say 'the same, computed by plain SQL over the raw file'
show -f $here/check.sql <"$CDP_SINK_LOG"

note "took $((SECONDS - started)) s; the server's clock stays at 1998-08-30 until: ALTER SYSTEM RESET cdp.clock; SELECT pg_reload_conf();"
