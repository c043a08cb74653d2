#!/usr/bin/env bash
# demo.sh: sets up, builds, starts a private cluster and shows the main job on real purchases. Every run
# starts afresh: what an earlier or interrupted run left is stopped and removed first.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/demo-lib.sh"

FIRST_PORT=54329
started=$SECONDS

"$ROOT/tools/setup.sh"

step 'building (the first time takes a few minutes)'
# One demo at a time.
mkdir -p "$CLUSTER_DIR"
exec 9>"$TOOLS_DIR/demo.lock"
flock -n 9 || fail 'another make demo is running in this checkout' 'wait for it to end'
with_progress "$TOOLS_DIR/demo-build.log" "$ROOT/tools/build.sh" "$MAIN_MAJOR" demo release 9>&- || {
    grep -E '^error' -A 12 "$TOOLS_DIR/demo-build.log" | head -60 >&2 || true
    fail "the build failed (log: $TOOLS_DIR/demo-build.log)"
}
cargo build -q -p cdp-tests --bin sink 9>&-
note "built in $((SECONDS - started)) s"

step 'a private cluster'
demo_stop_server
demo_stop_sink
rm -rf "$DEMO_DIR" "$DEMO_SOCKETS"
server_folder "$CLUSTER_DIR"
server_folder "$DEMO_DIR"
server_folder "$DEMO_SOCKETS" 700

# Only those who may enter the socket folder get in; over TCP nobody does, as no role has a password.
(cd / && as_server_user "$DEMO_BIN/initdb" -D "$DEMO_DATA" -U postgres -E UTF8 --locale=C.UTF-8 \
    --auth-local=trust --auth-host=scram-sha-256) >"$DEMO_DIR/initdb.log" 2>&1 || {
    cat "$DEMO_DIR/initdb.log" >&2
    fail 'initdb failed'
}
cat >>"$DEMO_DATA/postgresql.conf" <<CONF

listen_addresses = '127.0.0.1'
unix_socket_directories = '$DEMO_SOCKETS'
shared_preload_libraries = 'cdp'
cdp.databases = 'cdp_demo'
cdp.http_allow_hosts = '127.0.0.1'
timezone = 'UTC'
CONF

port=$FIRST_PORT
until
    # Somebody listens there already: the next one. Who comes between this look and the start is seen in the log.
    ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null &&
        (cd / && as_server_user "$DEMO_BIN/pg_ctl" -D "$DEMO_DATA" -l "$DEMO_DIR/server.log" -o "-p $port" -s -w start) \
            >/dev/null 2>&1 </dev/null 9>&-
do
    if [ -f "$DEMO_DIR/server.log" ] && ! grep -q 'Address already in use' "$DEMO_DIR/server.log"; then
        tail -20 "$DEMO_DIR/server.log" >&2
        fail "the server did not start (log: $DEMO_DIR/server.log)"
    fi
    rm -f "$DEMO_DIR/server.log"
    port=$((port + 1))
    [ "$port" -lt $((FIRST_PORT + 100)) ] || fail "no free port from $FIRST_PORT to $port"
done
note "$("$DEMO_BIN/postgres" --version), port $port, in $DEMO_DIR"

touch "$DEMO_DIR/webhooks.log"
setsid "$SINK" --log "$DEMO_DIR/webhooks.log" --port-file "$DEMO_DIR/sink.port" \
    >"$DEMO_DIR/sink.out" 2>&1 </dev/null 9>&- &
echo $! >"$DEMO_DIR/sink.pid"
for _ in $(seq 100); do
    if [ -f "$DEMO_DIR/sink.port" ]; then break; fi
    sleep 0.1
done
[ -f "$DEMO_DIR/sink.port" ] || fail "the webhook receiver did not start: $(cat "$DEMO_DIR/sink.out")"

export PGHOST=$DEMO_SOCKETS PGPORT=$port PGUSER=postgres PGDATABASE=cdp_demo PATH=$DEMO_BIN:$PATH
export CDP_SINK_URL=http://127.0.0.1:$(cat "$DEMO_DIR/sink.port") CDP_SINK_LOG=$DEMO_DIR/webhooks.log
note "webhooks are received at $CDP_SINK_URL and written to $CDP_SINK_LOG"
createdb "$PGDATABASE"

step 'the CDNOW purchases'
examples/cdnow/demo.sh </dev/null 9>&-

psql=$DEMO_BIN/psql
if [ -x /usr/bin/psql ]; then psql=psql; fi
cat <<TEXT

The whole took $((SECONDS - started)) s. The server keeps running; look around with

    $psql -h $PGHOST -p $PGPORT -U $PGUSER $PGDATABASE

and stop it with: make demo-stop
TEXT
