#!/usr/bin/env bash
# Builds whit and quantize for other machines: build.sh [TARGET...], all four without arguments. Each target gives an archive
# with its checksum in target/release-archives, and a Debian package where there is an architecture for it. build.sh --sizes holds
# that the program without the story model grows no further on aarch64: with server and constraints, and without both.
#
#   x86_64-unknown-linux-musl       PCs                                              deb amd64
#   aarch64-unknown-linux-musl      Pi 3, 4, 5, Zero 2 with a 64-bit system          deb arm64
#   armv7-unknown-linux-gnueabihf   Pi 2 and later with a 32-bit system
#   arm-unknown-linux-musleabihf    every Pi with a 32-bit system, Pi 1 and Zero too  deb armhf
#
# All are static: they ask for no C library, and choose their kernels when they run. The build takes rustup's targets where
# they are installed, else the toolchain of tools/ci/install-cross.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Each target is built as if alone, whatever is set here.
unset CARGO_TARGET_DIR RUSTFLAGS
umask 022
sizes=""
[ "${1:-}" != --sizes ] || { sizes=$1 && shift; }
targets=("$@")
[ "${#targets[@]}" -gt 0 ] || targets=(
  x86_64-unknown-linux-musl aarch64-unknown-linux-musl armv7-unknown-linux-gnueabihf arm-unknown-linux-musleabihf
)
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
out=$PWD/target/release-archives
# Files get the time of the commit, so that building again gives the same archives.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
mkdir -p "$out"

fail() {
  echo "build.sh: $1" >&2
  exit 1
}

# The name of a target in environment variables.
variable() { tr 'a-z-' 'A-Z_' <<<"$1"; }

has_std() { [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; }

# Compiles whit with the features $1 for $target into $programs, and quantize.
compile() {
  # For size: the whole program is optimized at once, and has no tables to unwind by.
  local cargo=(cargo) flags="-C target-feature=+crt-static -C force-unwind-tables=no" linker="" zig="" options=()
  local variables=(
    CARGO_PROFILE_RELEASE_STRIP=symbols CARGO_PROFILE_RELEASE_LTO=fat "CARGO_TARGET_DIR=target/release-build/$target"
  )
  programs=$PWD/target/release-build/$target/$target/release
  if ! has_std; then
    cargo +deb --version >/dev/null 2>&1 || fail "no standard library for $target: rustup target add $target"
    cargo=(cargo +deb)
  fi
  case $target in
    armv7-unknown-linux-gnueabihf)
      linker=arm-linux-gnueabihf-gcc
      flags="$flags -C link-arg=-Wl,-z,max-page-size=65536"
      ;;
    x86_64-unknown-linux-musl) zig="x86_64-linux-musl x86_64" ;;
    aarch64-unknown-linux-musl)
      zig="aarch64-linux-musl generic"
      linker=rust-lld
      ;;
    arm-unknown-linux-musleabihf)
      zig="arm-linux-musleabihf arm1176jzf_s"
      linker=rust-lld
      flags="$flags -C target-cpu=arm1176jzf-s"
      ;;
    *) fail "unknown target $target" ;;
  esac
  if [ -n "$zig" ] && ! has_std; then
    # The standard library is built too, against the C library that zig brings; without what names the functions of a
    # backtrace, since a stripped program without tables to unwind by has neither.
    variables+=(RUSTC_BOOTSTRAP=1 "WHIT_ZIG_TARGET=${zig% *}" "WHIT_ZIG_CPU=${zig#* }")
    options=(-Zbuild-std=std,panic_abort -Zbuild-std-features=)
    linker=$PWD/tools/release/zig-linker.sh
    flags="$flags -C link-self-contained=no"
  fi
  if [ -n "$linker" ]; then
    [ "$linker" = rust-lld ] || command -v "$linker" >/dev/null || fail "no $linker, which links for $target"
    variables+=("CARGO_TARGET_$(variable "$target")_LINKER=$linker")
  fi
  variables+=("RUSTFLAGS=$flags")
  options+=(--locked --release --target "$target")
  [ -n "$sizes" ] || env "${variables[@]}" "${cargo[@]}" build -p quantize "${options[@]}"
  # The library is optimized for speed, what is around it for size: words, pictures, arguments.
  env "${variables[@]}" "${cargo[@]}" rustc -p whit --features "$1" --bin whit "${options[@]}" -- -C opt-level=z
}

