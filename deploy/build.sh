#!/usr/bin/env bash
# How is the container image built?
#
#   deploy/build.sh [TAG]               default: localhost/countersign:dev
#   BINARY=/path deploy/build.sh TAG    with a static binary from elsewhere
#
# The binary is linked statically against glibc (`+crt-static`): it needs no
# target but the machine's own, so it builds wherever Rust is. musl would be
# smaller, but its allocator and resolver are other ones than those that were
# tested. The known trap of static glibc is name lookup, which loads modules
# at run time; since glibc 2.34 the two that a container needs, `files` and
# `dns`, are part of libc, and nsswitch.conf asks for no other. So: glibc 2.34
# or newer on the building machine, which this script checks.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tag=${1:-localhost/countersign:dev}
fail() { echo "build: $*" >&2; exit 1; }

if [[ -z ${BINARY:-} ]]; then
    glibc=$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)
    [[ $(printf '%s\n' 2.34 "$glibc" | sort -V | head -1) == 2.34 ]] || fail "glibc $glibc is older than 2.34"
    target=$(rustc -vV | sed -n 's/^host: //p')
    # --target keeps the flag away from build scripts and macros, which cannot
    # be static. Cargo takes RUSTFLAGS instead of .cargo/config.toml, hence lld.
    (cd "$root" && RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-fuse-ld=lld" \
        nice cargo build --release --locked --bin countersign --target "$target")
    BINARY=${CARGO_TARGET_DIR:-$root/target}/$target/release/countersign
fi
[[ -x $BINARY ]] || fail "no binary at $BINARY"
if readelf --program-headers --wide "$BINARY" | grep -q INTERP; then fail "$BINARY is not static"; fi

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp "$BINARY" "$context/countersign"
cp "$root/deploy/nsswitch.conf" "$context/"
cp /etc/ssl/certs/ca-certificates.crt "$context/" || fail "no CA certificates; apt-get install ca-certificates"
podman build --quiet --format docker --timestamp 0 --tag "$tag" --file "$root/deploy/Containerfile" "$context"
