#!/usr/bin/env bash
# Builds whit for WebAssembly, with and without simd128, and runs it in node on the story model: the golden hashes and the
# native program's text must come out; with simd128 also those of the model in fewer bits, and each kernel must equal its scalar
# twin. tools/ci/install-cross.sh installs what this needs where rustup has no wasm32. WHIT_PROGRAMS: a folder with whit and quantize,
# which are built otherwise.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

target=wasm32-unknown-unknown
if [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
  build=(cargo build)
else
  build=(env RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-22
    cargo +deb build -Zbuild-std=std,panic_abort)
fi
prompt="Once upon a time"
few_bits=()
if [ -z "${WHIT_PROGRAMS:-}" ]; then
  cargo build --quiet
  cargo build --quiet -p quantize
  WHIT_PROGRAMS=${CARGO_TARGET_DIR:-target}/debug
fi
text=$("$WHIT_PROGRAMS/whit" generate "$prompt" -n 64 --temp 0 --quiet)
mkdir -p target/wasm
for weights in q4 q5 q6; do
  "$WHIT_PROGRAMS/quantize" models/stories -o "target/wasm/stories-$weights.whit" --weights "$weights" --effort fast --force \
    >target/wasm/quantize.log
  few_bits+=("$weights=target/wasm/stories-$weights.whit")
done
# Link-time optimisation takes a minute and changes nothing that is checked.
export CARGO_PROFILE_RELEASE_LTO=off
# check KERNELS FEATURE MODELS...
check() {
  local kernels=$1 feature=$2 folder=target/wasm/$2
  shift 2
  RUSTFLAGS="-C target-feature=$feature" CARGO_TARGET_DIR=$folder \
    "${build[@]}" --release --target "$target" -p whit-wasm --features battery
  local wasm=$folder/$target/release/whit_wasm.wasm
  echo "wasm: $feature, $(stat -c %s "$wasm") bytes"
  node tools/wasm/check.mjs "$wasm" "$kernels" tools/quantize/tests/goldens/goldens.txt "$prompt" "$text" "$@"
}
check scalar -simd128 int8=models/stories.whit
check simd128 +simd128 int8=models/stories.whit "${few_bits[@]}"
