#!/bin/sh
# Stands before rustc for this workspace's own crates: see coverage.sh.
exec "$@" -C instrument-coverage
