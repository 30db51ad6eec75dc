#!/usr/bin/env bash
# Fuzzes what takes bytes from clients and servers for MINUTES (5) each: TARGETS="frames startup scram sql track". Begins with
# the seeds in fuzz/seeds/ and goes on where it was cut off (fuzz/corpus/). Needs nightly Rust; builds cargo-fuzz once.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$ROOT"

FUZZ_VERSION=0.13.2
# Longest input in bytes: long enough for a conversation, short enough for many of them.
INPUT_BYTES_MAX=2048
export PATH="$ROOT/.tools/bin:$PATH"

rustup toolchain list 2>/dev/null | grep -q ^nightly || fail "fuzzing needs nightly Rust: rustup toolchain install nightly --profile minimal"
if ! command -v cargo-fuzz >/dev/null; then
    say "building cargo-fuzz $FUZZ_VERSION into .tools/ (once; it takes some minutes)"
    cargo install --quiet --locked --root .tools "cargo-fuzz@$FUZZ_VERSION"
fi
cd fuzz
# No sanitizer of memory: there is no unsafe code here to find anything in.
cargo +nightly fuzz build --sanitizer none
for target in ${TARGETS:-frames startup scram sql track}; do
    say "$target, ${MINUTES:-5} minutes"
    mkdir -p "corpus/$target"
    if ! cargo +nightly fuzz run --sanitizer none "$target" "corpus/$target" "seeds/$target" -- \
        -max_total_time=$((${MINUTES:-5} * 60)) -max_len=$INPUT_BYTES_MAX -dict=words.dict -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 -verbosity=0; then
        fail "$target: the input is in fuzz/artifacts/$target; mend it, and keep it in fuzz/seeds/$target, which \`make test\` plays"
    fi
done
