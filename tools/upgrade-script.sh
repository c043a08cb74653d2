#!/usr/bin/env bash
# upgrade-script.sh [--check]: writes the script from 0.0.1, which was the schema alone, to the current version: every
# file of sql/ after the first. From the first release on, upgrade scripts are written by hand and never change.
. "$(dirname "$0")/lib.sh"

script=sql/cdp--0.0.1--0.1.0.sql
first=sql/cdp--0.0.1.sql
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
cp sql/01_schema.sql "$made/first"
for file in sql/[0-9][0-9]_*.sql; do
    [ "$file" = sql/01_schema.sql ] || cat "$file"
done >"$made/rest"
if [ "${1:-}" = --check ]; then
    cmp -s "$made/first" "$first" && cmp -s "$made/rest" "$script" \
        || fail "$script is not made from the files of sql/ as they are now" "run: tools/upgrade-script.sh"
else
    cmp -s "$made/first" "$first" || cp "$made/first" "$first"
    cmp -s "$made/rest" "$script" || cp "$made/rest" "$script"
fi
