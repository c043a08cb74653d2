#!/usr/bin/env bash
# Stops the demo and removes all that the commands made: clusters, private servers, builds.
# Packages stay installed.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/demo-lib.sh"

demo_stop_server
demo_stop_sink
rm -rf "$CLUSTER_DIR" "$DEMO_SOCKETS" "$TOOLS_DIR" "$ROOT/.pgrx" "$ROOT/target"
if [ "$STATE_DIR" != "$ROOT" ]; then rmdir "$STATE_DIR"; fi
note 'removed: .cluster .tools .pgrx target'
