#!/bin/sh
# The long runs of the proof, MINUTES long (60 by default). Goes on where it was cut off.
set -eu
cd "$(dirname "$0")/../.."
cargo build --quiet --release --package xtask
exec python3 bench/proof/long.py --minutes "${MINUTES:-60}" "$@"
