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
scripts/engines.sh all || exit 1
fault_tools
(scripts/web.sh tools) || say "the console is not tested in a browser"

log=target/test.log
passed=0 failed=0 skipped=0 status=0

# run ARGUMENTS: runs the tests that cargo's ARGUMENTS choose, and adds up what came of them.
run() {
    local ended
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run "$@" --profile $profile --no-fail-fast --color never 2>&1 | tee $log
        ended=${PIPESTATUS[0]}
        # One line at the end: "N tests run: N passed (N slow), N failed, N timed out, N skipped", as far as there are any.
        local summary
        summary=$(grep -E '^ +Summary \[' $log | tail -n 1)
        count() { echo "$summary" | grep -oE "[0-9]+ $1" | grep -oE '^[0-9]+' || echo 0; }
        passed=$((passed + $(count passed)))
        failed=$((failed + $(count failed) + $(count 'timed out') + $(count 'exec failed')))
        skipped=$((skipped + $(count skipped)))
    else
        cargo test "$@" --no-fail-fast -- "${skip[@]}" 2>&1 | tee $log
        ended=${PIPESTATUS[0]}
        # One line for each test program: "test result: ok. N passed; N failed; N ignored; 0 measured; N filtered out; ..."
        count() { grep '^test result:' $log | grep -oE "[0-9]+ $1" | awk '{ n += $1 } END { print n + 0 }'; }
        passed=$((passed + $(count passed)))
        failed=$((failed + $(count failed)))
        skipped=$((skipped + $(count ignored) + $(count 'filtered out')))
    fi
    [ "$ended" = 0 ] || status=$ended
}

# The console's modules.
if [ -z "${PACKAGE:-}" ]; then
    scripts/web.sh test --test-reporter=tap >$log || status=$?
    cat $log
    count() { grep -oE "^# $1 [0-9]+" $log | grep -oE '[0-9]+' || echo 0; }
    passed=$((passed + $(count pass))) failed=$((failed + $(count fail)))
fi

scope=(--workspace)
[ -n "${PACKAGE:-}" ] && scope=(--package "$PACKAGE")
run "${scope[@]}" --lib --bins --tests
# What touches a real server, on the other versions too.
if [ $profile = long ] && [ -z "${PACKAGE:-}" ]; then
    for version in 16 18; do
        [ -x "$ENGINES/postgres-$version/bin/postgres" ] || continue
        say "the tests with real servers, on PostgreSQL $version"
        export DAUPHIN_TEST_BIN="$ENGINES/postgres-$version/bin"
        run --package dauphin-engine --tests
        run --package dauphin --test whole
    done
fi

# Drivers of other languages through the proxy.
if [ $profile = long ] && [ -z "${PACKAGE:-}" ]; then
    say "drivers through the proxy"
    if bench/proxy/drivers/drivers.sh; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
fi

# A build that failed, or a test program that died, is a failure even if no test could say so.
[ "$status" = 0 ] || [ "$failed" != 0 ] || failed=1
echo "$passed passed, $failed failed, $skipped skipped"
[ "$status" = 0 ] && [ "$failed" = 0 ]
