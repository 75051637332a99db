#!/usr/bin/env bash
# packaging/test.sh: the packages in target/packages/ do what they promise. Needs root and Debian.
#
# The texts first (lintian, rpmlint, mandoc, the unit), then the static binary by itself, then a life of the .deb:
# installed as the README says, upgraded from an older package, repaired, removed, purged. That happens in a Debian
# of its own with a booted systemd; where this machine cannot boot one, in a chroot, without the parts that only a
# running systemd can show. The last lines say which of the two it was.
set -euo pipefail
cd "$(dirname "$0")/.."
. packaging/static.sh
PACKAGES=${QU_OUT:-${CARGO_TARGET_DIR:-$PWD/target}/packages}
DEB=$(ls "$PACKAGES"/quptime_*_amd64.deb)
RPM=$(ls "$PACKAGES"/quptime-*.x86_64.rpm)
if [ "$(id -u)" != 0 ]; then
  echo "packaging/test.sh installs packages in a container: run it as root" >&2
  exit 1
fi
apt_install lintian rpmlint rpm mandoc systemd systemd-container mmdebstrap procps util-linux file binutils iproute2

WORK=$(mktemp -d)
MACHINES=$WORK/machines
mkdir -p "$MACHINES"
. packaging/container.sh
# Commands of a chroot get namespaces of their own, where the machine has them.
ISOLATED=()
if unshare --net --mount true 2>/dev/null; then ISOLATED=(unshare --net --mount); fi
PASSED=0
FAILED=0
cleanup() {
  local status=$?
  for name in "${!LEADER[@]}"; do machine_gone "$name" || :; done
  if [ $status != 0 ]; then tail -n 40 "$MACHINES"/*.log 2>/dev/null || :; fi
  rm -rf --one-file-system "$WORK"
}
trap cleanup EXIT

# it WHAT COMMAND...: one statement; its output is shown when it does not hold.
it() {
  local what=$1
  shift
  if "$@" >"$WORK/out" 2>&1; then
    PASSED=$((PASSED + 1))
    echo "ok    $what"
  else
    FAILED=$((FAILED + 1))
    echo "FAIL  $what: $*"
    sed 's/^/      | /' "$WORK/out"
  fi
}
not() { ! "$@"; }
# within TRIES COMMAND...: true as soon as the command is; tries once in 0.2 s.
within() {
  local tries=$1
  shift
  until "$@"; do
    [ $((tries -= 1)) -gt 0 ] || return 1
    sleep 0.2
  done
}
says() {
  local wanted=$1
  shift
  "$@" >"$WORK/said" 2>&1 || :
  cat "$WORK/said"
  grep -qE -- "$wanted" "$WORK/said"
}

for part in texts binary; do . "packaging/test/$part.sh"; done
. packaging/test/life.sh

echo "packages tested in $HOW"
echo "$PASSED passed, $FAILED failed"
[ "$FAILED" = 0 ]
