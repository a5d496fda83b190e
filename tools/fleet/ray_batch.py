#!/usr/bin/env python3
"""Answers a file of requests with `whit batch` on the machines of a Ray cluster; without --address, on this one with --workers of them.

    tools/fleet/ray_batch.py WHIT MODEL REQUESTS.jsonl -o ANSWERS.jsonl [--address ADDRESS] [--shards 16]

The file is the one that a single run writes. A shard whose worker dies is answered by another one. Needs the package ray.
"""

import argparse
import shlex
import sys
from pathlib import Path

import ray
from shards import add_arguments, answer, joined, write


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--address", help="of a cluster")
    parser.add_argument("--workers", type=int, default=4, help="where there is no cluster")
    options = parser.parse_args()
    here = {"runtime_env": {"env_vars": {"PYTHONPATH": str(Path(__file__).parent)}}}
    where = {"address": options.address} if options.address else {"num_cpus": options.workers, "include_dashboard": False}
    ray.init(log_to_driver=False, **where, **here)
    answer_there = ray.remote(num_cpus=1, max_retries=-1)(answer)
    requests = ray.put(Path(options.requests).read_bytes())
    words = shlex.split(options.whit_options)
    n = options.shards
    waiting = [answer_there.remote(options.whit, options.model, requests, i + 1, n, words) for i in range(n)]
    for i, part in enumerate(waiting):
        ray.wait([part])
        print(f"\r{i + 1} of {n} shards", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    write(options.output, joined(ray.get(waiting)))


if __name__ == "__main__":
    main()
