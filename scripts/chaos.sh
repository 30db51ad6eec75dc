#!/usr/bin/env bash
# Random faults on real clusters for MINUTES (20), from SEED (1). Goes on where it was cut off; the report is
# bench/results/chaos.md and chaos.html. Other arguments: `scripts/chaos.sh --help`.
set -eu
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$ROOT"
scripts/engines.sh postgres
fault_tools
cargo build --quiet --release --package dauphin --package dauphin-chaos
exec target/release/dauphin-chaos --minutes "${MINUTES:-20}" --seed "${SEED:-1}" "$@"
