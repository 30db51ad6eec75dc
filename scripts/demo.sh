#!/usr/bin/env bash
# The main job, from nothing: installs what is missing, builds, and shows a leader die and a replica take over.
# KEEP=1 leaves the cluster up and says how to reach and stop it; ENGINE=mysql or ENGINE=mariadb shows it with those.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$ROOT"

mkdir -p "$ENGINES"
command -v cc >/dev/null || packages "a C compiler, to build the cryptography library" build-essential
engine=${ENGINE:-postgres}
case $engine in
    postgres) scripts/engines.sh postgres-15 ;;
    mysql | mariadb) scripts/engines.sh "$engine" ;;
    *) fail "ENGINE is postgres, mysql or mariadb, not $engine" ;;
esac
say "building (some minutes the first time)"
cargo build --quiet --release --package dauphin
keep=()
[ "${KEEP:-0}" = 1 ] && keep=(--keep)
exec target/release/dauphin demo --engine "$engine" --dir "$ROOT/.lab/demo" "${keep[@]}"
