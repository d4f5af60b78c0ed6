#!/bin/bash
# From a bare Debian 12 (bookworm) to a running azimuth: installs what is missing, builds, starts
# `azimuth dev` (an azimuth in front of a redis-server of its own) and shows where to connect.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: examples/quickstart.sh [--check | --stay] [options of `azimuth dev`]

Installs what is missing (as root or with sudo), builds build/release/azimuth and starts `azimuth dev`.
In a terminal it stays until Ctrl-C. Without one, or with --check, it sends a first SET and GET through
the endpoint, shows the answers and stops. --stay stays in any case.

With --zones 3 it is a cluster of three zones on this machine, and says how to watch a failover.
TEXT
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tests/packages.sh"

mode=stay
[ -t 0 ] || mode=check
base_port=6380
options=()
while [ $# -gt 0 ]; do
  case $1 in
    --check) mode=check ;;
    --stay) mode=stay ;;
    --base-port) base_port=${2:?--base-port needs a number}; options+=("$1" "$2"); shift ;;
    --base-port=*) base_port=${1#*=}; options+=("$1") ;;
    -h | --help) usage; exit 0 ;;
    *) options+=("$1") ;;
  esac
  shift
done

# shellcheck disable=SC2086  # lists of words
azimuth_install $AZIMUTH_BUILD_PACKAGES $AZIMUTH_DEV_PACKAGES

cd "$root"
azimuth_say "building (a few minutes the first time)"
mkdir -p build/release
cmake --preset release >build/release/configure.log 2>&1 || {
  cat build/release/configure.log
  azimuth_die "cmake failed"
}
cmake --build --preset release --target azimuth
azimuth=$root/build/release/azimuth

port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

if [ "$mode" = stay ]; then
  port_is_free "$base_port" ||
    azimuth_die "something listens on port $base_port already; choose another: examples/quickstart.sh --base-port 6390"
  azimuth_say "starting azimuth dev on port $base_port; Ctrl-C stops it and its redis-servers"
  azimuth_say "from another terminal: redis-cli -p $base_port set greeting hello"
  exec "$azimuth" dev "${options[@]}"
fi

if ! port_is_free "$base_port"; then
  for ((base_port = 16380; base_port < 16480; base_port += 10)); do port_is_free "$base_port" && break; done
  options+=(--base-port "$base_port")
fi
azimuth_say "starting azimuth dev on port $base_port"
"$azimuth" dev "${options[@]}" &
dev=$!

# Ends azimuth dev, gently and then not: after 20 s something is wrong, and nothing may stay behind.
stop() {
  kill -TERM "$dev" 2>/dev/null || true
  for _ in $(seq 200); do
    kill -0 "$dev" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$dev" 2>/dev/null || true
  wait "$dev" 2>/dev/null
}
trap 'stop || true' EXIT

ask() { timeout 5 redis-cli -p "$base_port" "$@"; }

deadline=$((SECONDS + 30))
until [ "$(ask ping 2>/dev/null)" = PONG ]; do
  kill -0 "$dev" 2>/dev/null || azimuth_die "azimuth dev ended before it answered"
  [ $SECONDS -lt $deadline ] || azimuth_die "azimuth dev did not answer on port $base_port within 30 s"
  sleep 0.1
done

type_and_run() {
  printf '$ redis-cli -p %s %s\n' "$base_port" "$*"
  reply=$(ask "$@")
  printf '%s\n' "$reply"
}
type_and_run set greeting hello
[ "$reply" = OK ] || azimuth_die "SET did not answer OK"
type_and_run get greeting
[ "$reply" = hello ] || azimuth_die "GET did not answer what was set"

trap - EXIT
status=0
stop || status=$?
[ $status -eq 0 ] || azimuth_die "azimuth dev ended with exit code $status"
azimuth_say "it works; everything has been stopped again. To keep it running:"
azimuth_say "  examples/quickstart.sh --stay              (or: build/release/azimuth dev)"
azimuth_say "  examples/quickstart.sh --stay --zones 3    a cluster: kill the primary and watch"
