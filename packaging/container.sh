# A Debian of our own to install packages in: booted with systemd as PID 1 where the machine lets us, else a chroot.
# Sourced by test.sh; needs root. Nothing of the host's network is used; what was started is ended by its id.
#
#   debian_root DIR              makes a minimal Debian
#   machine_new NAME ROOT        a throw-away copy on a memory file system; ROOT is never written to
#   machine_boot NAME [option]   boots it (no network but its own loopback) and waits until it is up; false: it cannot
#   machine NAME COMMAND...      runs a command inside; its status is passed on
#   machine_off NAME             powers it off, or ends it
#   machine_gone NAME            removes the copy
declare -A LEADER SUPERVISOR
MACHINES=${MACHINES:?a directory}
INSIDE=(env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 TERM=dumb DEBIAN_FRONTEND=noninteractive
  SYSTEMD_COLORS=0 SYSTEMD_PAGER=cat)

debian_root() {
  mmdebstrap -q --variant=minbase \
    --include=systemd,systemd-sysv,dbus,init-system-helpers,man-db,procps,sudo,ca-certificates,rpm \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/locale/*' \
    --aptopt='Acquire::Languages "none"' bookworm "$1" /etc/apt/sources.list.d/debian.sources
}

machine_new() {
  local dir=$MACHINES/$1
  mkdir -p "$dir"
  mount -t tmpfs tmpfs "$dir"
  mkdir "$dir"/{upper,work,root}
  mount -t overlay overlay -o "lowerdir=$2,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
  echo "$1" >"$dir/root/etc/hostname"
  printf '127.0.0.1 localhost %s\n::1 localhost\n' "$1" >"$dir/root/etc/hosts"
  : >"$dir/root/etc/machine-id"
  LEADER[$1]=
}

# The groups of the host that a machine's own go below: the hybrid hierarchy has two, the unified one has one.
machine_groups() {
  if [ -d /sys/fs/cgroup/unified ]; then
    echo "/sys/fs/cgroup/systemd/quptime-test-$1" "/sys/fs/cgroup/unified/quptime-test-$1"
  else
    echo "/sys/fs/cgroup/quptime-test-$1"
  fi
}

machine_boot() {
  local name=$1 group lead= tries=0 state
  shift
  command -v systemd-nspawn >/dev/null && command -v nsenter >/dev/null || return 1
  for group in $(machine_groups "$name"); do mkdir -p "$group" || return 1; done
  (
    for group in $(machine_groups "$name"); do echo "$BASHPID" >"$group/cgroup.procs"; done
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 exec systemd-nspawn -q -D "$MACHINES/$name/root" --machine="qutest-$name" \
      --register=no --keep-unit --private-network "$@" -b
  ) </dev/null >>"$MACHINES/$name.log" 2>&1 &
  SUPERVISOR[$name]=$!
  while kill -0 "${SUPERVISOR[$name]}" 2>/dev/null && [ $((tries += 1)) -lt 600 ]; do
    lead=$(pgrep -P "${SUPERVISOR[$name]}" | head -1 || :)
    if [ -n "$lead" ] && nsenter -t "$lead" -m test -S /run/systemd/private 2>/dev/null; then
      LEADER[$name]=$lead
      state=$(machine "$name" timeout 120 systemctl is-system-running --wait || :)
      case $state in running | degraded) return 0 ;; esac
      echo "the machine is $state" >>"$MACHINES/$name.log"
      break
    fi
    sleep 0.1
  done
  machine_off "$name"
  return 1
}

machine() {
  local name=$1
  shift
  if [ -n "${LEADER[$name]}" ]; then
    nsenter -t "${LEADER[$name]}" -m -u -i -n -p -C -- "${INSIDE[@]}" "$@"
  else
    # Without a boot: no network but an own loopback either, where that can be had.
    "${ISOLATED[@]}" chroot "$MACHINES/$name/root" "${INSIDE[@]}" "$@"
  fi
}

machine_off() {
  local name=$1 pid=${SUPERVISOR[$1]:-} tries=0 group
  LEADER[$name]=
  [ -n "$pid" ] || return 0
  local lead
  lead=$(pgrep -P "$pid" | head -1 || :)
  [ -z "$lead" ] || kill -s RTMIN+4 "$lead" 2>/dev/null || :
  while kill -0 "$pid" 2>/dev/null && [ $((tries += 1)) -lt 300 ]; do sleep 0.1; done
  if kill -0 "$pid" 2>/dev/null; then kill -KILL ${lead:-} "$pid" 2>/dev/null || :; fi
  wait "$pid" 2>/dev/null || :
  SUPERVISOR[$name]=
  for group in $(machine_groups "$name"); do
    find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null || :
  done
}

machine_gone() {
  local dir=$MACHINES/$1
  machine_off "$1"
  if mountpoint -q "$dir/root/proc"; then umount -l "$dir/root/proc"; fi
  if mountpoint -q "$dir/root"; then umount -l "$dir/root"; fi
  if mountpoint -q "$dir"; then umount -l "$dir"; fi
}
