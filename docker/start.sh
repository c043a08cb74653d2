#!/bin/sh
# Starts Postgres with cdp preloaded. The first time it makes the cluster and in it a database with the extension; a
# cluster that was not finished is made anew. Further arguments go to Postgres (such as -c shared_buffers=1GB).
#   CDP_DATA             folder for the cluster              CDP_DATABASE   name of the database
#   POSTGRES_PASSWORD    of the user postgres, needed the first time
set -eu
: "${CDP_DATA:?is not set}" "${CDP_DATABASE:?is not set}"
cluster=$CDP_DATA/cluster

if [ ! -d "$cluster" ]; then
    : "${POSTGRES_PASSWORD:?is not set: the password of the user postgres}"
    unfinished=$CDP_DATA/unfinished
    rm -rf "$unfinished"
    umask 077
    printf '%s\n' "$POSTGRES_PASSWORD" >"$CDP_DATA/password"
    initdb -D "$unfinished" -U postgres -E UTF8 --locale=C.UTF-8 --pwfile="$CDP_DATA/password" \
        --auth-local=trust --auth-host=scram-sha-256
    rm "$CDP_DATA/password"
    echo 'host all all all scram-sha-256' >>"$unfinished/pg_hba.conf"
    cat >>"$unfinished/postgresql.conf" <<CONF

shared_preload_libraries = 'cdp'
cdp.databases = '$CDP_DATABASE'
unix_socket_directories = '/tmp'
CONF
    # Nobody gets in before the database is complete: no port, and a socket in a folder of our own.
    pg_ctl -D "$unfinished" -s -w -o "-c listen_addresses='' -c unix_socket_directories='$CDP_DATA'" start
    psql -X -q -h "$CDP_DATA" -U postgres -v database="$CDP_DATABASE" postgres <<'SQL'
CREATE DATABASE :"database";
\connect :"database"
CREATE EXTENSION cdp;
SQL
    pg_ctl -D "$unfinished" -s -w -m fast stop
    mv "$unfinished" "$cluster"
fi
unset POSTGRES_PASSWORD
exec postgres -D "$cluster" -c listen_addresses='*' "$@"
