#!/usr/bin/env python3
"""Kills whit at random moments while it keeps beginnings of texts, and holds what comes after against a run without a cache.

    tools/reliability/cache-kill.py WHIT MODEL [--kills 200] [--seed 1]

Two processes share the folder, texts share beginnings. After every kill a run with the cache must write, without a word of
complaint, what a run without one does. Fails on the first that does not.
"""

import argparse
import pathlib
import random
import subprocess
import sys
import tempfile
import time

WORDS = "the small cat sat on a red mat and saw one bird near that old tree by our house then it ran".split()


def command(program, model, prompt, cache=None):
    keep = ["--cache", cache] if cache else []
    return [program, "generate", "-q", "-m", model, "-n", "2", "--temp", "0", "-t", "1", "--no-echo", *keep, prompt]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("whit")
    parser.add_argument("model")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--words", type=int, default=150, help="in each prompt")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    prompts, expected = [], {}
    for _ in range(8):
        shared = prompts[-1].split()[: rng.randrange(options.words)] if prompts else []
        more = [rng.choice(WORDS) for _ in range(options.words - len(shared))]
        prompts.append(" ".join([*shared, *more]))
    for prompt in prompts:
        done = subprocess.run(command(options.whit, options.model, prompt), capture_output=True, check=True)
        expected[prompt] = done.stdout
    killed = ended = partial = 0
    with tempfile.TemporaryDirectory() as folder:
        cache = pathlib.Path(folder) / "cache"
        # A little longer than a run takes that keeps all it computes.
        begin = time.monotonic()
        subprocess.run(command(options.whit, options.model, prompts[0], str(cache)), capture_output=True, check=True)
        longest = 1.5 * (time.monotonic() - begin)
        while killed < options.kills:
            if rng.random() < 0.3:
                for file in cache.glob("*.kv"):
                    if rng.random() < 0.5:
                        file.unlink()
            pair = [rng.choice(prompts) for _ in range(2)]
            running = [
                subprocess.Popen(command(options.whit, options.model, prompt, str(cache)), stdout=-3, stderr=-3)
                for prompt in pair
            ]
            time.sleep(rng.uniform(0, longest))
            for process in running:
                if process.poll() is None:
                    process.kill()
                    killed += 1
                else:
                    ended += 1
                process.wait()
            partial += len(list(cache.glob(".*.partial")))
            prompt = rng.choice(prompts)
            done = subprocess.run(command(options.whit, options.model, prompt, str(cache)), capture_output=True)
            if done.returncode or done.stderr or done.stdout != expected[prompt]:
                sys.exit(f"after {killed} kills: exit code {done.returncode}, {done.stderr!r}, text {done.stdout!r}")
    print(f"{killed} killed, {ended} ended before, {partial} times an unfinished file was seen: 0 wrong, 0 complaints")


if __name__ == "__main__":
    main()
