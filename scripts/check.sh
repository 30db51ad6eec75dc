#!/usr/bin/env bash
# Formatting, lints, the dependency rule and the rest of `tidy`, rules and boards, documentation, licences. Changes nothing.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$ROOT"

DENY_VERSION=0.20.2
export PATH="$ROOT/.tools/bin:$PATH"

say "formatting"
cargo fmt --all --check
say "lints"
cargo clippy --quiet --workspace --all-targets -- -D warnings
say "tidy"
cargo xtask tidy
say "monitoring"
scripts/monitoring.sh
say "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps
say "licences, bans and sources"
if ! command -v cargo-deny >/dev/null; then
    say "building cargo-deny $DENY_VERSION into .tools/ (once; it takes some minutes)"
    cargo install --quiet --locked --root .tools "cargo-deny@$DENY_VERSION"
fi
cargo deny --log-level error check bans licenses sources
say "all is well"
