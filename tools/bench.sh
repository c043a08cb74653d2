#!/usr/bin/env bash
# bench.sh [--quick] [SERIES...]: builds the release and measures it beside its peers (bench/README.md).
. "$(dirname "$0")/lib.sh"

"$ROOT/tools/setup.sh" tests >/dev/null
"$ROOT/tools/fetch-postgres.sh" "$MAIN_MAJOR" >/dev/null
step 'building the release (the first time takes a few minutes)'
with_progress "$TOOLS_DIR/bench-build.log" "$ROOT/tools/build.sh" "$MAIN_MAJOR" bench release || {
    grep -E '^error' -A 12 "$TOOLS_DIR/bench-build.log" | head -60 >&2 || true
    fail "the build failed (log: $TOOLS_DIR/bench-build.log)"
}

# The delivery peers. Without them that series runs alone and says so.
peers=$TOOLS_DIR/bench-node
if ! cmp -s bench/peers/node/package.json "$peers/package.json"; then
    mkdir -p "$peers"
    cp bench/peers/node/package.json bench/peers/node/*.mjs "$peers/"
    if ! (cd "$peers" && npm install --silent --no-audit --no-fund >"$TOOLS_DIR/bench-npm.log" 2>&1 </dev/null); then
        note 'the delivery peers could not be installed; their series runs without them'
        rm -f "$peers/package.json"
    fi
else
    cp bench/peers/node/*.mjs "$peers/"
fi

step 'measuring'
python3 bench/run.py --bin "$("$(pg_config_of "$MAIN_MAJOR" bench)" --bindir)" --node "$peers" "$@"
