#!/usr/bin/env bash
# Runs the runtime's tests, and those of the converter that hold bits equal, as ARM programs under qemu, once for each CPU named:
# aarch64, or 32-bit programs on cortex-a7. Without names: the tests of kernels, ops, bits and the command line alone on a CPU with
# plain NEON; those of kernels, ops and small models on one of ARMv7, and on CPUs with dotprod and fp16, and
# with i8mm. tools/ci/install-cross.sh installs what this needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Apart from the native build: another compiler would throw that one's artefacts away.
export CARGO_TARGET_DIR="$PWD/target/arm"
# Optimising every test program as a whole takes minutes and changes nothing that a test sees.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
# All test programs but those that read the repository, not the runtime.
tests=()
for file in tests/*.rs tests/*/main.rs; do
  name=${file#tests/}
  name=${name%/main.rs}
  name=${name%.rs}
  case $name in
    '*' | bad_inputs | dependency_rules | repository) ;;
    *) tests+=(--test "$name") ;;
  esac
done

# Converted once, here: an emulated conversion of so large a model takes long.
smollm2=../shared/models/SmolLM2-135M-Instruct.Q4_1.gguf
if [ -e "$smollm2" ]; then
  export WHIT_SMOLLM2_INT8=$PWD/target/smollm2-int8.whit
  quantize=(env -u CARGO_TARGET_DIR cargo run -p quantize --)
  [ -z "${WHIT_PROGRAMS:-}" ] || quantize=("$WHIT_PROGRAMS/quantize")
  mkdir -p target
  "${quantize[@]}" "$smollm2" -o "$WHIT_SMOLLM2_INT8" --weights int8 --effort fast --force
fi

# run TARGET CPU ARGUMENTS...
run() {
  local target=$1 cpu=$2 begin=$SECONDS emulator="qemu-aarch64 -L /usr/aarch64-linux-gnu"
  shift 2
  [[ $target != arm* ]] || emulator="qemu-arm -L /usr/arm-linux-gnueabihf"
  echo "arm: $target on $cpu ..."
  # An emulated test cannot start another ARM program by its path: tests put WHIT_TEST_RUNNER before that of whit.
  QEMU_CPU=$cpu WHIT_TEST_RUNNER=$emulator \
    cargo +deb test --no-fail-fast --release --target "$target" "$@"
  echo "arm: $target on $cpu: ok, $((SECONDS - begin)) s"
}

# The same packages each time: others would have the library compiled again, with other features.
kernels=(-p whit -p quantize --test kernels_battery --test ops_equality)
bits=("${kernels[@]}" --test equality --test goldens)
armv7=armv7-unknown-linux-gnueabihf
for cpu in "$@"; do
  target=aarch64-unknown-linux-gnu
  [[ $cpu != cortex-a7 ]] || target=$armv7
  run "$target" "$cpu" -p whit -p quantize --lib --bins "${tests[@]}" --test equality --test goldens --test families
done
if [ $# -eq 0 ]; then
  run aarch64-unknown-linux-gnu cortex-a53 "${bits[@]}" --test cli
  # What has dotprod or i8mm differs in its kernels alone, which are held equal to the scalar ones; large models are the night's.
  small=(-- --skip story --skip smollm2)
  for cpu in cortex-a76 max; do
    run aarch64-unknown-linux-gnu "$cpu" "${kernels[@]}" --test goldens "${small[@]}"
  done
  run "$armv7" cortex-a7 "${bits[@]}" "${small[@]}"
fi
