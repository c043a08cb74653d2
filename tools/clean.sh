#!/usr/bin/env bash
# Stops the demo and removes all that the commands made: clusters, private servers, builds.
# Packages stay installed.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/demo-lib.sh"

demo_stop_server
demo_stop_sink
# Servers of tests that were interrupted.
shopt -s nullglob
for running in "$CLUSTER_DIR"/*/*/postmaster.pid "$CLUSTER_DIR"/*/*/data/postmaster.pid; do
    data=$(dirname "$running")
    for pg_ctl in "$TOOLS_DIR"/postgres/*/bin/pg_ctl "$TOOLS_DIR"/postgres/*/lib/postgresql/*/bin/pg_ctl; do
        if (cd / && as_server_user "$pg_ctl" -D "$data" -s -w -m immediate stop) >/dev/null 2>&1; then
            note "stopped the server in $data"
            break
        fi
    done
done
rm -rf "$CLUSTER_DIR" "$DEMO_SOCKETS" "$TOOLS_DIR" "$ROOT/.pgrx" "$ROOT/target"
if [ "$STATE_DIR" != "$ROOT" ]; then rmdir "$STATE_DIR"; fi
note 'removed: .cluster .tools .pgrx target'
