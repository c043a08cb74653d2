#!/usr/bin/env bash
# tier.sh NAME [MAJOR] [FILTER]: runs one tier of tests on one version of Postgres. Each tier ends with
# lines of the form "test result: ok. N passed; N failed", which test.sh adds up.
. "$(dirname "$0")/lib.sh"

name=$1
major=${2:-$MAIN_MAJOR}
filter=${3:-}

# check WHAT COMMAND...: one named check that counts as one test.
failed_checks=0
check() {
    local what=$1
    shift
    if "$@"; then
        echo "test $what ... ok"
        echo "test result: ok. 1 passed; 0 failed;"
    else
        echo "test $what ... FAILED"
        echo "test result: FAILED. 0 passed; 1 failed;"
        failed_checks=$((failed_checks + 1))
    fi
}

need_server() {
    [ -f "$(postgres_prefix "$major")/.complete" ] || {
        "$ROOT/tools/setup.sh" tests
        "$ROOT/tools/fetch-postgres.sh" "$major"
    }
    write_pgrx_config
}
# The library is built when it is not there. After a change of the extension: tools/build.sh MAJOR.
need_extension() {
    need_server
    if [ -z "${EXTENSION_BUILT:-}" ]; then "$ROOT/tools/build.sh" "$major"; fi
}
harness() {
    need_extension
    server_folder "$CLUSTER_DIR"
    export CDP_TEST_PG_CONFIG CDP_TEST_DIR=$CLUSTER_DIR/tests
    CDP_TEST_PG_CONFIG=$(pg_config_of "$major")
    cargo test -p cdp-tests --test "$1" -- ${2:+"$2"} </dev/null
}

case $name in
    lint)
        need_server
        check 'rustfmt' cargo fmt --all --check
        check 'clippy' cargo clippy --workspace --all-targets --features cdp-instructions/budgets -- -D warnings
        check 'unsafe only under src/pg, with its reason' "$ROOT/tools/check-unsafe.sh"
        check 'shell scripts parse' bash -c 'for script in tools/*.sh .ci/run; do bash -n "$script" || exit; done'
        ;;
    pure)
        packages=()
        for manifest in crates/*/Cargo.toml; do packages+=(-p "$(basename "$(dirname "$manifest")")"); done
        cargo test "${packages[@]}" ${filter:+"$filter"} </dev/null
        cargo test -p cdp-tests --lib ${filter:+"$filter"} </dev/null
        ;;
    instructions)
        # Counts are for one architecture and one profile; callgrind makes them.
        if [ "$(uname -m)" != x86_64 ]; then
            echo "SKIPPED: the budgets of instructions are for x86_64, this is $(uname -m)"
            exit
        fi
        command -v valgrind >/dev/null || "$ROOT/tools/setup.sh" tests
        command -v valgrind >/dev/null || {
            echo 'SKIPPED: valgrind is not there and could not be installed; the budgets of instructions were not looked at'
            exit
        }
        cargo test -p cdp-instructions --features budgets --profile instructions ${filter:+"$filter"} </dev/null
        ;;
    install)
        need_server
        check "builds and installs on $major" "$ROOT/tools/build.sh" "$major"
        ;;
    pgspot) check 'pgspot' "$ROOT/tools/pgspot.sh" ;;
    pg)
        need_server
        data=$CLUSTER_DIR/pg_test
        # cargo-pgrx puts the socket there, and the path of a socket may hold 107 characters.
        if [ ${#data} -gt 85 ]; then data=${TMPDIR:-/tmp}/cdp-pg-test-$(printf %s "$ROOT" | cksum | cut -d' ' -f1); fi
        server_folder "$CLUSTER_DIR"
        server_folder "$data"
        as_user=()
        if is_root; then as_user=(--runas postgres); fi
        # This installs a library with the tests inside; the tiers that come later install the real one.
        cargo pgrx test --package cdp --no-default-features --features "pg$major" --profile "$TEST_PROFILE" \
            "${as_user[@]}" --pgdata "$data" "pg$major" ${filter:+"$filter"} </dev/null
        ;;
    regress | isolation | docs) harness "$name" "$filter" ;;
    integration) harness integration "$filter" ;;
    smoke) harness integration smoke:: ;;
    *) fail "unknown tier $name" 'lint pure instructions install pgspot pg regress isolation integration docs smoke' ;;
esac
[ "$failed_checks" = 0 ]
