#!/usr/bin/env bash
# coverage.sh: line coverage of the library and the crates over all test tiers on Postgres 15. Reads what the
# instrumented code wrote with LLVM's own tools, of the version that rustc is built with.
. "$(dirname "$0")/lib.sh"

MINIMUM=${COVERAGE_MINIMUM:-80}
folder=$TARGET_DIR/coverage
major=$MAIN_MAJOR

"$ROOT/tools/setup.sh" tests

step "LLVM's coverage tools"
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
tools=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin
if [ ! -x "$tools/llvm-cov" ]; then tools=/usr/lib/llvm-$llvm/bin; fi
if [ ! -x "$tools/llvm-cov" ]; then
    note "installing llvm-$llvm"
    { as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "llvm-$llvm"; } \
        >"$TOOLS_DIR/apt-llvm.log" 2>&1 </dev/null ||
        fail "the package llvm-$llvm could not be installed (log: $TOOLS_DIR/apt-llvm.log)" \
            'any other source of llvm-profdata and llvm-cov of that version does: rustup component add llvm-tools'
fi
note "$("$tools/llvm-cov" --version | grep -m1 version)"

# Only this workspace is instrumented: the dependencies are those that the tests have compiled already.
export RUSTC_WORKSPACE_WRAPPER=$ROOT/tools/rustc-instrumented.sh
export CDP_VARIANT=coverage
rm -rf "$folder"
mkdir -p "$folder"
# Servers and tests run as different users; each program has its own files (%m), several at a time (%4).
server_folder "$folder/raw" 1777
export LLVM_PROFILE_FILE=$folder/raw/%4m.profraw
traversable "$folder/raw" || [ "$(server_user)" != postgres ] ||
    fail "the user postgres cannot write to $folder" 'move the checkout, or set CARGO_TARGET_DIR to a folder that others may enter'

# cargo-pgrx starts the server through sudo, which drops the environment: the program sets it itself.
make_variant "$major" coverage
write_pgrx_config
bin=$(dirname "$(pg_config_of "$major")")
if [ ! -e "$bin/postgres.real" ]; then mv "$bin/postgres" "$bin/postgres.real"; fi
rm -f "$bin/postgres"
printf '#!/bin/sh\nLLVM_PROFILE_FILE=%s exec "%s" "$@"\n' "$LLVM_PROFILE_FILE" "$bin/postgres.real" >"$bin/postgres"
chmod 755 "$bin/postgres"

failed=()
objects=()
keep_library() {
    cp "$("$(pg_config_of "$major")" --pkglibdir)/cdp.so" "$folder/$1.so"
    objects+=(-object "$folder/$1.so")
}
run() {
    step "$1"
    "$ROOT/tools/tier.sh" "$1" "$major" >"$folder/$1.log" 2>&1 || failed+=("$1")
    grep '^test result:' "$folder/$1.log" | sed 's/^/   /' || true
    # The test programs that cargo ran, as it names them.
    local program
    while read -r program; do objects+=(-object "$program"); done < <(
        sed -n 's/^ *Running .* (\(.*\))$/\1/p' "$folder/$1.log"
    )
}
run pure
run pg
keep_library pg_test
run install
keep_library cdp
export EXTENSION_BUILT=1
for tier in regress isolation integration docs; do run "$tier"; done

step 'line coverage'
"$tools/llvm-profdata" merge -sparse -o "$folder/cdp.profdata" "$folder"/raw/*.profraw
# The harness and the test files are not what is measured.
ignore='(^|/)(\.cargo|rustc|tests|target)/'
report=("${objects[@]:1}" -instr-profile "$folder/cdp.profdata" "-ignore-filename-regex=$ignore")
"$tools/llvm-cov" export "${report[@]}" -format=lcov >"$folder/lcov.info" 2>/dev/null
# Per file: lines that have code, and those that ran.
awk -F: -v root="$ROOT/" '
    /^SF:/ { file = substr($0, 4); sub(root, "", file) }
    /^LF:/ { found[file] = $2 }
    /^LH:/ { hit[file] = $2 }
    END {
        for (file in found) printf "%7.1f %%  %6d of %6d  %s\n", found[file] ? 100 * hit[file] / found[file] : 100, hit[file], found[file], file
    }' "$folder/lcov.info" | sort -k5 >"$folder/files.txt"
cat "$folder/files.txt"
awk -v minimum="$MINIMUM" '
    { hit += $3; found += $5 }
    END {
        share = found ? 100 * hit / found : 0
        printf "\nline coverage: %.1f %% (%d of %d lines)\n", share, hit, found
        if (share < minimum) { printf "less than %s %%\n", minimum; exit 1 }
    }' "$folder/files.txt" || failed+=(coverage)
[ ${#failed[@]} = 0 ] || fail "failed: ${failed[*]}" "logs: $folder"
