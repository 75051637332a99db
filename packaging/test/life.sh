# Sourced by test.sh: the life of the .deb on a Debian of its own.
echo "-- a Debian to install in"
debian_root "$WORK/debian" >"$WORK/mmdebstrap" 2>&1 || { cat "$WORK/mmdebstrap"; exit 1; }
mkdir -p "$WORK/old"
VERSION=$(dpkg-deb -f "$DEB" Version)
QU_BINARY=$PACKAGES/qu QU_VERSION=0.0.9 QU_OUT=$WORK/old packaging/build.sh deb >/dev/null
machine_new alpha "$WORK/debian"
IN=$MACHINES/alpha/tree
cp "$DEB" "$RPM" "$WORK"/old/*.deb "$IN/srv/"
OLD=/srv/quptime_0.0.9_amd64.deb
NEW=/srv/${DEB##*/}
if machine_boot alpha; then
  HOW="a booted Debian (systemd $(machine alpha systemctl --version | sed -n '1s/[^ ]* \([0-9]*\).*/\1/p'))"
  BOOTED=yes
else
  HOW="a chroot: this machine cannot boot a container (last line: $(tail -n 1 "$MACHINES/alpha.log" 2>/dev/null || :))"
  BOOTED=
  mkdir -p "$IN/proc" && mount -t proc proc "$IN/proc"
fi
echo "-- $HOW"

on() { machine alpha "$@"; }
booted() { if [ -n "$BOOTED" ]; then it "$@"; fi; }
owner() { on stat -c '%a %U:%G' "$1"; }
has_owner() { says "^$1\$" owner "$2"; }
state_is() { [ "$(on systemctl show -P ActiveState quptime)" = "$1" ]; }
enabled() { [ "$(on systemctl is-enabled quptime 2>/dev/null)" = enabled ]; }
main_pid() { on systemctl show -P MainPID quptime; }
logged() { says "$1" on journalctl -u quptime -o cat --no-pager; }
quiet_log() { ! on journalctl -u quptime -p warning -o cat --no-pager | grep -v '^-- No entries'; }
status_as() { if [ "$1" = root ]; then on qu status; else on sudo -u "$1" qu status; fi; }
pings() { says 'pinged +up' on qu status; }

# The commands of a part of the README, as they stand: its fenced blocks of shell.
readme() { awk -v part="$1" '/^#/ { in_part = ($0 ~ part); next } /^```sh/ { f = in_part; next } /^```/ { f = 0 } f' README.md; }
readme_install() {
  readme 'Debian, Ubuntu' >"$WORK/readme"
  cat "$WORK/readme"
  grep -q apt "$WORK/readme" && on bash -euxc "cd /srv; $(cat "$WORK/readme")"
}

mv "$IN$OLD" "$IN/srv/old"
it "it installs as the README says" readme_install
mv "$IN/srv/old" "$IN$OLD"
it "the directory is the service's" has_owner "750 quptime:quptime" /etc/quptime
it "it is enabled" enabled
booted "without a node.yaml it is not started" state_is inactive
booted "pings need no right any more" says '^0[[:space:]]+2147483647' on cat /proc/sys/net/ipv4/ping_group_range
it "the version is that of the package" says "^qu $VERSION\$" on qu --version
it "man finds the pages" says 'uptime monitor' on man -P cat qu
it "the unit is right" on systemd-analyze verify /usr/lib/systemd/system/quptime.service
booted "it is exposed by 1.5 at most" on systemd-analyze security --threshold=15 quptime.service
it "the service's user makes a node" on sudo -u quptime qu init --advertise alpha:9901 --bind 127.0.0.1
it "the node is the service's" has_owner "600 quptime:quptime" /etc/quptime/node.yaml
booted "it starts, which means that it answers" on systemctl start quptime
booted "it is up" state_is active
booted "root can ask it" within 300 status_as root
booted "its user can ask it" status_as quptime
booted "nobody else can" not status_as nobody
booted "the journal has its lines" logged 'ready node='
booted "nothing in it is a warning" quiet_log
booted "systemctl shows what it says" within 100 says 'Status: ".*master' on systemctl status quptime
booted "a check is taken" on qu check add icmp pinged 127.0.0.1 --interval 1s
booted "it pings within its limits" within 300 pings
booted "it keeps its watchdog alive" says '^30s$' on systemctl show -P WatchdogUSec quptime
if [ -n "$BOOTED" ]; then
  on mkdir -p /run/systemd/system/quptime.service.d
  on bash -c 'printf "[Service]\nWatchdogSec=2\n" >/run/systemd/system/quptime.service.d/watchdog.conf'
  on systemctl daemon-reload
  on systemctl restart quptime
  sleep 5
  it "a watchdog of 2 s lets it live" says '^0$' on systemctl show -P NRestarts quptime
  PID=$(main_pid)
  on kill -STOP "$PID"
  restarted() { [ "$(on systemctl show -P NRestarts quptime)" -ge 1 ] && state_is active; }
  it "a daemon that hangs is started anew" within 300 restarted
  on rm /run/systemd/system/quptime.service.d/watchdog.conf
  on systemctl daemon-reload
