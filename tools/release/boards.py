#!/usr/bin/env python3
"""Prints the table of docs/raspberry-pi.md: what a board can write at most, computed from published figures.

Bandwidth: clock of the memory times its width, from the boards' product briefs and, for LPDDR2, from `sdram_freq` of
Raspberry Pi's documentation of config.txt. Products: cores x clock x 16 / cycles, the cycles being those that llvm-mca gives
for the loops of src/kernels (neon/tiles.rs, dotprod.rs).
"""

# name, bytes a second of the memory, cores, clock in Hz, cycles per 16 multiply-adds of one token.
BOARDS = [
    ("Zero 2 W", 450e6 * 2 * 4, 4, 1.0e9, 6.2),
    ("Pi 3B", 450e6 * 2 * 4, 4, 1.2e9, 6.2),
    ("Pi 3B+", 500e6 * 2 * 4, 4, 1.4e9, 6.2),
    ("Pi 4B", 3200e6 * 4, 4, 1.8e9, 2.6),
    ("Pi 5", 4267e6 * 4, 4, 2.4e9, 1.0),
]
# name, bytes and multiply-adds of a token.
MODELS = [("SmolLM2-135M int8", 143.0e6, 134.5e6), ("TinyLlama-1.1B int8", 1098e6, 1034e6)]

print("| board | memory, GB/s | products, GMAC/s |" + "".join(f" {name}, tokens/s |" for name, _, _ in MODELS))
print("|---|---|---|" + "---|" * len(MODELS))
for board, bandwidth, cores, clock, cycles in BOARDS:
    products = cores * clock * 16 / cycles
    cells = [f"{min(bandwidth / size, products / macs):.1f}" for _, size, macs in MODELS]
    print(f"| {board} | {bandwidth / 1e9:.1f} | {products / 1e9:.0f} | " + " | ".join(cells) + " |")
