#!/usr/bin/env bash
# Random faults on real clusters of ENGINE (postgres, mysql, mariadb) for MINUTES (20), from SEED (1). Goes on where it was cut
# off; the report is bench/results/chaos.md and chaos.html. Other arguments: `scripts/chaos.sh --help`.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$ROOT"
ENGINE=${ENGINE:-postgres}
scripts/engines.sh "$ENGINE"
fault_tools
cargo build --quiet --release --package dauphin --package dauphin-chaos
exec target/release/dauphin-chaos --engine "$ENGINE" --minutes "${MINUTES:-20}" --seed "${SEED:-1}" "$@"
