#!/usr/bin/env bash
# The SQL security linter over the install script, and over the upgrade scripts after the script that
# they start from.
. "$(dirname "$0")/lib.sh"

PGSPOT_VERSION=0.9.4
venv=$TOOLS_DIR/venv
if [ "$("$venv/bin/pgspot" --version 2>/dev/null | awk '{print $NF}')" != "$PGSPOT_VERSION" ]; then
    [ -x "$venv/bin/pip" ] || python3 -m venv "$venv" || fail 'python3 cannot make a virtual environment' 'run: make setup-tests'
    "$venv/bin/pip" install -q "pgspot==$PGSPOT_VERSION" </dev/null || fail 'pgspot could not be installed' 'is the Python package registry reachable?'
fi

extension=$("$(pg_config_of "$MAIN_MAJOR")" --sharedir)/extension
version=$(sed -n "s/^default_version *= *'\(.*\)'/\1/p" cdp.control)
status=0
spot() {
    echo "pgspot $*"
    "$venv/bin/pgspot" "$@" || status=1
}
spot "$extension/cdp--$version.sql"
shopt -s nullglob
for script in "$extension"/cdp--*--*.sql; do
    from=$(basename "$script" | sed -E 's/^cdp--(.*)--.*\.sql$/\1/')
    spot -a "$extension/cdp--$from.sql" "$script"
done
exit "$status"
