#!/usr/bin/env bash
# build.sh MAJOR [VARIANT] [PROFILE]: builds the extension and installs it into a private server.
. "$(dirname "$0")/lib.sh"

major=$1
variant=${2:-${CDP_VARIANT:-main}}
profile=${3:-$TEST_PROFILE}
[ -f "$(postgres_prefix "$major" base)/.complete" ] || fail "no private Postgres $major yet" "run: tools/fetch-postgres.sh $major"
make_variant "$major" "$variant"
cargo pgrx install --package cdp --pg-config "$(pg_config_of "$major" "$variant")" \
    --no-default-features --features "pg$major" --profile "$profile" </dev/null
# cargo-pgrx installs the upgrade scripts; the tests also need the scripts that earlier versions started from.
shopt -s nullglob
cp sql/cdp--*.sql "$("$(pg_config_of "$major" "$variant")" --sharedir)/extension/"
chmod -R a+rX "$(postgres_prefix "$major" "$variant")"
