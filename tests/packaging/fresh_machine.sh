#!/bin/bash
# Shows that the README's commands work on a machine that was never used: for each command a new bookworm
# root file system (nothing installed but Debian's base), a clone of this repository in it, and
# the command as the first ever run there. Run by hand, as root; it takes as long as they do.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tests/packaging/fresh_machine.sh [--worktree] [--user] [COMMAND]

COMMAND runs in the clone; none: `examples/quickstart.sh`, then `tests/run.sh`, each on a machine of its own.
--worktree  the files as they lie here instead of a clone of HEAD
--user      run as an ordinary user with sudo instead of root
TEXT
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)

# Second life, inside namespaces of its own: what is mounted or started here ends with them.
if [ "${1:-}" = --inside ]; then
  root=$2 user=$3 command=$4
  mount --bind "$root" "$root"
  mount -t proc proc "$root/proc"
  mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
  for device in null:3 zero:5 full:7 random:8 urandom:9; do
    mknod -m 0666 "$root/dev/${device%:*}" c 1 "${device#*:}"
  done
  mknod -m 0666 "$root/dev/tty" c 5 0
  mkdir "$root/dev/pts" "$root/dev/shm"
  mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$root/dev/pts"
  mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
  ln -s pts/ptmx "$root/dev/ptmx"
  ln -s /proc/self/fd "$root/dev/fd"

  as=()
  [ "$user" = root ] || as=(setpriv --reuid "$user" --regid "$user" --init-groups --reset-env)
  lent=()
  for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    [ -z "${!name:-}" ] || lent+=("$name=${!name}")
  done
  # Node.js does not look at the system's certificate authorities where it brings its own.
  [ -z "${NODE_EXTRA_CA_CERTS:-}" ] || lent+=(NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt)
  home=/root
  [ "$user" = root ] || home=/home/$user
  status=0
  chroot "$root" "${as[@]}" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME="$home" TERM=dumb LANG=C.UTF-8 "${lent[@]}" \
    bash -c 'cd "$0/azimuth" && eval "$1"' "$home" "$command" </dev/null || status=$?

  # What it left: no process (this shell is process 1 of its namespace), no service that would start.
  sleep 0.5 # the ends of what was told to end
  for process in /proc/[0-9]*; do
    case ${process#/proc/} in 1 | "$$" | "$BASHPID") continue ;; esac
    [ -r "$process/comm" ] || continue
    comm=$(cat "$process/comm" 2>/dev/null) || continue
    grep -q '^State:.*Z' "$process/status" 2>/dev/null && continue
    printf 'left behind: process %s (%s)\n' "${process#/proc/}" "$comm"
    status=70
  done
  for leftover in "$root"/usr/sbin/policy-rc.d "$root"/etc/systemd/system/*/redis*.service \
    "$root"/etc/rc[2-5].d/S*redis*; do
    if [ -e "$leftover" ] || [ -L "$leftover" ]; then
      printf 'left behind: %s\n' "${leftover#"$root"}"
      status=70
    fi
  done
  exit "$status"
fi

worktree=
user=root
command=
while [ $# -gt 0 ]; do
  case $1 in
    --worktree) worktree=yes ;;
    --user) user=newcomer ;;
    -h | --help) usage; exit 0 ;;
    *) command=$*; break ;;
  esac
  shift
done

base=$("$here/base_root.sh") || exit $?

work=
cleanup() { [ -z "$work" ] || rm -rf --one-file-system "$work"; }
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

copy_of_repository() {
  mkdir -p "$1"
  if [ -n "$worktree" ]; then
    git -C "$repository" ls-files -z --cached --others --exclude-standard |
      tar -C "$repository" --null --ignore-failed-read -T - -cf - 2>/dev/null | tar -C "$1" -xf -
    git -C "$1" init -q
    git -C "$1" add -A
  else
    git clone -q --no-hardlinks "$repository" "$1"
  fi
}

on_a_fresh_machine() {
  local first=$1 started=$SECONDS root home status=0
  work=$(mktemp -d "${TMPDIR:-/tmp}/azimuth-fresh.XXXXXX")
  root=$work/root
  mkdir "$root"
  tar -C "$root" -xf "$base"
  "$here/lend_network.sh" "$root"
  home=$root/root
  if [ "$user" != root ]; then
    home=$root/home/$user
    chroot "$root" sh -c "apt-get update -qq && apt-get install -y -qq --no-install-recommends sudo >/dev/null &&
      useradd --create-home --shell /bin/bash $user && echo '$user ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/$user"
  fi
  copy_of_repository "$home/azimuth"
  [ "$user" = root ] || chroot "$root" chown -R "$user:$user" "/home/$user"
  printf '=== on a fresh machine, as %s: %s\n' "$user" "$first"
  unshare --mount --pid --fork --kill-child --propagation private --mount-proc \
    "$here/fresh_machine.sh" --inside "$root" "$user" "$first" || status=$?
  printf '=== %s: exit code %s after %s s\n' "$first" "$status" "$((SECONDS - started))"
  rm -rf --one-file-system "$work"
  work=
  return "$status"
}

failed=0
if [ -n "$command" ]; then
  on_a_fresh_machine "$command" || failed=1
else
  on_a_fresh_machine examples/quickstart.sh || failed=1
  on_a_fresh_machine tests/run.sh || failed=1
fi
exit $failed
