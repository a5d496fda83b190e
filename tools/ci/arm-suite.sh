#!/usr/bin/env bash
# Runs the runtime's tests as aarch64 programs under qemu, once for each CPU named (default: one with plain NEON, one
# with dotprod and fp16). tools/ci/install-arm.sh installs what this needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

target=aarch64-unknown-linux-gnu
cpus=("$@")
[ "${#cpus[@]}" -gt 0 ] || cpus=(cortex-a53 cortex-a76)

# Apart from the native build: another compiler would throw that one's artefacts away.
export CARGO_TARGET_DIR="$PWD/target/arm"
# Link-time optimisation of every test program takes minutes and changes nothing that a test sees.
export CARGO_PROFILE_RELEASE_LTO=off
# An emulated test cannot start another ARM program by its path: tests put this before the path of the whit binary.
export WHIT_TEST_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"

# All test programs but those that read the repository, not the runtime.
tests=()
for file in tests/*.rs tests/*/main.rs; do
  name=${file#tests/}
  name=${name%/main.rs}
  name=${name%.rs}
  case $name in
    '*' | dependency_rules | repository) ;;
    *) tests+=(--test "$name") ;;
  esac
done

for cpu in "${cpus[@]}"; do
  begin=$SECONDS
  echo "arm: $cpu ..."
  QEMU_CPU=$cpu cargo +deb test --no-fail-fast --release --target "$target" -p whit --lib --bins "${tests[@]}"
  echo "arm: $cpu: ok, $((SECONDS - begin)) s"
done
