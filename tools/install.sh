#!/usr/bin/env bash
# install.sh PG_CONFIG: builds the extension for an existing server and installs it there.
. "$(dirname "$0")/lib.sh"

pg_config=${1:-}
if [ -z "$pg_config" ]; then
    shopt -s nullglob
    candidates=(/usr/lib/postgresql/*/bin/pg_config)
    fail 'which server? name its pg_config' "make install PG_CONFIG=${candidates[-1]:-/path/to/pg_config}"
fi
[ -x "$pg_config" ] || fail "$pg_config is not a program" 'PG_CONFIG is the path of the pg_config of your server'
version=$("$pg_config" --version)
major=$(sed -E 's/^PostgreSQL ([0-9]+).*/\1/' <<<"$version")
case $major in
    15 | 16 | 17 | 18) ;;
    *) fail "$pg_config is of $version; cdp runs on Postgres 15, 16, 17 and 18" ;;
esac
headers=$("$pg_config" --includedir-server)
[ -f "$headers/postgres.h" ] || fail "the server headers of $version are missing ($headers/postgres.h)" \
    "Debian: apt-get install postgresql-server-dev-$major"

"$ROOT/tools/setup.sh" tools-only

step "building for $version"
stage=$TARGET_DIR/install-pg$major
rm -rf "$stage"
cargo pgrx package --package cdp --pg-config "$pg_config" --no-default-features --features "pg$major" \
    --out-dir "$stage" </dev/null

step 'installing'
shared=$("$pg_config" --sharedir)/extension
libraries=$("$pg_config" --pkglibdir)
copy=(install -m 644)
if [ -w "$shared" ] && [ -w "$libraries" ]; then into=(); else into=(as_root); fi
"${into[@]}" "${copy[@]}" "$stage$shared"/cdp* "$shared/"
"${into[@]}" "${copy[@]}" "$stage$libraries"/cdp* "$libraries/"
note "$shared/cdp.control"
note "$libraries/cdp.so"

cat <<TEXT

Add to postgresql.conf and restart the server:

    shared_preload_libraries = 'cdp'    # beside what is there already, separated by a comma
    cdp.databases = 'your_database'     # the databases whose events are delivered in the background

then, in that database:

    CREATE EXTENSION cdp;
TEXT
