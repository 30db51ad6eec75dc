#!/bin/sh
# Drivers through the proxy: installs psycopg and asyncpg into bench/work/drivers-venv, and runs drivers.py.
set -eu
cd "$(dirname "$0")/../.."
venv=bench/work/drivers-venv
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet 'psycopg[binary]==3.2.*' 'asyncpg==0.30.*'
fi
cargo build --quiet --release --package dauphin-proxy --example fixed
exec "$venv/bin/python" bench/proxy/drivers.py "$@"
