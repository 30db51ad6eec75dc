#!/usr/bin/env bash
# What the other systems need to be measured beside ours: Debian packages (no service is started), Python environments
# below bench/work, and the system user that all servers run as. Called by run.sh only; safe to repeat.
#   setup.sh          everything;  setup.sh clients   only the environment of the writers, for quick.py and chaos_loop.py
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/common.sh"

PATRONI_VERSION=4.1.5
WORK="${BENCH_WORK:-$ROOT/bench/work}"
POLICY=/usr/sbin/policy-rc.d

# Debian starts what it installs: forbid it meanwhile.
peers() {
    local policy=""
    if [ "$(id -u)" = 0 ] && [ ! -e $POLICY ]; then
        policy=yes
        printf '#!/bin/sh\nexit 101\n' >$POLICY
        chmod 755 $POLICY
    fi
    # shellcheck disable=SC2064
    trap "[ -z '$policy' ] || rm -f $POLICY" EXIT
    packages "etcd and HAProxy for Patroni, pg_auto_failover: what ours is compared with" \
        postgresql-15 postgresql-15-auto-failover pg-auto-failover-cli etcd-server haproxy
}

# For the writers: any Python will do, they run as whoever calls.
clients() {
    if [ ! -x "$WORK/venv/bin/python" ]; then
        python3 -c 'import venv, ensurepip' 2>/dev/null || packages "a Python environment for the writers" python3-venv
        python3 -m venv "$WORK/venv"
    fi
    "$WORK/venv/bin/python" -c 'import psycopg, pymysql, cryptography' 2>/dev/null ||
        "$WORK/venv/bin/pip" install --quiet "psycopg[binary]" "pymysql[rsa]"
}

# Patroni runs as the system user, who cannot reach a Python in somebody's home.
patroni() {
    [ "$("$WORK/patroni-venv/bin/patroni" --version 2>/dev/null)" = "patroni $PATRONI_VERSION" ] && return
    packages "Patroni is written in it" python3 python3-venv
    /usr/bin/python3 -m venv --copies "$WORK/patroni-venv"
    "$WORK/patroni-venv/bin/pip" install --quiet "patroni[etcd3,psycopg3]==$PATRONI_VERSION" "psycopg[binary]"
}

mkdir -p "$WORK" "$ENGINES"
chmod 755 "$WORK"
service_user
clients
if [ "${1:-all}" != clients ]; then
    peers
    patroni
fi
