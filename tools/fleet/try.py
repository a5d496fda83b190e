#!/usr/bin/env python3
"""Answers requests by four workers on this machine, kills one of them while it works, and compares the file with that of a single run.

    tools/fleet/try.py WHIT MODEL [--requests 400] [--only ray|spark]

Needs what ray_batch.py and spark_batch.py need.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
WORDS = "Once upon a time the small cat and her dog saw one red bird by that old tree".split()


def requests(n):
    rng = random.Random(1)
    for i in range(n):
        prompt = " ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 20)))
        body = {"prompt": prompt, "max_tokens": rng.randrange(20, 120), "seed": i}
        yield json.dumps({"custom_id": f"r{i}", "method": "POST", "url": "/v1/completions", "body": body}) + "\n"


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def working(whit, folder):
    """The processes of `whit batch` with files in `folder`."""
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes().split(b"\0") if process.name.isdigit() else []
            if words[:2] == [os.fsencode(whit), b"batch"] and os.fsencode(folder) in words[5]:
                yield int(process.name)
        except (OSError, IndexError):
            continue


def kill_a_worker(whit, folder, name):
    """Kills the worker of one shard that is being answered; for Spark its executor, which is the parent's nearest Java."""
    while not (pids := list(working(whit, folder))):
        time.sleep(0.02)
    pid = parent(pids[0])
    while name == "spark" and "java" not in os.readlink(f"/proc/{pid}/exe"):
        pid = parent(pid)
    os.kill(pid, signal.SIGKILL)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("whit")
    parser.add_argument("model")
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--only", choices=["ray", "spark"])
    options = parser.parse_args()
    whit, model = (os.path.abspath(path) for path in (options.whit, options.model))
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        asked, alone = f"{folder}/requests.jsonl", f"{folder}/alone.jsonl"
        Path(asked).write_text("".join(requests(options.requests)))
        subprocess.run([whit, "batch", model, asked, "-o", alone, "-q"], check=True)
        for name in [options.only] if options.only else ["ray", "spark"]:
            there = Path(folder, name)
            there.mkdir()
            output = f"{folder}/{name}.jsonl"
            command = [sys.executable, HERE / f"{name}_batch.py", whit, model, asked, "-o", output]
            begun = time.monotonic()
            run = subprocess.Popen(command, env=os.environ | {"TMPDIR": str(there)})
            time.sleep(1)
            kill_a_worker(whit, str(there), name)
            code = run.wait()
            same = code == 0 and Path(output).read_bytes() == Path(alone).read_bytes()
            wrong += not same
            said = "the file of a single run" if same else f"WRONG (exit code {code})"
            print(f"{name}: {options.requests} requests, a worker killed: {said}, {time.monotonic() - begun:.0f} s", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
