#!/usr/bin/env bash
# Installs what tools/ci/arm-suite.sh, tools/release/build.sh and tools/wasm/check.sh need on Debian 12: a Rust toolchain
# that compiles for ARM and WebAssembly (linked into rustup as `deb`), cross linkers and qemu. Needs root. Running it
# again changes nothing.
#
# It exists for machines whose rustup can fetch no further targets. Where it can, this does the same:
#   rustup target add aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf arm-unknown-linux-musleabihf \
#     aarch64-unknown-linux-musl x86_64-unknown-linux-musl wasm32-unknown-unknown
#   apt-get install gcc-aarch64-linux-gnu gcc-arm-linux-gnueabihf qemu-user nodejs
# and plain `cargo` takes the place of `cargo +deb`.
set -euo pipefail

# Rust target and the Debian architecture that carries its standard library.
targets=(
  "aarch64-unknown-linux-gnu arm64"
  "armv7-unknown-linux-gnueabihf armhf"
)
packages=(
  rustc-web cargo-web rust-web-src lld-22
  gcc-aarch64-linux-gnu libc6-dev-arm64-cross
  gcc-arm-linux-gnueabihf libc6-dev-armhf-cross
  qemu-user
)
rustlib=/usr/lib/rustlib

apt() { DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"; }

missing() {
  local package
  for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
  done
}

# The standard library of a foreign target, unpacked next to the native one. The package is fetched by the address
# apt gives for the native package, so that dpkg need not know the foreign architecture: an added one whose index is
# out of sync makes every later `apt-get update` fail.
install_std() {
  local target=$1 arch=$2 version=$3 stamp="$rustlib/$1/.whit-std-$3" native_url dir
  [ -e "$stamp" ] && return
  native_url=$(apt --print-uris download "libstd-rust-web-dev=$version" | sed -n "s/^'\([^']*\)'.*/\1/p" | tail -n 1)
  dir=$(mktemp -d)
  /usr/lib/apt/apt-helper download-file "${native_url%_*.deb}_$arch.deb" "$dir/std.deb"
  dpkg-deb --extract "$dir/std.deb" "$dir/tree"
  rm -rf "${rustlib:?}/$target"
  cp -a "$dir/tree$rustlib/$target" "$rustlib/"
  rm -rf "$dir"
  touch "$stamp"
}

mapfile -t needed < <(missing)
python3 -m pip --version >/dev/null 2>&1 || needed+=(python3-pip)
# Any node that knows WebAssembly's simd128 will do.
command -v node >/dev/null || needed+=(nodejs)
if [ "${#needed[@]}" -gt 0 ]; then
  apt update
  apt install --no-install-recommends "${needed[@]}"
fi

version=$(dpkg-query -W -f '${Version}' rustc-web)
for entry in "${targets[@]}"; do
  read -r target arch <<<"$entry"
  install_std "$target" "$arch" "$version"
done

if ! rustup toolchain list | grep -q '^deb\b'; then
  rustup toolchain link deb /usr
fi

# Not from Debian: see tools/ci/requirements-cross.txt.
if [ "$(python3 -m ziglang version 2>/dev/null)" != 0.15.2 ]; then
  python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --break-system-packages \
    --require-hashes --no-deps --only-binary :all: -r "$(dirname "${BASH_SOURCE[0]}")/requirements-cross.txt"
fi
cargo +deb --version
echo "zig $(python3 -m ziglang version)"
qemu-aarch64 --version | head -n 1
