# Shared by the scripts beside it: where the checkout is, how to say something, how to install a missing package.
# Read with `.`; it does nothing by itself.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ENGINES="$ROOT/.engines"
SERVICE_USER=dauphin

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "error: $*"
    exit 1
}

# packages WHY PACKAGE...: installs Debian packages that are missing, saying which and why.
packages() {
    local why=$1 missing=() package
    shift
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || fail "$why: please install ${missing[*]} (there is no apt-get here to do it with)"
    [ "$(id -u)" = 0 ] || fail "$why: please run as root once, or: apt-get install ${missing[*]}"
    say "installing ${missing[*]}: $why"
    if ! install_quietly "${missing[@]}"; then
        DEBIAN_FRONTEND=noninteractive apt-get update -qq >&2 || fail "apt-get update failed; see above"
        install_quietly "${missing[@]}" || fail "cannot install ${missing[*]}; see above"
    fi
}

install_quietly() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >"$ENGINES/apt.log" 2>&1 && return
    tail -n 5 "$ENGINES/apt.log" >&2
    return 1
}

# What some faults are made with, and what counts a query's cost. Without them those are left out, by name.
fault_tools() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 0
    (packages "faults of disks, links and clocks, and counts of instructions" strace xfsprogs e2fsprogs iproute2 libfaketime valgrind) || say "what needs them is left out"
}

# PostgreSQL refuses to run as root: with root, servers run as a system user of their own.
service_user() {
    [ "$(id -u)" = 0 ] || return 0
    id "$SERVICE_USER" >/dev/null 2>&1 && return
    say "adding the system user $SERVICE_USER: database servers refuse to run as root"
    useradd --system --user-group --home-dir /nonexistent --shell /usr/sbin/nologin "$SERVICE_USER"
}
