#!/usr/bin/env bash
# `unsafe` appears only under src/pg/, and what it relies on is said in a `// SAFETY:` comment (or the
# `# Safety` section of an unsafe function) close above it. The signature of a private unsafe function needs
# none: it asks for a promise, and the blocks inside give theirs.
. "$(dirname "$0")/lib.sh"

mapfile -t files < <(git ls-files --cached --others --exclude-standard -- '*.rs')
awk '
    FNR == 1 { reason = -100 }
    /^[[:space:]]*\/\/.*(SAFETY:|# Safety)/ { reason = FNR }
    # A comment of several lines counts from its last one.
    /^[[:space:]]*\/\// { if (reason == FNR - 1) reason = FNR; next }
    /^[[:space:]]*#\[/ { if (reason == FNR - 1) reason = FNR; if ($0 !~ /unsafe/) next }
    {
        line = $0
        gsub(/"([^"\\]|\\.)*"/, "", line)
        sub(/\/\/.*/, "", line)
    }
    line ~ /(^|[^_[:alnum:]])unsafe([^_[:alnum:]]|$)/ {
        signature = line ~ /unsafe[[:space:]]+(extern[[:space:]]+)?("[^"]*"[[:space:]]+)?fn[[:space:]]/ && line !~ /^[[:space:]]*pub[[:space:]]/
        if (FILENAME !~ /^src\/pg\//) { print FILENAME ":" FNR ": unsafe outside src/pg"; bad = 1 }
        else if (!signature && FNR - reason > 4) { print FILENAME ":" FNR ": unsafe without // SAFETY:"; bad = 1 }
    }
    END { exit bad }
' "${files[@]}"
