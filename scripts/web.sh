#!/usr/bin/env bash
# The console's own tests, and what drives it in a browser.
#   scripts/web.sh              tests of its pure modules, by node
#   scripts/web.sh tools        Chromium and axe-core, for the test of the console in a browser
#   scripts/web.sh pictures     makes the pictures in docs/images anew, by that test
# The console itself needs none of this: cargo builds it in as it lies in web/.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$ROOT"

# Largest picture in the documentation.
PICTURE_BYTES_MAX=150000

node_there() {
    command -v node >/dev/null || packages "Node, which runs the console's tests (the console needs none)" nodejs
}

tools() {
    command -v chromium >/dev/null || packages "Chromium, in which the console is tested" chromium
    [ web/node_modules/axe-core/axe.min.js -nt web/package-lock.json ] && return
    node_there
    command -v npm >/dev/null || packages "npm, which fetches axe-core (web/package-lock.json)" npm
    say "fetching axe-core, which looks for what keeps people out, into web/node_modules"
    npm ci --prefix web --no-audit --no-fund --loglevel=error >&2
    touch web/node_modules/axe-core/axe.min.js
}

mkdir -p "$ENGINES"
case "${1:-test}" in
test)
    node_there
    shift || true
    node --test "$@" web/test/*.test.js
    ;;
tools) tools ;;
pictures)
    tools
    packages "the typefaces that the pictures are set in, and what makes them small" fonts-inter fonts-jetbrains-mono pngquant
    mkdir -p docs/images
    DAUPHIN_PICTURES="$ROOT/docs/images" cargo test --package dauphin --test whole -- --nocapture the_console_shows
    pngquant --force --ext .png --speed 1 --strip 128 docs/images/console-*.png
    for picture in docs/images/console-*.png; do
        [ "$(stat -c %s "$picture")" -le $PICTURE_BYTES_MAX ] || fail "$picture is larger than $PICTURE_BYTES_MAX bytes"
    done
    ;;
*) fail "usage: scripts/web.sh [test|tools|pictures]" ;;
esac
