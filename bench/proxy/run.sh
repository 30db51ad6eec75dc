#!/bin/sh
# What our proxy costs beside PgBouncer and HAProxy: builds ours, installs what is missing of theirs, runs cost.py.
set -eu
cd "$(dirname "$0")/../.."
for program in pgbouncer haproxy; do
    command -v "$program" >/dev/null && continue
    echo "installing $program" >&2
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet "$program" >/dev/null
    # as a program only: no service of the system's
    if command -v systemctl >/dev/null; then systemctl disable --now "$program" >/dev/null 2>&1 || true; fi
done
cargo build --quiet --release --package dauphin-proxy --example fixed
exec python3 bench/proxy/cost.py "$@"
