#!/usr/bin/env bash
# Runs the workspace's tests and ends with `N passed, N failed, N skipped`.
#   scripts/test.sh          what fits 30 minutes on two cores, a clean build included
#   scripts/test.sh long     the long runs too: tests whose names begin with long_
# Set PACKAGE=NAME to run one package's.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$ROOT" || exit 1

profile=default
skip=(--skip long_)
[ "${1:-}" = long ] && profile=long && skip=()

mkdir -p "$ENGINES" target
if ! command -v cc >/dev/null; then
    packages "a C compiler, to build the cryptography library" build-essential || exit 1
fi
scripts/engines.sh postgres || exit 1

scope=(--workspace)
[ -n "${PACKAGE:-}" ] && scope=(--package "$PACKAGE")
log=target/test.log

if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run "${scope[@]}" --profile $profile --no-fail-fast --color never 2>&1 | tee $log
    status=${PIPESTATUS[0]}
    # One line at the end: "N tests run: N passed (N slow), N failed, N timed out, N skipped", as far as there are any.
    summary=$(grep -E '^ +Summary \[' $log | tail -n 1)
    count() { echo "$summary" | grep -oE "[0-9]+ $1" | grep -oE '^[0-9]+' || echo 0; }
    passed=$(count passed)
    failed=$(($(count failed) + $(count 'timed out') + $(count 'exec failed')))
    skipped=$(count skipped)
else
    cargo test "${scope[@]}" --no-fail-fast --lib --bins --tests -- "${skip[@]}" 2>&1 | tee $log
    status=${PIPESTATUS[0]}
    # One line for each test program: "test result: ok. N passed; N failed; N ignored; 0 measured; N filtered out; ..."
    count() { grep '^test result:' $log | grep -oE "[0-9]+ $1" | awk '{ n += $1 } END { print n + 0 }'; }
    passed=$(count passed)
    failed=$(count failed)
    skipped=$(($(count ignored) + $(count 'filtered out')))
fi

# A build that failed, or a test program that died, is a failure even if no test could say so.
[ "$status" = 0 ] || [ "$failed" != 0 ] || failed=1
echo "$passed passed, $failed failed, $skipped skipped"
[ "$status" = 0 ] && [ "$failed" = 0 ]
