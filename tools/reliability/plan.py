#!/usr/bin/env python3
"""Holds `whit plan` against what a run takes: private memory at its peak, and the limit of addresses.

    tools/reliability/plan.py WHIT MODEL... [--contexts 256,512,1024,2048] [--threads 1,2]

Each run fills its context and then reports its private memory, of which nothing is given back before the end. It runs under
`ulimit -v` of what the plan said of addresses. Fails where a run fails, or differs by more than 2 % and 4 MiB.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import tempfile

N_NEW = 4


def whit(program, *arguments, addresses=None):
    """What the program prints last, as JSON."""

    def limit():
        if addresses:
            resource.setrlimit(resource.RLIMIT_AS, (addresses, addresses))

    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, preexec_fn=limit)
    if done.returncode:
        sys.exit(f"whit {' '.join(map(str, arguments))}: {done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("whit")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--contexts", default="256,512,1024,2048")
    parser.add_argument("--threads", default="1,2")
    options = parser.parse_args()
    numbers = lambda text: [int(n) for n in text.split(",")]
    wrong = 0
    print("model  context  cache  threads  planned MB  private MB  differs")
    for model in options.models:
        for context in numbers(options.contexts):
            for kv in ["f16", "int8", "q4"]:
                for threads in numbers(options.threads):
                    common = ["-m", model, "--ctx", context, "--kv", kv, "-t", threads, "--json"]
                    plan = whit(options.whit, "plan", *common)
                    with tempfile.NamedTemporaryFile("w") as prompt:
                        prompt.write(" the" * (context - N_NEW - 4))
                        prompt.flush()
                        run = ["generate", "-q", "-f", prompt.name, "-n", N_NEW, "--temp", 0.8, "-s", 1, *common]
                        told = whit(options.whit, *run, addresses=plan["address_space_bytes"])["summary"]
                    planned, private = plan["private_bytes"], told["private_bytes"]
                    differs = abs(planned - private)
                    good = differs <= max(0.02 * planned, 4 << 20) and told["prompt_tokens"] >= context - N_NEW - 8
                    wrong += not good
                    name = pathlib.Path(model).stem
                    figures = f"{planned / 1e6:.2f}  {private / 1e6:.2f}  {100 * differs / planned:.1f} %"
                    print(f"{name}  {context}  {kv}  {threads}  {figures}{'' if good else '  WRONG'}", flush=True)
    if wrong:
        sys.exit(f"{wrong} plans are wrong")


if __name__ == "__main__":
    main()
