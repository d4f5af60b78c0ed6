#!/bin/sh
# Makes (once) a tar of a bare Debian bookworm root file system and prints its path; later calls print
# the path at once. It is kept outside the repository: AZIMUTH_CACHE, or ~/.cache/azimuth. Needs
# root and debootstrap; exits 77 where it cannot.
set -eu

skip() {
  printf 'skipped: %s\n' "$*" >&2
  exit 77
}

cache=${AZIMUTH_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/cache}/.cache}/azimuth}
tar=$cache/bookworm-$(dpkg --print-architecture 2>/dev/null || uname -m).tar
if [ -s "$tar" ]; then
  printf '%s\n' "$tar"
  exit 0
fi

[ "$(id -u)" -eq 0 ] || skip "making a root file system takes root"
command -v debootstrap >/dev/null 2>&1 || skip "debootstrap is not installed (apt-get install debootstrap)"

mkdir -p "$cache"
work=$(mktemp -d "$cache/base.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The host's own mirror, so that a machine that reaches only that one can do it too.
mirror=$(sed -n 's#^URIs: *\([^ ]*/debian\)/\{0,1\} *$#\1#p; s#^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*/debian\)/\{0,1\} bookworm main.*#\2#p' \
  /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n 1)
printf 'making a bookworm root file system (once)\n' >&2
# shellcheck disable=SC2086  # no mirror found: debootstrap's own default
debootstrap --variant=minbase bookworm "$work/root" $mirror >"$work/log" 2>&1 || {
  tail -n 5 "$work/log" >&2
  skip "debootstrap could not make a bookworm root (no network?)"
}
rm -rf "$work/root/var/cache/apt/archives"/*.deb "$work/root/var/lib/apt/lists"/*
tar -C "$work/root" -cf "$work/tar" .
mv "$work/tar" "$tar"
printf '%s\n' "$tar"
