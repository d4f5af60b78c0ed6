# Every Debian (bookworm) package that azimuth needs, in one place, and the function that installs
# what is missing. Read with `.` by examples/quickstart.sh, tests/run.sh and examples/docker/Dockerfile,
# so it is plain POSIX sh and does nothing by itself.

# To compile the binary and the unit tests.
AZIMUTH_BUILD_PACKAGES="g++ cmake ninja-build pkg-config libuv1-dev libhiredis-dev libtomlplusplus-dev \
libzstd-dev libssl-dev libspdlog-dev libcli11-dev nlohmann-json3-dev libhttp-parser-dev catch2"

# What a compiled binary loads on a machine that did not compile it (the container's second stage).
AZIMUTH_RUNTIME_PACKAGES="libuv1 libhiredis0.14 libspdlog1.10 libfmt9 libhttp-parser2.9 libssl3 libzstd1 \
libstdc++6"

# `azimuth dev` starts a redis-server of its own; redis-cli types the first command.
AZIMUTH_DEV_PACKAGES="redis-server redis-tools"

# What the test programs use besides: Python and its Redis clients, the Node.js clients, openssl for
# certificates, clang for libFuzzer.
AZIMUTH_TEST_PACKAGES="python3 python3-redis python3-hiredis python3-yaml nodejs npm ca-certificates git \
procps iproute2 openssl clang libclang-rt-14-dev"

azimuth_say() { printf '== %s\n' "$*"; }
azimuth_die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# The packages among the arguments that are not there. Node.js often comes from elsewhere than Debian,
# and its package then conflicts with Debian's npm: the commands count, not the packages.
azimuth_missing() {
  for package in "$@"; do
    case $package in
      nodejs) command -v node >/dev/null 2>&1 && continue ;;
      npm) command -v npm >/dev/null 2>&1 && continue ;;
    esac
    case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
      "install ok installed") ;;
      *) printf '%s ' "$package" ;;
    esac
  done
}

# Installs what is missing of the packages named. Redis's package would start a server on port 6379 and
# at every boot: while it installs, a policy-rc.d refuses that, and the service stays disabled. A
# redis-server that was installed before is left exactly as it is.
azimuth_install() {
  command -v dpkg-query >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1 ||
    azimuth_die "this script installs packages with apt-get and knows Debian 12 (bookworm) only"
  # shellcheck disable=SC2046  # a list of words is meant
  set -- $(azimuth_missing "$@")
  [ $# -gt 0 ] || return 0
  ( # a subshell, so that its trap is its own
    . /etc/os-release
    case "${ID:-}:${VERSION_CODENAME:-}" in
      debian:bookworm) ;;
      *) azimuth_say "this is ${PRETTY_NAME:-an unknown system}, not Debian 12 (bookworm): package names may differ" ;;
    esac
  )
  sudo=
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 ||
      azimuth_die "these packages are missing and installing them takes root or sudo: $*"
    sudo=sudo
  fi
  azimuth_say "installing $# packages: $*"
  (
    policy=/usr/sbin/policy-rc.d
    own_policy=
    log=$(mktemp) || exit 1
    cleanup() {
      rm -f "$log"
      [ -z "$own_policy" ] || $sudo rm -f "$policy"
    }
    trap cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    case " $* " in
      *" redis-server "*)
        if [ ! -e "$policy" ]; then
          own_policy=yes
          printf '#!/bin/sh\ncase "$*" in *redis*) exit 101 ;; esac\nexit 0\n' |
            $sudo sh -c "cat >$policy && chmod 755 $policy" || exit 1
        fi
        ;;
    esac
    # A source that fails to update need not be one that is needed: the install decides.
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get update -qq ||
      azimuth_say "some package lists could not be updated; going on with what there is"
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1 || {
      tail -n 20 "$log" >&2
      exit 1
    }
    case " $* " in
      *" redis-server "*)
        # Both of Debian's registers of services, with systemd running or not.
        $sudo update-rc.d redis-server disable >/dev/null 2>&1 || true
        ! command -v systemctl >/dev/null 2>&1 ||
          $sudo systemctl disable --quiet redis-server.service 2>/dev/null || true
        ;;
    esac
  ) || azimuth_die "apt-get could not install: $* (is the network there, and are /etc/apt's sources right?)"
}
