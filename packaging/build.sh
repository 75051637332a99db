#!/usr/bin/env bash
# packaging/build.sh [static|deb|rpm|all]: makes target/packages/
#
#   qu                              the static binary
#   quptime_VERSION_amd64.deb
#   quptime-VERSION-1.x86_64.rpm
#   SHA256SUMS                      of what is there
#
# The same sources give the same bytes, wherever and whenever this runs: the time in every file is that of the
# last commit (SOURCE_DATE_EPOCH overrides it), owners are numbers, and no path of this machine is left inside.
# dpkg-deb and rpmbuild pack in a second what they are given; nothing has to be compiled for that. The version is
# the one of Cargo.toml.
#
# For trials: QU_BINARY=FILE packs that binary and builds none, QU_VERSION=V calls it V, QU_OUT=DIR is where the
# results go.
set -euo pipefail
cd "$(dirname "$0")/.."
. packaging/static.sh

WHAT=${1:-all}
case $WHAT in static | deb | rpm | all) ;; *)
  echo "usage: packaging/build.sh [static|deb|rpm|all]" >&2
  exit 2
  ;;
esac

VERSION=${QU_VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)}
MAINTAINER="the quptime authors <quptime@example.invalid>"
HOMEPAGE=https://quptime.example.invalid/
SUMMARY="quorum-based uptime monitor of several hosts that vote"
TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
OUT=${QU_OUT:-$TARGET_DIR/packages}
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd)
umask 022
export LC_ALL=C TZ=UTC0

# The time that everything gets: of the last commit; without a repository, of the version's release.
released() { sed -n "s/^## \[[0-9.]*\] - \([0-9-]*\)$/\1/p" CHANGELOG.md | head -1; }
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
  SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || date -d "$(released)" +%s)
fi
export SOURCE_DATE_EPOCH

# CHANGELOG.md as Debian wants it: one entry a released version, lines of 80.
debian_changelog() {
  awk -v maintainer="$MAINTAINER" -v version="$VERSION" '
    function flush(  n, words, i, line) {
      n = split(said, words, " ")
      line = "  *"
      for (i = 1; i <= n; i++) {
        if (length(line) + 1 + length(words[i]) > 78) { print line; line = "   " }
        line = line " " words[i]
      }
      if (n) print line
      said = ""
    }
    function close_entry(  command, stamp) {
      flush()
      if (open) {
        command = "date -R -d \"" date "\""
        command | getline stamp
        close(command)
        printf "\n -- %s  %s\n\n", maintainer, stamp
      }
      open = 0
    }
    /^## / { close_entry() }
    /^## \[[0-9]/ {
      split($2, part, /[][]/)
      date = $4
      printf "quptime (%s) stable; urgency=medium\n\n", first++ ? part[2] : version
      open = 1
      next
    }
    !open || /^#/ || /^\[/ { next }
    /^$/ { flush(); next }
    /^- / { flush(); sub(/^- /, "") }
    { said = said " " $0 }
    END { close_entry() }' CHANGELOG.md
}

