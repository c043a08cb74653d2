# Shared by every script in tools/: where things live, who runs the servers, how messages look.
# Source it; it changes into the root of the checkout.
set -euo pipefail
umask 022

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$ROOT"

PGRX_VERSION=0.18.1
MAIN_MAJOR=15
OTHER_MAJORS=(16 17 18)
# The cargo profile of the library under test: one for all tiers, so that it is compiled once a version.
TEST_PROFILE=${TEST_PROFILE:-dev}

step() { printf '\n== %s\n' "$*"; }
note() { printf '   %s\n' "$*"; }
warn() { printf '   warning: %s\n' "$*" >&2; }
# fail MESSAGE [WAY ON]: stop with what is wrong and what to do about it.
fail() {
    printf '\nerror: %s\n' "$1" >&2
    if [ $# -gt 1 ]; then printf '       %s\n' "${@:2}" >&2; fi
    exit 1
}

is_root() { [ "$(id -u)" = 0 ]; }

# with_progress LOG COMMAND...: the output goes to a file; every 15 seconds a line says how far cargo is.
with_progress() {
    local log=$1 before=$SECONDS said=$SECONDS process
    shift
    "$@" >"$log" 2>&1 </dev/null &
    process=$!
    while kill -0 "$process" 2>/dev/null; do
        sleep 0.5
        if [ $((SECONDS - said)) -ge 15 ]; then
            said=$SECONDS
            note "... $(grep -c '^ *Compiling' "$log" || true) crates, $((SECONDS - before)) s"
        fi
    done
    wait "$process"
}

# Run a command as root: directly, or with sudo.
as_root() {
    if is_root; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "this step needs root: $*" "run it as root, or install sudo and try again"
    fi
}

# Postgres refuses to run as root. Root's servers run as the user `postgres`,
# an ordinary user's servers as that user.
server_user() { if is_root; then echo postgres; else id -un; fi; }
as_server_user() {
    if is_root; then runuser -u postgres -- "$@"; else "$@"; fi
}

# True if other users may pass through every folder above $1.
traversable() {
    local folder=$1 mode
    while [ "$folder" != / ]; do
        mode=$(stat -c %A "$folder")
        case ${mode: -1} in x | t) ;; *) return 1 ;; esac
        folder=$(dirname "$folder")
    done
}

# What the server must reach (its binaries, its data) lives in the checkout, unless root keeps the
# checkout where the user `postgres` cannot go (such as /root): then in a folder of its own.
if is_root && ! traversable "$ROOT"; then
    STATE_DIR=/var/tmp/cdp-$(printf %s "$ROOT" | cksum | cut -d' ' -f1)
    mkdir -p "$STATE_DIR"
    [ "$(stat -c %u "$STATE_DIR")" = 0 ] || fail "$STATE_DIR belongs to another user" "remove it, or move the checkout to a folder that others may enter"
else
    STATE_DIR=$ROOT
fi
TOOLS_DIR=$STATE_DIR/.tools
CLUSTER_DIR=$STATE_DIR/.cluster
mkdir -p "$TOOLS_DIR"

export PGRX_HOME=$ROOT/.pgrx
# cargo-pgrx passes a linker flag for toolchains that lose the section with the SQL. Here it is kept without, and
# the same flags for every build mean that the library and the tests share their compiled dependencies.
if [ "$(uname -m)" = x86_64 ]; then export CARGO_PGRX_DISABLE_GC_SECTIONS_WORKAROUND=1; fi
export RUST_BACKTRACE=${CDP_BACKTRACE:-0}
export PATH=$TOOLS_DIR/cargo/bin:$PATH
TARGET_DIR=${CARGO_TARGET_DIR:-$ROOT/target}
RESULTS_DIR=$TARGET_DIR/test-results

# Environment of the caller's own Postgres must not leak into ours.
unset PGHOST PGHOSTADDR PGPORT PGUSER PGDATABASE PGPASSWORD PGSERVICE PGOPTIONS PGDATA PGSSLMODE || true

# A folder that the servers' user may write.
server_folder() {
    if [ ! -d "$1" ]; then mkdir -p "$1"; fi
    if is_root; then chown postgres: "$1"; fi
    chmod "${2:-755}" "$1"
}

# Each variant (`main`, `demo`, `coverage`) is a private copy of a server, so that installing the
# extension into it never touches the system's Postgres nor another variant.
postgres_prefix() { echo "$TOOLS_DIR/postgres/$1-${2:-${CDP_VARIANT:-main}}"; }
pg_config_of() {
    local prefix
    prefix=$(postgres_prefix "$@")
    case $1 in
        15) echo "$prefix/lib/postgresql/15/bin/pg_config" ;;
        *) echo "$prefix/bin/pg_config" ;;
    esac
}

# make_variant MAJOR VARIANT: copies the pristine server; hard links, so it costs no space.
make_variant() {
    local base variant
    base=$(postgres_prefix "$1" base)
    variant=$(postgres_prefix "$1" "$2")
    if [ -d "$variant" ] && [ "$variant/.complete" -nt "$base/.complete" ]; then return; fi
    rm -rf "$variant"
    cp -al "$base" "$variant"
    rm -f "$variant/.complete"
    touch "$variant/.complete"
}

# The pg_config shim of 17 holds its own prefix: see fetch-postgres.sh.
write_pgrx_config() {
    local config major
    mkdir -p "$PGRX_HOME"
    config=$(
        echo '[configs]'
        for major in 15 16 17 18; do
            if [ -x "$(pg_config_of "$major")" ]; then echo "pg$major = \"$(pg_config_of "$major")\""; fi
        done
    )
    # A newer file would make cargo build everything again that depends on pgrx.
    if [ "$(cat "$PGRX_HOME/config.toml" 2>/dev/null)" != "$config" ]; then echo "$config" >"$PGRX_HOME/config.toml"; fi
}
