#!/usr/bin/env bash
# Drivers through the proxy, in both kinds of pooling: psycopg, asyncpg, node-postgres, pgjdbc, sqlx, pgbench. Installs them under
# bench/work/drivers, and pgjdbc and Java as Debian packages; what cannot be had is left out by name. Then drivers.py.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/../../../scripts/common.sh"
cd "$ROOT"
here=bench/proxy/drivers work=bench/work/drivers venv=bench/work/drivers-venv
mkdir -p "$work"
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet 'psycopg[binary]==3.2.*' 'asyncpg==0.30.*'
fi
(command -v npm >/dev/null || packages "node-postgres" nodejs npm) && (cd "$work" && [ -d node_modules/pg ] || npm install --silent --no-audit --no-fund pg@8 >&2) ||
    say "node-postgres is left out"
(command -v javac >/dev/null || packages "pgjdbc" default-jdk-headless) && (packages "pgjdbc" libpostgresql-jdbc-java) &&
    javac -cp /usr/share/java/postgresql.jar -d "$work" "$here/Work.java" || say "pgjdbc is left out"
CARGO_TARGET_DIR="$work/target" cargo build --quiet --manifest-path "$here/sqlx/Cargo.toml" || say "sqlx is left out"
cargo build --quiet --release --package dauphin-proxy --example fixed
exec "$venv/bin/python" "$here/drivers.py" "$@"
