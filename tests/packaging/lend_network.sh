#!/bin/sh
# lend_network.sh ROOT: gives a root file system what this machine needs to reach package servers:
# resolver, host names, apt's sources and options, extra certificate authorities. What is lent is
# found here at run time; none of it is written in the repository.
set -eu
root=${1:?usage: lend_network.sh ROOT}

cp -L /etc/resolv.conf /etc/hosts "$root/etc/"

# Debian's own sources only: others come with keys and packages that a fresh machine has not.
debian_only() { grep -l 'bookworm' "$@" 2>/dev/null | xargs -r grep -lE '/debian(-security)?/?( |$)' || true; }
found=$(debian_only /etc/apt/sources.list /etc/apt/sources.list.d/*)
if [ -n "$found" ]; then
  rm -f "$root/etc/apt/sources.list"
  for file in $found; do
    cp "$file" "$root${file}"
  done
fi
# Options of fetching (a proxy, a mirror's lack of dates), not those of the host's habits.
for file in /etc/apt/apt.conf /etc/apt/apt.conf.d/*; do
  [ ! -f "$file" ] || ! grep -q '^Acquire::' "$file" || cp "$file" "$root$file"
done

mkdir -p "$root/usr/local/share/ca-certificates"
for file in /usr/local/share/ca-certificates/*.crt; do
  [ ! -f "$file" ] || cp "$file" "$root/usr/local/share/ca-certificates/"
done
