# Shared by demo.sh, demo-stop.sh and clean.sh: the demo's server and its webhook receiver.

DEMO_DIR=$CLUSTER_DIR/demo
DEMO_DATA=$DEMO_DIR/data
# The path of a socket may hold 107 characters.
DEMO_SOCKETS=$DEMO_DIR/socket
if [ ${#DEMO_SOCKETS} -gt 85 ]; then
    DEMO_SOCKETS=${TMPDIR:-/tmp}/cdp-demo-$(printf %s "$ROOT" | cksum | cut -d' ' -f1)
fi
DEMO_BIN=$(dirname "$(pg_config_of "$MAIN_MAJOR" demo)")
SINK=$TARGET_DIR/debug/sink

# Stops the server, whatever state an earlier run left it in. A process id in a left-over file may belong to
# somebody else by now: pg_ctl and the look at the program's path tell.
demo_stop_server() {
    [ -f "$DEMO_DATA/postmaster.pid" ] || return 0
    if [ ! -x "$DEMO_BIN/pg_ctl" ]; then
        warn "the server's programs are gone; its process id is in $DEMO_DATA/postmaster.pid"
        return 0
    fi
    (cd / && as_server_user "$DEMO_BIN/pg_ctl" -D "$DEMO_DATA" -s -w -t 30 -m fast stop) >/dev/null 2>&1 ||
        (cd / && as_server_user "$DEMO_BIN/pg_ctl" -D "$DEMO_DATA" -s -w -m immediate stop) >/dev/null 2>&1 || true
    note 'the server is stopped'
}

demo_stop_sink() {
    local process
    process=$(cat "$DEMO_DIR/sink.pid" 2>/dev/null) || return 0
    case $(readlink "/proc/$process/exe" 2>/dev/null) in
        */sink | */sink\ \(deleted\))
            kill "$process" 2>/dev/null || true
            note 'the webhook receiver is stopped'
            ;;
    esac
    rm -f "$DEMO_DIR/sink.pid"
}
