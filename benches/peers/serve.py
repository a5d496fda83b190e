#!/usr/bin/env python3
"""Runs the server of whit and those of peers in turn, with as many threads and the same questions, and prints the ratios.

README.md beside this file tells what each figure is. Python's standard library only; Linux.
"""
import argparse
import http.client
import os
import random
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[2] / "tools/serve"))

import load  # noqa: E402
from programs import Failure  # noqa: E402
from run import LESS, MORE, Samples, cpus_of, need_model, need_program, parse_counts, parse_peer, parse_positive  # noqa: E402
from serving import free_port  # noqa: E402

PARALLEL = 8
CONTEXT = 1024  # of each text
WORDS = 30      # of a prompt, at most
TOKENS = 60     # of an answer, at most
WARM = 190      # tokens that are held of a prompt of 200
PATIENCE = 120


@dataclass(frozen=True)
class Program:
    """A server: its command line, its model, and what a client calls that."""

    name: str
    command: tuple
    model: str
    kind: str

    @property
    def called(self):
        return "peer" if self.kind == "ollama" else Path(self.model).stem

    @contextmanager
    def serving(self, threads):
        """Its address while it runs, from when it can be asked."""
        port = str(free_port())
        place, env = f"127.0.0.1:{port}", dict(os.environ)
        common = ["-m", self.model, "-t", str(threads), "--port", port]
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as said:
            argv = {"whit": [*self.command, "serve", *common, "--parallel", str(PARALLEL), "-c", str(CONTEXT), "--no-cache"],
                    "llama-server": [*self.command, *common, "-np", str(PARALLEL), "-c", str(PARALLEL * CONTEXT)],
                    "ollama": [*self.command, "serve"]}[self.kind]
            if self.kind == "ollama":
                env |= {"OLLAMA_HOST": place, "OLLAMA_MODELS": folder, "OLLAMA_NUM_PARALLEL": str(PARALLEL)}
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=env)
            try:
                wait_until(place, "/api/version" if self.kind == "ollama" else "/health", process, said)
                if self.kind == "ollama":
                    file = Path(folder, "Modelfile")
                    file.write_text(f"FROM {os.path.abspath(self.model)}\nPARAMETER num_thread {threads}\nPARAMETER num_ctx {CONTEXT}\n")
                    subprocess.run([*self.command, "create", self.called, "-f", file], env=env, check=True, capture_output=True)
                yield place
            finally:
                process.terminate()
                process.wait()


def wait_until(place, path, process, said):
    """Returns when `path` is answered by 200."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        try:
            connection = http.client.HTTPConnection(place, timeout=5)
            connection.request("GET", path)
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    said.seek(0)
    raise Failure(f"{shlex.join(process.args)}\n  does not serve: {said.read().decode(errors='replace')[-600:]}")


def ask(place, model, prompt, n_tokens, seed=0, temperature=0.0):
    answer = load.ask(place, {"model": model, "prompt": prompt, "max_tokens": n_tokens, "temperature": temperature, "seed": seed,
                              "stream": True, "stream_options": {"include_usage": True}})
    if answer.status != 200:
        raise Failure(f"{model}: {answer.status}: {answer.text}")
    return answer


def many(place, model, n_clients, seconds, seed):
    """Tokens a second of all clients together, and the median time to the first token, each prompt a new one."""
    start = time.monotonic()

    def client(number):
        rng, answers = random.Random(f"{seed} {n_clients} {number}"), []
        while time.monotonic() < start + seconds:
            prompt = load.prompt(rng, rng.randint(1, WORDS))
            answers.append(ask(place, model, prompt, rng.randint(1, TOKENS), rng.randint(0, 2**31), rng.choice([0, 0.7, 1.2])))
        return answers

    with ThreadPoolExecutor(n_clients) as pool:
        answers = [answer for some in pool.map(client, range(n_clients)) for answer in some]
    first = [answer.moments[0] for answer in answers if answer.moments]
    return sum(answer.n_tokens for answer in answers) / (time.monotonic() - start), statistics.median(first) * 1e3


def warm(place, model, seed, asked=7):
    """Median time to the first token of a prompt of 200 tokens, all but the last ten of which have been asked before."""
    rng = random.Random(seed)
    begin = load.prompt(rng, WARM - 1)
    ask(place, model, begin, 1)
    tails = [" ".join(rng.choice(load.WORDS) for _ in range(200 - WARM)) for _ in range(asked)]
    return statistics.median(ask(place, model, f"{begin} {tail}", 2).moments[0] for tail in tails) * 1e3


def measure(samples, round_number, program, args):
    with program.serving(args.threads) as place:
        ask(place, program.called, "Once", 8)
        for n_clients in args.clients:
            rate, first = many(place, program.called, n_clients, args.seconds, round_number)
            who = "1 client" if n_clients == 1 else f"{n_clients} clients"
            samples.add(f"{who}, tokens a second", MORE, program.name, round_number, rate)
            samples.add(f"{who}, first token, ms", LESS, program.name, round_number, first)
        samples.add("200 tokens, 190 held, first, ms", LESS, program.name, round_number, warm(place, program.called, round_number))


def programs_of(args):
    programs = [Program("whit", (args.whit,), args.model, "whit")]
    programs += [Program(*peer, "llama-server") for peer in args.llama_server]
    programs += [Program(*peer, "ollama") for peer in args.ollama]
    for program in programs:
        need_program(program.command[0])
        need_model(program.model)
    return programs


def parser():
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parse.add_argument("--whit", required=True, metavar="PROGRAM", help="the whit to measure")
    parse.add_argument("--model", required=True, metavar="FILE", help="its model")
    for option, what in (("--llama-server", "a llama-server"), ("--ollama", "an ollama")):
        parse.add_argument(option, action="append", default=[], type=parse_peer, metavar="NAME=PROGRAM:MODEL",
                           help=f"{what}, with flags of its own where wanted, and its model; repeatable")
    parse.add_argument("-t", "--threads", type=parse_positive, default=1, metavar="N", help="threads [1]")
    parse.add_argument("--cpus", type=parse_counts, metavar="N,...", help="cores to run on [the first ones]")
    parse.add_argument("--rounds", type=parse_positive, default=3, metavar="N", help="runs of each [3]")
    parse.add_argument("--clients", type=parse_counts, default=(1, PARALLEL), metavar="N,...", help=f"clients at a time [1,{PARALLEL}]")
    parse.add_argument("--seconds", type=float, default=10.0, help="time for each number of clients [10]")
    return parse


def main(arguments=None, out=sys.stdout):
    args = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    samples = Samples()
    try:
        os.sched_setaffinity(0, cpus_of(args))
        programs = programs_of(args)
        for n in range(args.rounds):
            for program in programs[n % len(programs):] + programs[:n % len(programs)]:
                print(f"round {n + 1} of {args.rounds}: {program.name}", file=sys.stderr)
                measure(samples, n, program, args)
    except Failure as failure:
        print(f"serve.py: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        out.write("\n".join(samples.lines()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
