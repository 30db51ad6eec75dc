#!/usr/bin/env bash
# make bench-failover: builds ours, installs what the others need, measures all of them in turns, and writes
# bench/results/failover.md and idle.md. With ENGINE=mysql or mariadb ours alone, on those: failover-mysql.md.
# Safe to interrupt: the next call goes on where runs are missing.
# Arguments are passed to series.py (--runs, --peer-runs, --only, --pg ...).
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
cd "$ROOT"
ENGINE=${ENGINE:-postgres}
scripts/engines.sh "$ENGINE"
cargo build --quiet --release --package dauphin
parts=all
[ "$ENGINE" = postgres ] || parts=clients
bench/failover/setup.sh $parts
PYTHON="${BENCH_WORK:-bench/work}/venv/bin/python"
status=0
"$PYTHON" bench/failover/series.py --engine "$ENGINE" "$@" || status=$?
"$PYTHON" bench/failover/summarize.py
[ "$ENGINE" != postgres ] || "$PYTHON" bench/failover/idle.py || status=$?
exit $status
