#!/usr/bin/env python3
"""Counts the instructions that whit executes for a token on ARM, under emulation: exact, and the same in every run.

    count.py PLUGIN PROGRAM MODEL... [--cpu cortex-a72,cortex-a76] [--blocks FOLDER]

PLUGIN is a library for qemu-user that counts executed instructions: given out=FILE it writes a line "insns N" there, given
blocks=FILE a line for each block of instructions, which begins with the number of its instructions, that of its runs and
that of the instructions in it. PROGRAM is whit for aarch64, in the profile of a release.

A token of a prompt is the difference between prompts of 64 tokens and of one, divided by 63; a decoded token is what the
one at position 65 adds to a run. Reading the model and starting are in none of them, choosing the token is in the second.
With --blocks the same differences, block by block, are written to files in FOLDER, one for each figure.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

PROMPT = 64


def run(args, cpu, model, prompt, tokens):
    """The instructions of a run, and those of its blocks where these are asked for: (instructions, runs) by block."""
    with tempfile.TemporaryDirectory() as folder:
        total, blocks = pathlib.Path(folder, "total"), pathlib.Path(folder, "blocks")
        plugin = f"{args.plugin},out={total}" + (f",blocks={blocks}" if args.blocks else "")
        command = ["qemu-aarch64", "-cpu", cpu, "-L", "/usr/aarch64-linux-gnu", "-plugin", plugin, args.program]
        command += ["generate", "-m", model, "-p", " a" * prompt, "-n", str(tokens), "--temp", "0", "-t", "1"]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"count.py: {done.stderr.strip()}")
        counted = {}
        if args.blocks:
            for line in blocks.read_text().splitlines():
                instructions, runs, block = line.split(" ", 2)
                counted[block] = (int(instructions), int(runs))
        return int(total.read_text().split()[1]), counted


def difference(args, name, more, less, divisor):
    """The instructions of one token in millions."""
    if args.blocks:
        lines = []
        for block, counts in more[1].items():
            counts = [(m - l) // divisor for m, l in zip(counts, less[1].get(block, (0, 0)))]
            if counts[1] > 0:
                lines.append((counts, block))
        lines.sort(reverse=True)
        text = "".join(f"{counts[0]} {counts[1]} {block}\n" for counts, block in lines)
        pathlib.Path(args.blocks, f"{name}.blocks").write_text(text)
    return (more[0] - less[0]) / divisor / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plugin")
    parser.add_argument("program")
    parser.add_argument("models", nargs="+", metavar="model")
    parser.add_argument("--cpu", default="cortex-a72,cortex-a76", help="CPUs as qemu names them")
    parser.add_argument("--blocks", metavar="FOLDER", help="write the blocks of each figure there")
    args = parser.parse_args()
    print("| model | CPU | token of a prompt | decoded token |\n|---|---|---|---|")
    for model in args.models:
        for cpu in args.cpu.split(","):
            one, prompt, decoded = [run(args, cpu, model, *shape) for shape in [(1, 1), (PROMPT, 1), (PROMPT, 2)]]
            name = f"{pathlib.Path(model).stem}-{cpu}"
            of_prompt = difference(args, f"{name}-prompt", prompt, one, PROMPT - 1)
            of_decode = difference(args, f"{name}-decode", decoded, prompt, 1)
            print(f"| {pathlib.Path(model).stem} | {cpu} | {of_prompt:.1f} | {of_decode:.1f} |", flush=True)


if __name__ == "__main__":
    main()
