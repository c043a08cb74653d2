#!/usr/bin/env bash
# Installs, by package name, what building and testing need and this machine lacks. Safe to repeat.
. "$(dirname "$0")/lib.sh"

missing_packages() {
    local package
    for package in "$@"; do
        if [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null | tr -d ' ')" != ii ]; then
            echo "$package"
        fi
    done
}

# apt_install LOG PACKAGE...
apt_install() (
    exec >"$1" 2>&1 </dev/null
    shift
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
)

step 'packages'
packages=(postgresql-15 postgresql-server-dev-15 clang libclang-dev gcc libc6-dev make pkg-config ca-certificates)
# The tests' Postgres runs as another user than root, and cargo-pgrx goes through sudo for that.
if is_root; then packages+=(sudo); fi
if [ "${1:-}" = tests ]; then
    if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then packages+=(python3 python3-venv); fi
    if ! command -v npm >/dev/null; then packages+=(npm); fi
fi
command -v apt-get >/dev/null || fail 'this set-up knows only Debian (apt-get not found)' \
    "install these by other means: Postgres 15 to 18 with its server headers, clang, libclang, a C compiler" \
    "then build with: make install PG_CONFIG=/path/to/pg_config"
mapfile -t missing < <(missing_packages "${packages[@]}")
if [ ${#missing[@]} -gt 0 ]; then
    note "installing: ${missing[*]}"
    if ! is_root && ! command -v sudo >/dev/null; then
        fail "these packages are missing and you are neither root nor have sudo: ${missing[*]}" \
            "ask an administrator to run: apt-get install ${missing[*]}" "then run this again"
    fi
    log=$TOOLS_DIR/apt.log
    apt_install "$log" "${missing[@]}" || {
        tail -20 "$log" >&2
        fail "apt-get could not install: ${missing[*]} (log: $log)" \
            "Postgres 15 comes with Debian 12; on another release use: make install PG_CONFIG=/path/to/pg_config"
    }
else
    note 'all there'
fi

# One tier of the tests needs it, and says that it did not run where it cannot be had.
if [ "${1:-}" = tests ] && [ "$(uname -m)" = x86_64 ] && ! command -v valgrind >/dev/null; then
    step 'valgrind, which counts instructions'
    log=$TOOLS_DIR/apt-valgrind.log
    if apt_install "$log" valgrind; then
        note "$(valgrind --version)"
    else
        tail -5 "$log" >&2
        warn "valgrind could not be installed (log: $log): nobody will see a path that takes more instructions than before"
    fi
fi

step 'Rust'
command -v cargo >/dev/null || fail 'cargo not found' \
    'install Rust with rustup (Debian: apt-get install rustup; otherwise see the Rust project) and run this again'
note "$(rustc --version)"

step "cargo-pgrx $PGRX_VERSION"
if [ "$(cargo pgrx --version 2>/dev/null)" = "cargo-pgrx $PGRX_VERSION" ]; then
    note 'there already'
else
    # Beside the checkout's other tools: a cargo-pgrx of another version stays what it is for its owner.
    note 'building it (about four minutes on two cores) ...'
    log=$TOOLS_DIR/cargo-pgrx.log
    with_progress "$log" cargo install cargo-pgrx --version "$PGRX_VERSION" --locked --root "$TOOLS_DIR/cargo" || {
        tail -20 "$log" >&2
        fail "cargo-pgrx did not build (log: $log)"
    }
fi

step 'Postgres 15, a private copy'
"$ROOT/tools/fetch-postgres.sh" 15
