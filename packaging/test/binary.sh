# Sourced by test.sh: the static binary, in an empty root with nothing but a resolver's file and a directory.
small() { [ "$(stat -c %s "$PACKAGES/qu")" -lt 6291456 ]; }
no_loader() { ! readelf -lW "$PACKAGES/qu" | grep -q INTERP && ! readelf -dW "$PACKAGES/qu" | grep -q NEEDED; }
ldd_says_so() { says 'not a dynamic executable|statically linked' ldd "$PACKAGES/qu"; }
stripped() { ! readelf -SW "$PACKAGES/qu" | grep -q ' \.symtab'; }
# The manual, which is in it, names the place of a socket.
no_paths() {
  ! grep -aoE "$PWD/|${HOME:?}/\.|/usr/lib/rustlib/src|/tmp/[a-z]+" "$PACKAGES/qu" | grep -v '^/tmp/quptime$'
}
EMPTY=$WORK/empty
mkdir -p "$EMPTY/etc" "$EMPTY/d"
cp "$PACKAGES/qu" "$EMPTY/qu"
cp /etc/resolv.conf "$EMPTY/etc/resolv.conf" 2>/dev/null || echo 'nameserver 127.0.0.1' >"$EMPTY/etc/resolv.conf"
alone() { env -i PATH="$PATH" QUPTIME_DIR=/d QUPTIME_SOCKET=/d/sock chroot "$EMPTY" /qu "$@"; }
# One that nobody listens on just now.
PORT=$((20000 + RANDOM % 10000))
while (: <"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; do PORT=$((PORT + 1)); done
it "it is smaller than 6 MiB" small
it "it needs no loader and no library" no_loader
it "ldd says that it is not dynamic" ldd_says_so
it "it is a static PIE" says 'static-pie linked' file "$PACKAGES/qu"
it "it is stripped" stripped
it "it holds no path of this machine" no_paths
it "in an empty root it makes a node" alone init --advertise 127.0.0.1:$PORT --bind 127.0.0.1 --port $PORT --key-type ecdsa-p256
# The program itself in the background, not a shell around it: it is ended by its id.
(exec env -i PATH="$PATH" QUPTIME_DIR=/d QUPTIME_SOCKET=/d/sock chroot "$EMPTY" /qu serve) >"$WORK/alone.log" 2>&1 &
ALONE=$!
it "and runs it" within 300 alone status
it "takes a check" alone check add tcp self 127.0.0.1:$PORT --interval 1s
it "and one of a name over TLS" alone check add http name https://nowhere.invalid/ --interval 1s
it "probes it" within 300 says '^[0-9a-f-]+ +self +up' alone status
it "says what the resolver said" within 300 says 'name .*(dns|tls|connect|timeout)' alone status
it "shows its manual" says 'qu-check' alone man check
kill "$ALONE" || :
it "and ends when it is told to" wait "$ALONE"
