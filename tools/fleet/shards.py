"""What both kinds of clusters do: a shard of the requests is answered by `whit batch` where a worker runs, and the rows of all shards
become the file that one run writes."""

import ctypes
import itertools
import signal
import subprocess
import tempfile
from pathlib import Path

PR_SET_PDEATHSIG = 1


def end_with_worker():
    """Has the kernel end this program with the worker that starts it, so that nobody computes what nobody waits for."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def answer(whit, model, requests, shard, n_shards, options):
    """The rows of shard `shard` (1 is the first) of `requests`, the bytes of a file of requests. `whit` and `model` are paths on the
    machine of the worker."""
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder, "requests.jsonl"), Path(folder, "answers.jsonl")
        asked.write_bytes(requests)
        command = [whit, "batch", model, asked, "-o", answered, "--shard", f"{shard}/{n_shards}", "-q", *options]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, preexec_fn=end_with_worker)
        if done.returncode:
            raise RuntimeError(f"shard {shard}/{n_shards}: exit code {done.returncode}: {done.stderr.strip()}")
        return answered.read_bytes()


def joined(parts):
    """The rows of all shards, in the order of the requests: of n shards each has every n-th."""
    rows = itertools.zip_longest(*(part.splitlines(keepends=True) for part in parts))
    return b"".join(row for turn in rows for row in turn if row is not None)


def add_arguments(parser):
    parser.add_argument("whit", help="the program, where it lies on every machine")
    parser.add_argument("model", help="the model, where it lies on every machine")
    parser.add_argument("requests", help="requests, a line of JSON each")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--shards", type=int, default=16, help="parts of the work: several for each worker")
    parser.add_argument("--whit-options", default="-t 1", help="options of whit batch, as one word")


def write(path, rows):
    """Writes the file whole or not at all."""
    path = Path(path)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_bytes(rows)
    unfinished.replace(path)
