#!/usr/bin/env python3
"""Measures how near streamed weights come to what the storage allows, inside a memory control group (version 1 or 2).

    tools/reliability/stream.py WHIT MODEL [--limit 256] [--tokens 6] [--rounds 3] [--threads 2]

As root. Each round reads the file past the cache of pages, for the limit, and lets whit write a text in a group of LIMIT MiB;
the text must be that of a run with all memory. At the end a plain mapping runs in the same group, for comparison. The
storage's speed must not come from a cache of the host: the rounds show whether it does.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

PROMPT = "The memory of a small computer"


def group(limit):
    """A new memory group with this limit, and the file that takes processes."""
    base = pathlib.Path("/sys/fs/cgroup")
    v2 = (base / "cgroup.controllers").exists()
    folder = (base if v2 else base / "memory") / f"whit-stream-{os.getpid()}"
    folder.mkdir()
    if v2:
        (base / "cgroup.subtree_control").write_text("+memory")
        (folder / "memory.max").write_text(str(limit))
        (folder / "memory.swap.max").write_text("0")
    else:
        (folder / "memory.limit_in_bytes").write_text(str(limit))
    return folder


def drop(model):
    """Puts the file out of the cache of pages."""
    with open(model, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def storage_speed(model, seconds=4):
    """Bytes a second of direct reads, two requests of 4 MiB at a time, as deep as whit's reader asks."""
    import mmap
    import threading

    fd = os.open(model, os.O_RDONLY | os.O_DIRECT)
    size = os.fstat(fd).st_size
    step, lock, place, done = 4 << 20, threading.Lock(), [0], [0]
    begin = time.monotonic()

    def read():
        buffer = mmap.mmap(-1, step)
        while time.monotonic() - begin < seconds:
            with lock:
                at, place[0] = place[0], (place[0] + step) % (size // step * step)
            n = os.preadv(fd, [buffer], at)
            with lock:
                done[0] += n

    threads = [threading.Thread(target=read) for _ in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    os.close(fd)
    return done[0] / (time.monotonic() - begin)


def whit(program, model, threads, tokens, *more, folder=None, timeout=600):
    """Text and summary of a run, in the group if there is one."""
    run = [program, "generate", "-m", model, "-n", tokens, "--temp", 0, "-t", threads, "--ctx", 512, "--json", *more, PROMPT]

    def enter():
        if folder:
            (folder / "cgroup.procs").write_text(str(os.getpid()))

    done = subprocess.run([str(part) for part in run], capture_output=True, text=True, preexec_fn=enter, timeout=timeout)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr.strip()}")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    text = "".join(line.get("text", "") for line in lines)
    return text, lines[-1]["summary"], done.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("whit")
    parser.add_argument("model")
    parser.add_argument("--limit", type=int, default=256, help="MiB")
    parser.add_argument("--tokens", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plain", action="store_true", help="let a plain mapping run in the group, too")
    options = parser.parse_args()
    expected, _, _ = whit(options.whit, options.model, options.threads, options.tokens)
    limit = options.limit << 20
    folder = group(limit)
    shares = []
    try:
        for _ in range(options.rounds):
            drop(options.model)
            before = storage_speed(options.model)
            drop(options.model)
            # What the kernel keeps for the process itself counts, too.
            arguments = ["--max-memory", limit - (8 << 20)]
            text, told, said = whit(
                options.whit, options.model, options.threads, options.tokens, *arguments, folder=folder
            )
            drop(options.model)
            speed = (before + storage_speed(options.model)) / 2
            streamed = next(line for line in said.splitlines() if "are read a token" in line)
            size = streamed.split(";")[1].split(" are")[0].split()
            read = float(size[0]) * {"kB": 1e3, "MB": 1e6, "GB": 1e9}[size[1]]
            rate = told["decode_tokens_per_second"]
            shares.append(rate * read / speed)
            same = "same text" if text == expected else "ANOTHER TEXT"
            print(f"storage {speed / 1e6:.0f} MB/s, {read / 1e6:.0f} MB a token: bound {speed / read:.3f} tokens/s,"
                  f" reached {rate:.3f}: {100 * shares[-1]:.0f} %, {same}", flush=True)
            if text != expected:
                sys.exit("the text differs")
        print(f"median {100 * sorted(shares)[len(shares) // 2]:.0f} % of what the storage allows")
        if options.plain:
            drop(options.model)
            begin = time.monotonic()
            try:
                _, told, _ = whit(options.whit, options.model, options.threads, 3, folder=folder, timeout=300)
                print(f"a plain mapping in the same group: {told['decode_tokens_per_second']:.3f} tokens/s")
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                print(f"a plain mapping in the same group: {error} after {time.monotonic() - begin:.0f} s")
    finally:
        folder.rmdir()


if __name__ == "__main__":
    main()
