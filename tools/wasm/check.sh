#!/usr/bin/env bash
# Builds whit for WebAssembly, with and without simd128, and runs it in node on the story model: the golden hashes and the
# native program's text must come out. tools/ci/install-cross.sh installs what this needs where rustup has no wasm32.
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
text=$(cargo run --quiet -- generate "$prompt" -n 64 --temp 0 --quiet)
# Link-time optimisation takes a minute and changes nothing that is checked.
export CARGO_PROFILE_RELEASE_LTO=off
for feature in -simd128 +simd128; do
  folder=target/wasm/$feature
  RUSTFLAGS="-C target-feature=$feature" CARGO_TARGET_DIR=$folder \
    "${build[@]}" --release --target "$target" -p whit-wasm
  wasm=$folder/$target/release/whit_wasm.wasm
  echo "wasm: $feature, $(stat -c %s "$wasm") bytes"
  node tools/wasm/check.mjs "$wasm" models/stories.whit tools/quantize/tests/goldens/goldens.txt "$prompt" "$text"
done
