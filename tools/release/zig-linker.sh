#!/usr/bin/env bash
# zig as the linker: it brings musl, built for the target WHIT_ZIG_TARGET and the CPU WHIT_ZIG_CPU. Start files and the
# unwinder come from zig, so those that rustc names are left out.
set -euo pipefail
arguments=()
for argument in "$@"; do
  case $argument in
    -lgcc_s | -lgcc_eh | -lgcc | -lc | */crt1.o | */crti.o | */crtn.o | */rcrt1.o | */crtbegin*.o | */crtend*.o) ;;
    *) arguments+=("$argument") ;;
  esac
done
exec python3 -m ziglang cc -target "$WHIT_ZIG_TARGET" -mcpu="$WHIT_ZIG_CPU" "${arguments[@]}" -lunwind
