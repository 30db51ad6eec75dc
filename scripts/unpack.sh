# Debian packages of any suite, unpacked into a folder of .engines/ with the libraries they were built for, not installed.
# Read with `.` by engines.sh, after common.sh; it does nothing by itself.

# unpack NAME SUITE PROGRAM "PACKAGES" ["MORE PACKAGES"]: PACKAGES of the Debian suite SUITE with all they need, and MORE
# PACKAGES of which the needs are met already, into .engines/NAME. PROGRAM is what must run in the end.
unpack() {
    local name=$1 suite=$2 program=$3 packages=$4 more=${5:-} prefix work
    [ -x "$ENGINES/$name/$program" ] && return
    if ! can_unpack "$name"; then return; fi
    prefix="$(place)/$name" work="$(place)/$name.new"
    if [ "$prefix" != "$ENGINES/$name" ] && [ -x "$prefix/$program" ]; then
        ln -sfn "$prefix" "$ENGINES/$name"
        return
    fi
    say "fetching $packages of Debian's suite $suite, with all they need, into $prefix"
    rm -rf "$work"
    mkdir -p "$work/root" "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
    : >"$work/apt/status"
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$(debian_mirror)" "$suite" >"$work/apt/sources.list"
    apt_apart "$work" update -qq || fail "cannot read the package lists of Debian's suite $suite; see above"
    # shellcheck disable=SC2086 # the lists are words
    apt_apart "$work" install -y -qq --download-only $packages patchelf || fail "cannot fetch $packages of Debian's suite $suite; see above"
    if [ -n "$more" ]; then
        # shellcheck disable=SC2086 # the lists are words
        (cd "$work/apt/cache/archives" && apt_apart "$work" download -qq $more) || fail "cannot fetch $more of Debian's suite $suite; see above"
    fi
    local package
    for package in "$work"/apt/cache/archives/*.deb; do dpkg -x "$package" "$work/root"; done
    rm -rf "$prefix" "$work/root"/usr/share/{doc,man,locale,info,lintian,bug,perl*,icu} "$work/root"/usr/lib/*/{perl*,gconv}
    chmod -R a+rX "$work/root"
    mv "$work/root" "$prefix"
    own_libraries "$prefix"
    rm -rf "$work" "$ENGINES/$name.left-out"
    [ "$prefix" = "$ENGINES/$name" ] || ln -sfn "$prefix" "$ENGINES/$name"
    "$prefix/$program" --version >/dev/null || fail "$prefix/$program was unpacked, but does not run"
    say "$name: .engines/$name ($("$prefix/$program" --version))"
}

# Where engines are unpacked: in the checkout, or, where the servers' user cannot come, outside it and linked.
place() {
    if [ "$(id -u)" != 0 ] || setpriv --reuid="$SERVICE_USER" --regid="$SERVICE_USER" --clear-groups test -x "$ENGINES/."; then
        printf '%s' "$ENGINES"
    else
        mkdir -p /var/lib/dauphin-engines
        printf '%s' /var/lib/dauphin-engines
    fi
}

# Whether this machine is one of Debian's. Where it is not, the reason is left in .engines/NAME.left-out: the tests that need
# NAME give it when they are left out.
can_unpack() {
    local why=""
    command -v apt-get >/dev/null && command -v dpkg >/dev/null || why="this machine has no apt-get and dpkg"
    [ -n "$why" ] || [ -r /usr/share/keyrings/debian-archive-keyring.gpg ] || why="this machine has not Debian's keys (package debian-archive-keyring)"
    [ -n "$why" ] || [ -n "$(debian_mirror)" ] || why="this machine's apt knows no mirror of Debian"
    [ -n "$why" ] || return 0
    say "$1: left out, $why"
    printf '%s\n' "$why" >"$ENGINES/$1.left-out"
    return 1
}

# The mirror that this machine uses, from its own lists.
debian_mirror() {
    local found
    found=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n 1)
    [ -n "$found" ] || found=$(sed -n 's/^deb  *\(\[[^]]*\]\)\{0,1\} *\([^ ]*debian\/*\) .*/\2/p' /etc/apt/sources.list 2>/dev/null | head -n 1)
    printf '%s' "$found"
}

# apt_apart WORK COMMAND...: apt-get with lists, status and cache of its own, as if nothing were installed: it then brings the C
# library too.
apt_apart() {
    local apt="$1/apt"
    shift
    DEBIAN_FRONTEND=noninteractive apt-get -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=- \
        -o Dir::State::lists="$apt/lists" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache" \
        -o APT::Install-Recommends=0 -o APT::Sandbox::User=root -o Debug::NoLocking=1 -o Acquire::Languages=none "$@" >&2
}

# The programs in PREFIX run against the C library and all others that came with them, wherever the machine's own are.
own_libraries() {
    local prefix=$1 loader lib path program
    # without links on the way: the loader's path is written into the programs
    prefix=$(cd "$prefix" && pwd -P)
    loader=$(find "$prefix" -name 'ld-linux*.so.*' \( -type f -o -type l \) | grep -E '/[a-z0-9_]+-linux-gnu/' | head -n 1)
    [ -n "$loader" ] || fail "no loader was unpacked in $prefix"
    lib=$(basename "$(dirname "$loader")")
    path="$prefix/usr/lib/$lib:$prefix/lib/$lib"
    for program in "$prefix"/usr/sbin/* "$prefix"/usr/bin/*; do
        case "${program##*/}" in
        mysql* | mariadb* | mariabackup | mbstream | my_print_defaults | resolveip) ;;
        *) continue ;;
        esac
        # scripts and links are as they are
        [ -L "$program" ] || [ "$(head -c 4 "$program" | tail -c 3)" != ELF ] ||
            "$loader" --library-path "$path" "$prefix/usr/bin/patchelf" --set-interpreter "$loader" --set-rpath "$path" --force-rpath "$program"
    done
}
