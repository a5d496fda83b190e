#!/usr/bin/env bash
# try.sh [TARGET...]: unpacks archives and packages of tools/release/build.sh, those of all targets or of some, into bare
# Debian userlands and lets each write a story there, under emulation where the CPU is another: on a read-only root, without
# /proc, with pages of 4, 16 and, on 64 bits, 64 KiB. The text must be the native program's. Needs root, debootstrap and
# qemu-user-static, which it installs.
#
# MIRROR names where debootstrap finds the releases; without it the mirror that this machine's apt uses.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Debian's release and architecture, target, what to unpack, emulator, CPUs.
userlands=(
  "bullseye amd64 x86_64-unknown-linux-musl archive - -"
  "bookworm amd64 x86_64-unknown-linux-musl package - -"
  "bullseye arm64 aarch64-unknown-linux-musl archive qemu-aarch64-static cortex-a53,cortex-a72,cortex-a76,max"
  "bookworm arm64 aarch64-unknown-linux-musl package qemu-aarch64-static cortex-a53,cortex-a76"
  "bullseye armhf armv7-unknown-linux-gnueabihf archive qemu-arm-static cortex-a7,max"
  "bullseye armhf arm-unknown-linux-musleabihf archive qemu-arm-static arm1176,cortex-a7"
  "bookworm armhf arm-unknown-linux-musleabihf package qemu-arm-static arm1176,cortex-a7"
)
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
prompt="Once upon a time there was a"
arguments=(generate "$prompt" --seed 4 -n 48 --quiet)

fail() {
  echo "try.sh: $release $architecture, $name: $1" >&2
  exit 1
}

# Runs a program with $root as its read-only root.
inside() {
  # shellcheck disable=SC2016 # The words are expanded by the inner shell.
  unshare --mount bash -c 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && exec chroot "$@"' - \
    "$root" "${runner[@]}" "${options[@]}" "$@"
}

for package in debootstrap qemu-user-static; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$package"
done

# base-files, unlike others, comes from the release itself and not from its security updates.
mirror=${MIRROR:-$(apt-get --print-uris -qq download base-files | sed -n "s/^'\(.*\)\/pool\/.*/\1/p" | head -n 1)}
mkdir -p target/userland
want=$(cargo run --quiet --release -- "${arguments[@]}")
for line in "${userlands[@]}"; do
  read -r release architecture target what emulator cpus <<<"$line"
  [ $# -eq 0 ] || [[ " $* " == *" $target "* ]] || continue
  root=$PWD/target/userland/$release-$architecture
  if [ ! -e "$root/.complete" ]; then
    rm -rf "$root"
    # The first stage unpacks; the second would run the packages' scripts.
    debootstrap --foreign --variant=minbase --arch="$architecture" "$release" "$root" "$mirror" >"$root.log" 2>&1 ||
      { tail -n 5 "$root.log" >&2; exit 1; }
    touch "$root/.complete"
  fi
  mkdir -p "$root/opt"
  case $what in
    archive)
      name=whit-$version-$target
      (cd target/release-archives && sha256sum --quiet --check "$name.tar.gz.sha256")
      rm -rf "$root/opt/$name"
      tar -xzf "target/release-archives/$name.tar.gz" -C "$root/opt"
      folder=/opt/$name/bin
      ;;
    package)
      name=whit_${version}_$architecture.deb
      (cd target/release-archives && sha256sum --quiet --check "$name.sha256")
      dpkg-deb --extract "target/release-archives/$name" "$root"
      folder=/usr/bin
      ;;
  esac
  runner=()
  if [ "$emulator" != - ]; then
    install -m 755 "/usr/bin/$emulator" "$root/opt/$emulator"
    runner=("/opt/$emulator")
  fi
  for cpu in ${cpus//,/ }; do
    for page in 4096 16384 65536; do
      options=()
      # No kernel runs 32-bit programs on pages of 64 KiB, nor does the emulator.
      [ "$emulator $page" != "qemu-arm-static 65536" ] || continue
      if [ "$emulator" != - ]; then
        options=(-cpu "$cpu" -p "$page")
      elif [ "$page" != 4096 ]; then
        continue
      fi
      got=$(inside "$folder/whit" "${arguments[@]}")
      [ "$got" = "$want" ] || fail "other text on $cpu: $got"
      version_said=$(inside "$folder/quantize" --version)
      [ "$version_said" = "quantize $version" ] || fail "quantize says $version_said on $cpu"
      echo "try.sh: $release $architecture, $name on $cpu, pages of $page: the native text"
    done
  done
done