fi

echo "-- upgrade"
it "an older package is installed over it" on dpkg -i "$OLD"
booted "it runs" within 100 state_is active
PID=$([ -z "$BOOTED" ] || main_pid)
it "the newer one upgrades it" on dpkg -i "$NEW"
restarted_since() { state_is active && [ "$(main_pid)" != "$PID" ]; }
booted "it was restarted" within 100 restarted_since
booted "it has what it had" within 300 says 'pinged' on qu check list
it "it is enabled still" enabled

echo "-- repair"
on bash -c 'cd /etc/quptime && echo mine >notes.txt && mkdir -p own && echo mine >own/node.yaml && chmod 0644 notes.txt own/node.yaml'
on bash -c 'cd /etc/quptime && chown root:root . node.yaml cluster.yaml keys keys/private.pem && chmod 0755 . && chmod 0644 node.yaml && ln -sf /etc/shadow trust.yaml.new && touch -h trust.yaml.new'
it "installed again" on dpkg -i "$NEW"
it "the directory is the service's again" has_owner "750 quptime:quptime" /etc/quptime
it "so is node.yaml" has_owner "600 quptime:quptime" /etc/quptime/node.yaml
it "so are the keys" has_owner "600 quptime:quptime" /etc/quptime/keys/private.pem
it "a file that is not qu's is left alone" has_owner "644 root:root" /etc/quptime/notes.txt
it "so is one below" has_owner "644 root:root" /etc/quptime/own/node.yaml
it "no link is followed" has_owner "640 root:shadow" /etc/shadow
booted "it runs again" within 100 state_is active

echo "-- root by mistake"
booted "stopped" on systemctl stop quptime
on mv /etc/quptime /etc/quptime.aside
on systemd-tmpfiles --create quptime.conf
it "root makes a node" on qu init --advertise alpha:9901 --bind 127.0.0.1 --key-type ecdsa-p256
it "which is the service's" has_owner "600 quptime:quptime" /etc/quptime/node.yaml
it "keys and all" has_owner "700 quptime:quptime" /etc/quptime/keys
booted "which starts" on systemctl start quptime
booted "and answers" within 300 status_as root
booted "stopped in order" on systemctl stop quptime
booted "with success" says '^success$' on systemctl show -P Result quptime

if [ -n "$BOOTED" ]; then
  echo "-- drop-ins of the examples"
  on mkdir -p /etc/systemd/system/quptime.service.d
  on cp /usr/share/doc/quptime/examples/credentials.conf /usr/share/doc/quptime/examples/raw-icmp.conf \
    /etc/systemd/system/quptime.service.d/
  on bash -c 'umask 077; echo "correct horse battery staple" >/etc/quptime-cluster-secret'
  on sed -i /^cluster_secret/d /etc/quptime/node.yaml
  on sysctl -qw net.ipv4.ping_group_range='1 0'
  on systemctl daemon-reload
  it "the unit with them is right" on systemd-analyze verify quptime.service
  it "it starts with a secret that is a credential" on systemctl start quptime
  it "and answers" within 300 status_as root
  it "a check is taken" on qu check add icmp pinged 127.0.0.1 --interval 1s
  it "it pings through a raw socket" within 300 pings
  on rm -r /etc/systemd/system/quptime.service.d
  on systemctl daemon-reload
fi

echo "-- removal"
it "it is removed" on dpkg -r quptime
it "and leaves the node" has_owner "600 quptime:quptime" /etc/quptime/node.yaml
booted "it does not run" not state_is active
it "installed again, it is enabled" on bash -c "dpkg -i $NEW && systemctl is-enabled quptime"
it "it is purged" on dpkg -P quptime
it "and nothing is left of the node" not on test -e /etc/quptime
it "nor of the unit" not on systemctl is-enabled quptime


echo "-- the .rpm, by Debian's rpm"
rpm_() { on rpm --nodeps --force-debian "$@"; }
it "it installs" rpm_ -i "/srv/${RPM##*/}"
it "what is there is what was packed" on rpm -V --nodeps quptime
it "the directory is the service's" has_owner "750 quptime:quptime" /etc/quptime
it "it is enabled" enabled
booted "without a node.yaml it is not started" state_is inactive
it "the service's user makes a node" on sudo -u quptime qu init --advertise alpha:9901 --bind 127.0.0.1
booted "it starts" on systemctl start quptime
booted "root can ask it" within 300 status_as root
PID=$([ -z "$BOOTED" ] || main_pid)
it "installed again" rpm_ -U --replacepkgs "/srv/${RPM##*/}"
booted "it was restarted" within 100 restarted_since
it "it is removed" rpm_ -e quptime
booted "it does not run" not state_is active
it "and leaves the node" has_owner "600 quptime:quptime" /etc/quptime/node.yaml
machine_gone alpha
