#!/usr/bin/env bash
# static_binary: builds the static `qu` for x86_64 Linux, whatever C library the host has. Sourced by build.sh.
#
# Two ways, the first that works:
#   1. the Rust on PATH has the standard library for musl (rustup target add x86_64-unknown-linux-musl);
#   2. Debian's Rust, which ships the sources of the standard library, builds that as well. As root, what is
#      missing is installed with apt.
# Both need musl's C compiler (musl-tools) for the crypto provider.
#
# The same sources give the same bytes, wherever they lie: every path of this machine is cut out of what the
# compilers write down.

TARGET=x86_64-unknown-linux-musl

# apt_install PACKAGE...: makes sure that they are there; only root can.
apt_install() {
  local missing=() package
  for package; do
    dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "missing: ${missing[*]} (install them, or run this as root on Debian)" >&2
    return 1
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get -o DPkg::Lock::Timeout=300 update -q >/dev/null
  apt-get -o DPkg::Lock::Timeout=300 install -yq --no-install-recommends "${missing[@]}" >/dev/null
}

# The Rust on PATH can build for musl by itself.
has_musl_std() {
  local dir
  dir=$(rustc --print target-libdir --target $TARGET 2>/dev/null) && ls "$dir"/libstd-*.rlib >/dev/null 2>&1
}

# What Debian's Rust lacks to link a static program that can be loaded anywhere: a libunwind that was not built
# for glibc's checked printf, and musl-gcc's specs with the start file of a static PIE.
debian_musl() {
  local work=$1 llvm
  mkdir -p "$work"
  llvm=$(ls -d /usr/lib/llvm-*/lib/libunwind.a | sort -V | tail -1)
  cp "$llvm" "$work/libunwind.a"
  cat >"$work/stub.c" <<'C'
#include <stdarg.h>
#include <stdio.h>
int __fprintf_chk(FILE *to, int flag, const char *format, ...) {
  va_list arguments;
  (void)flag;
  va_start(arguments, format);
  int written = vfprintf(to, format, arguments);
  va_end(arguments);
  return written;
}
C
  musl-gcc -O2 -fPIC -c "$work/stub.c" -o "$work/stub.o"
  ar rsD "$work/libunwind.a" "$work/stub.o" 2>/dev/null
  sed -e 's/Scrt1\.o/rcrt1.o/' \
    -e 's|^-dynamic-linker .*|-static -pie --no-dynamic-linker -z text -nostdlib|' \
    /usr/lib/x86_64-linux-musl/musl-gcc.specs >"$work/static-pie.specs"
}

# static_binary: prints where the binary is. Needs: root (of the sources) as working directory.
static_binary() {
  local root=$PWD out=${CARGO_TARGET_DIR:-$PWD/target}/static cargo=cargo extra=() flags home sysroot
  home=${CARGO_HOME:-$HOME/.cargo}
  mkdir -p "$out"
  if has_musl_std; then
    apt_install musl-tools >&2
    flags="-C target-feature=+crt-static"
  else
    apt_install rustc-web cargo-web rust-web-src musl-tools libunwind-14-dev >&2
    debian_musl "$out/musl" >&2
    cargo=/usr/bin/cargo
    extra=(-Zbuild-std=std,panic_abort)
    # build-std is not stable; the flag says that we know.
    export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc RUSTC_BOOTSTRAP=1
    export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=gcc
    flags="-C link-self-contained=no -C relocation-model=pic -C link-arg=-specs=$out/musl/static-pie.specs"
    flags="$flags -L native=$out/musl"
  fi
  sysroot=$("${RUSTC:-rustc}" --print sysroot)
  # The last prefix that fits wins.
  # A panic ends the process and says where it was; nobody unwinds, so the tables for it can go.
  flags="$flags -C force-unwind-tables=no"
  flags="$flags --remap-path-prefix=$sysroot=/rust --remap-path-prefix=$home=/cargo"
  flags="$flags --remap-path-prefix=$root=/quptime --remap-path-prefix=$out=/build"
  export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS=$flags
  export CC_x86_64_unknown_linux_musl=musl-gcc
  export CFLAGS_x86_64_unknown_linux_musl="-fno-asynchronous-unwind-tables -ffile-prefix-map=$home=/cargo -ffile-prefix-map=$root=/quptime -ffile-prefix-map=$out=/build"
  "$cargo" build --release --locked --bin qu --target $TARGET --target-dir "$out" "${extra[@]}" >&2
  echo "$out/$TARGET/release/qu"
}
