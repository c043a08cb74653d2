#!/usr/bin/env bash
# Stops the demo's server and its webhook receiver; the data stays until the next `make demo`.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/demo-lib.sh"

demo_stop_server
demo_stop_sink
