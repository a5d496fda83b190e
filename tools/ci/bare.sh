#!/usr/bin/env bash
# Holds that the library needs no standard library: builds what uses it without one for boards that have no system, a
# Cortex-M4 and a 64-bit ARM core, and runs its tests here. tools/ci/install-cross.sh installs what this needs where rustup
# lacks the targets.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

for target in thumbv7em-none-eabihf aarch64-unknown-none; do
  if [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
    build=(cargo build)
  else
    build=(env RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=target/bare cargo +deb build -Zbuild-std=core,alloc)
  fi
  "${build[@]}" --target "$target" -p whit-bare
done
WHIT_WITHOUT_STD=1 cargo test -p whit-bare