# Holds what a release promises of its programs.
check() {
  local program dynamic segments
  for program in whit quantize; do
    dynamic=$(readelf --dynamic --wide "$programs/$program")
    [[ $dynamic != *NEEDED* ]] || fail "$program for $target asks for shared libraries"
    segments=$(readelf --program-headers --wide "$programs/$program" | awk '$1 == "LOAD" { print $NF }')
    [ -n "$segments" ] || fail "$program for $target has no segments"
    # A kernel with pages of 16 or 64 KiB, as on a Pi 5, loads no segment that is aligned to less.
    if [[ $target != x86_64* && $segments =~ 0x[0-9a-f]{1,4}($|[^0-9a-f]) ]]; then
      fail "$program for $target cannot be loaded by a kernel with pages of 64 KiB"
    fi
  done
}

# Fills the folder $1 as /usr is: programs, man pages, completions.
fill() {
  local usr=$1
  install -D -m 755 -t "$usr/bin" "$programs/whit" "$programs/quantize"
  mkdir -p "$usr/share/man/man1" "$usr/share/bash-completion/completions" "$usr/share/zsh/site-functions" \
    "$usr/share/fish/vendor_completions.d"
  "$native" man "$usr/share/man/man1"
  "$native" completions bash >"$usr/share/bash-completion/completions/whit"
  "$native" completions zsh >"$usr/share/zsh/site-functions/_whit"
  "$native" completions fish >"$usr/share/fish/vendor_completions.d/whit.fish"
}

# Gives every file below $1 the commit's time and rights that depend on nothing else.
settle() {
  chmod -R u=rwX,go=rX "$1"
  find "$1" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
}

archive() {
  local name=whit-$version-$target folder
  folder=$(mktemp -d)
  fill "$folder/$name"
  install -D -m 644 -t "$folder/$name" README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT
  install -D -m 644 -t "$folder/$name/docs" docs/*.md
  settle "$folder"
  tar --create --sort=name --owner=0 --group=0 --numeric-owner --directory "$folder" "$name" | gzip -9 -n >"$out/$name.tar.gz"
  (cd "$out" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
  rm -rf "$folder"
  echo "$out/$name.tar.gz"
}

# The package for Debian's architecture $1.
package() {
  local architecture=$1 folder doc
  local name=whit_${version}_$architecture.deb
  folder=$(mktemp -d)
  fill "$folder/usr"
  find "$folder/usr/share/man" -name '*.1' -exec gzip -9 -n {} +
  doc=$folder/usr/share/doc/whit
  install -D -m 644 -t "$doc" README.md docs/raspberry-pi.md
  gzip -9 -n <CHANGELOG.md >"$doc/changelog.gz"
  {
    echo "Copyright: the whit authors. Licence: MIT or Apache-2.0, at your choice."
    echo
    cat LICENSE-MIT
    echo
    echo "The Apache License 2.0 is in /usr/share/common-licenses/Apache-2.0."
  } >"$doc/copyright"
  install -D -m 644 -t "$folder/usr/lib/systemd/system" tools/release/whit@.service tools/release/whit.service tools/release/whit.socket
  mkdir "$folder/DEBIAN"
  sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" \
    -e "s/@KIB@/$(du -sk --apparent-size "$folder/usr" | cut -f 1)/" tools/release/control >"$folder/DEBIAN/control"
  (cd "$folder" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum >DEBIAN/md5sums)
  settle "$folder"
  SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH dpkg-deb --root-owner-group -Zxz --build "$folder" "$out/$name" >/dev/null
  (cd "$out" && sha256sum "$name" >"$name.sha256")
  rm -rf "$folder"
  echo "$out/$name"
}

# Holds that whit with the features $1 has at most $2 KiB.
hold() {
  local kib
  compile "$1"
  kib=$((($(stat -c %s "$programs/whit") + 1023) / 1024))
  echo "whit with $1 for $target: $kib KiB, at most $2"
  [ "$kib" -le "$2" ] || fail "that is too large"
}

if [ -n "$sizes" ]; then
  target=aarch64-unknown-linux-musl
  hold program 2624
  hold server,constraints 4608
  exit
fi

# Writes man pages and completions; programs for other machines cannot be run here.
cargo build --locked --release -p whit --features serve
native=$PWD/target/release/whit

for target in "${targets[@]}"; do
  echo "build.sh: $target"
  compile serve
  check
  archive
  case $target in
    x86_64-unknown-linux-musl) package amd64 ;;
    aarch64-unknown-linux-musl) package arm64 ;;
    arm-unknown-linux-musleabihf) package armhf ;;
  esac
done
