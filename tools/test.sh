#!/usr/bin/env bash
# test.sh [--all]: every tier on Postgres 15, and on 16 to 18 the installation, the goldens and the smoke
# tests; with --all every tier on every version. A failing tier does not stop the others.
# SKIP_OTHER_VERSIONS=1 leaves out 16 to 18.
. "$(dirname "$0")/lib.sh"

# `pg` before `install`: it leaves a library with tests inside in the private server.
main_tiers=(lint pure instructions pg install pgspot regress isolation integration docs)
other_tiers=(install regress smoke)
if [ "${1:-}" = --all ]; then other_tiers=(pg install regress isolation integration docs); fi
majors=("${OTHER_MAJORS[@]}")
if [ "${SKIP_OTHER_VERSIONS:-}" = 1 ]; then majors=(); fi

started=$SECONDS
"$ROOT/tools/setup.sh" tests

rm -rf "$RESULTS_DIR"
mkdir -p "$RESULTS_DIR"
summary=()
skipped=()
total_passed=0
total_failed=0
number=0
count=$((${#main_tiers[@]} + ${#majors[@]} * ${#other_tiers[@]}))

# record TIER MAJOR PASSED FAILED SECONDS
record() {
    summary+=("$(printf '%-13s %-9s %7s %7s %6s s' "$1" "$2" "$3" "$4" "$5")")
    total_passed=$((total_passed + $3))
    total_failed=$((total_failed + $4))
}

run_tier() {
    local tier=$1 major=$2 log=$RESULTS_DIR/$1-$2.log status=0 before=$SECONDS passed failed
    number=$((number + 1))
    printf -- '-- [%d/%d] %s on %s ... ' "$number" "$count" "$tier" "$major"
    # Half an hour: a tier that hangs becomes a failure, not a hanging run.
    EXTENSION_BUILT=1 timeout -k 30 1800 "$ROOT/tools/tier.sh" "$tier" "$major" >"$log" 2>&1 </dev/null || status=$?
    read -r passed failed < <(awk '
        /^test result:/ { for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) p += $(i-1); if ($i ~ /^failed/) f += $(i-1) } }
        END { print p + 0, f + 0 }' "$log")
    # A tier that ends badly has failed even if it counted nothing; so has one that ran no test at all.
    if [ "$status" != 0 ] && [ "$failed" = 0 ]; then failed=1; fi
    # A tier that this machine cannot run says why; no other way out is no failure.
    if [ "$status" = 0 ] && [ "$passed" = 0 ] && grep -m 1 '^SKIPPED: ' "$log"; then
        skipped+=("$tier on $major: $(sed -n 's/^SKIPPED: //p' "$log")")
        record "$tier" "$major" 0 0 "$((SECONDS - before))"
        return 0
    fi
    if [ "$status" = 0 ] && [ "$passed" = 0 ]; then failed=1; echo 'error: no test ran' >>"$log"; fi
    record "$tier" "$major" "$passed" "$failed" "$((SECONDS - before))"
    printf '%d passed, %d failed, %d s\n' "$passed" "$failed" "$((SECONDS - before))"
    if [ "$failed" != 0 ]; then
        show_failure "$log"
        return 1
    fi
}

# What went wrong: cargo's list of failures if there is one, else the end of the log.
show_failure() {
    {
        if grep -q '^failures:' "$1"; then
            sed -n '/^failures:/,$p' "$1" | head -150
        else
            tail -60 "$1"
        fi
        echo "(the whole log: $1)"
    } | sed 's/^/   | /'
}

run_version() {
    local major=$1 tier installed=1
    shift
    for tier in "$@"; do
        if [ "$installed" = 0 ]; then
            number=$((number + 1))
            record "$tier" "$major" 0 1 0
            echo "-- [$number/$count] $tier on $major: not run, there is no extension on $major"
        elif ! run_tier "$tier" "$major" && [ "$tier" = install ]; then
            installed=0
        fi
    done
}

step "tests on Postgres $MAIN_MAJOR"
run_version "$MAIN_MAJOR" "${main_tiers[@]}"

versions=("$("$(pg_config_of "$MAIN_MAJOR")" --version)")
for major in "${majors[@]}"; do
    step "tests on Postgres $major"
    if "$ROOT/tools/fetch-postgres.sh" "$major"; then
        versions+=("$("$(pg_config_of "$major")" --version)")
        run_version "$major" "${other_tiers[@]}"
    else
        warn "Postgres $major could not be had: its tests count as failed (SKIP_OTHER_VERSIONS=1 leaves out 16 to 18)"
        record all "$major" 0 1 0
        number=$((number + ${#other_tiers[@]}))
    fi
done

step 'summary'
printf '%-13s %-9s %7s %7s %8s\n' tier Postgres passed failed time
printf '%s\n' "${summary[@]}"
printf '\n'
printf 'run on: %s\n' "${versions[@]}"
if [ "${#majors[@]}" = 0 ]; then echo 'not run, as asked with SKIP_OTHER_VERSIONS=1: Postgres 16, 17, 18'; fi
if [ "${#skipped[@]}" != 0 ]; then printf 'not run: %s\n' "${skipped[@]}"; fi
printf 'time: %d min %d s\n' $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60))
printf '%d passed, %d failed\n' "$total_passed" "$total_failed"
[ "$total_failed" = 0 ]
