# Sourced by test.sh: what can be said about the packages without installing them.
lintian_as_nobody() { (cd "$PACKAGES" && lintian --allow-root --tag-display-limit 0 --fail-on error,warning "${DEB##*/}"); }
rpmlint_clean() {
  rpmlint -c packaging/rpm/rpmlint.toml "$RPM" >"$WORK/rpmlint" 2>&1 || { cat "$WORK/rpmlint"; return 1; }
  cat "$WORK/rpmlint"
  grep -q ' 0 errors' "$WORK/rpmlint"
}
sums() { (cd "$PACKAGES" && sha256sum -c SHA256SUMS); }
# The same input gives the same bytes.
again() {
  rm -rf "$WORK/again"
  QU_BINARY=$PACKAGES/qu QU_OUT=$WORK/again packaging/build.sh all && cmp "$WORK/again/SHA256SUMS" "$PACKAGES/SHA256SUMS"
}
same_names() {
  local from='s/[^ ]* *[^ ]* *[^ ]* *[^ ]* *[^ ]* *\.//'
  dpkg-deb -c "$DEB" | sed "$from" | grep -v '/$' | sed 's|vendor-completions|site-functions|' |
    grep -vE 'copyright|lintian|changelog' | sort >"$WORK/deb"
  rpm -qpl "$RPM" | grep -vE 'LICENSE|CHANGELOG' | sort >"$WORK/rpm"
  diff "$WORK/deb" "$WORK/rpm" && wc -l <"$WORK/rpm" && [ "$(wc -l <"$WORK/rpm")" -ge 30 ]
}
holds() {
  local name
  dpkg-deb -c "$DEB" >"$WORK/names"
  for name in usr/bin/qu usr/lib/systemd/system/quptime.service usr/lib/sysusers.d/quptime.conf \
    usr/lib/tmpfiles.d/quptime.conf usr/lib/sysctl.d/50-quptime.conf usr/share/bash-completion/completions/qu \
    usr/share/zsh/vendor-completions/_qu usr/share/fish/vendor_completions.d/qu.fish usr/share/man/man1/qu.1.gz \
    usr/share/man/man5/quptime.yaml.5.gz usr/share/man/man7/quptime.7.gz usr/share/doc/quptime/README.md \
    usr/share/doc/quptime/changelog.gz usr/share/doc/quptime/copyright; do
    grep -q " \./$name\$" "$WORK/names" || { echo "$name is not there"; return 1; }
  done
  # Compressed without a name and a time inside: flags are 0.
  dpkg-deb --fsys-tarfile "$DEB" | tar -xO ./usr/share/man/man1/qu.1.gz | od -An -tx1 -N8 | grep -q '1f 8b 08 00 00 00 00 00'
}
it "lintian has no error and no warning" lintian_as_nobody
it "rpmlint has no error" rpmlint_clean
it "mandoc has no warning" mandoc -T lint -W warning man/*.[157]
it "the checksums are those of the files" sums
it "packed again, the same bytes come out" again
it "the .deb holds what it should" holds
it "the .rpm holds the same files" same_names
it "the unit is exposed by 1.5 at most" systemd-analyze security --offline=true --threshold=15 \
  packaging/systemd/quptime.service
it "the OpenRC script is shell" sh -n packaging/openrc/quptime