# Every crate that the binary is made of, with its licences, as its authors ship them.
third_party() {
  local name version licence dir file
  cargo tree --locked -e normal --target x86_64-unknown-linux-musl --prefix none -f '{p}|{l}' |
    sed -e 's/ (\*)//' -e 's/ (proc-macro)//' | grep -v '^quptime ' | sort -u |
    while IFS='|' read -r package licence; do
      name=${package%% *} version=${package##* v}
      printf '\n==== %s %s (%s)\n' "$name" "$version" "$licence"
      dir=$(ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$name-$version" | head -1)
      for file in "$dir"/LICEN[CS]E* "$dir"/COPYING* "$dir"/NOTICE*; do
        if [ -f "$file" ]; then printf '\n-- %s\n\n' "${file##*/}" && cat "$file"; fi
      done
    done
}

# What both kinds of package hold, in $WORK/tree.
tree() {
  local tree=$WORK/tree binary=$1 page doc
  doc=$tree/usr/share/doc/quptime
  rm -rf "$tree"
  put() { install -D -m "${3:-0644}" "$1" "$tree/$2"; }
  put "$binary" usr/bin/qu 0755
  put packaging/systemd/quptime.service usr/lib/systemd/system/quptime.service
  put packaging/systemd/quptime.preset usr/lib/systemd/system-preset/80-quptime.preset
  put packaging/systemd/sysusers.conf usr/lib/sysusers.d/quptime.conf
  put packaging/systemd/tmpfiles.conf usr/lib/tmpfiles.d/quptime.conf
  put packaging/systemd/sysctl.conf usr/lib/sysctl.d/50-quptime.conf
  "$binary" completion bash >"$WORK/completion"
  put "$WORK/completion" usr/share/bash-completion/completions/qu
  "$binary" completion fish >"$WORK/completion"
  put "$WORK/completion" usr/share/fish/vendor_completions.d/qu.fish
  "$binary" completion zsh >"$WORK/completion-zsh"
  for page in man/*.[157]; do
    put "$page" "usr/share/man/man${page##*.}/${page##*/}"
  done
  find "$tree/usr/share/man" -type f -exec gzip -9n {} +
  put README.md usr/share/doc/quptime/README.md
  third_party | gzip -9n >"$WORK/third-party-licences.gz"
  put "$WORK/third-party-licences.gz" usr/share/doc/quptime/third-party-licences.gz
  for page in raw-icmp.conf credentials.conf; do
    put "packaging/systemd/$page" "usr/share/doc/quptime/examples/$page"
  done
  put packaging/openrc/quptime usr/share/doc/quptime/examples/openrc
}

# A script with what it shares with others put in place.
script() { sed -e '/^#REPAIR#$/{r packaging/repair.sh' -e 'd}' "$1"; }

deb() {
  local root=$WORK/deb name=quptime_${VERSION}_amd64.deb step
  rm -rf "$root"
  cp -a "$WORK/tree" "$root"
  install -D -m 0644 "$WORK/completion-zsh" "$root/usr/share/zsh/vendor-completions/_qu"
  install -D -m 0644 packaging/deb/copyright "$root/usr/share/doc/quptime/copyright"
  install -D -m 0644 packaging/deb/lintian-overrides "$root/usr/share/lintian/overrides/quptime"
  debian_changelog | gzip -9n >"$root/usr/share/doc/quptime/changelog.gz"
  mkdir "$root/DEBIAN"
  for step in postinst prerm postrm; do
    script packaging/deb/$step >"$root/DEBIAN/$step"
    chmod 0755 "$root/DEBIAN/$step"
  done
  (cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
  local size
  size=$(find "$root/usr" -type f -printf '%s\n' | awk '{ s += int(($1 + 1023) / 1024) } END { print s }')
  sed -e "s|@VERSION@|$VERSION|" -e "s|@MAINTAINER@|$MAINTAINER|" -e "s|@HOMEPAGE@|$HOMEPAGE|" \
    -e "s|@SUMMARY@|$SUMMARY|" -e "s|@SIZE@|$size|" packaging/deb/control >"$root/DEBIAN/control"
  find "$root" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
  rm -f "$OUT"/quptime_*_amd64.deb
  dpkg-deb -Zxz --root-owner-group -b "$root" "$OUT/$name" >/dev/null
  echo "$OUT/$name"
}

rpm() {
  local top=$WORK/rpm name=quptime-$VERSION-1.x86_64.rpm
  command -v rpmbuild >/dev/null || apt_install rpm
  rm -rf "$top" && mkdir -p "$top"
  cp -a "$WORK/tree" "$top/tree"
  install -D -m 0644 "$WORK/completion-zsh" "$top/tree/usr/share/zsh/site-functions/_qu"
  install -D -m 0644 LICENSE "$top/tree/usr/share/licenses/quptime/LICENSE"
  gzip -9nc CHANGELOG.md >"$top/tree/usr/share/doc/quptime/CHANGELOG.md.gz"
  script packaging/rpm/quptime.spec >"$top/quptime.spec"
  printf '* %s %s - %s-1\n- See /usr/share/doc/quptime/CHANGELOG.md.gz\n' \
    "$(date -d "@$SOURCE_DATE_EPOCH" '+%a %b %d %Y')" "$MAINTAINER" "$VERSION" >>"$top/quptime.spec"
  (cd "$top/tree" && find usr -type f | sort | sed 's|^|/|') >"$top/files"
  rpmbuild -bb --quiet --target x86_64 --define "_topdir $top/build" --define "tree $top/tree" \
    --define "listed $top/files" --define "version_ $VERSION" --define "maintainer $MAINTAINER" \
    --define "homepage $HOMEPAGE" --define "summary_ $SUMMARY" "$top/quptime.spec" 2>"$top/log" || {
    cat "$top/log" >&2
    return 1
  }
  rm -f "$OUT"/quptime-*.x86_64.rpm
  cp "$top/build/RPMS/x86_64/$name" "$OUT/$name"
  touch -d "@$SOURCE_DATE_EPOCH" "$OUT/$name"
  echo "$OUT/$name"
}

if [ -n "${QU_BINARY:-}" ]; then
  BINARY=$QU_BINARY
else
  BINARY=$(static_binary)
fi
if [ "$BINARY" != "$OUT/qu" ]; then install -m 0755 "$BINARY" "$OUT/qu"; fi
touch -d "@$SOURCE_DATE_EPOCH" "$OUT/qu"
echo "$OUT/qu"
if [ "$WHAT" != static ]; then tree "$OUT/qu"; fi
case $WHAT in deb | all) deb ;; esac
case $WHAT in rpm | all) rpm ;; esac
(cd "$OUT" && sha256sum qu quptime*.deb quptime*.rpm 2>/dev/null >SHA256SUMS || :)
echo "$OUT/SHA256SUMS"
