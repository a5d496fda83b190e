#!/usr/bin/env python3
"""Runs whit and peer programs in turn on the same cores and prints the ratios. Builds and installs nothing.

README.md beside this file tells what each figure is. Python's standard library only; Linux.
"""
import argparse
import os
import shlex
import shutil
import signal
import statistics
import sys

from programs import Failure, Peer, Setting, Whit, Work, depth_flag, run

PROMPTS = (16, 125)
MEMORY_PROMPT = 125
MORE, LESS = "more is better", "less is better"
LIMITS = ("read_bytes_per_second", "int8_macs_per_second", "f32_macs_per_second")


def prompt_of(n_tokens):
    """A text of so many tokens in every vocabulary that has both words as one token."""
    return "the" + " the" * (n_tokens - 1)


def parse_named(text):
    """NAME=REST."""
    name, equals, rest = text.partition("=")
    if not equals or not name.strip() or not rest.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=...")
    return name.strip(), rest.strip()


def parse_peer(text):
    """NAME=COMMAND:MODEL, where COMMAND is split as a shell splits words."""
    name, rest = parse_named(text)
    command, colon, model = rest.rpartition(":")
    if not colon or not command.strip() or not model.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=COMMAND:MODEL")
    return name, split_words(command), model.strip()


def parse_command(text):
    """NAME=COMMAND."""
    name, command = parse_named(text)
    return name, split_words(command)


def split_words(command):
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{command!r}: {error}") from error


def parse_counts(text):
    counts = tuple(int(part) for part in text.split(","))
    if min(counts) < 0:
        raise argparse.ArgumentTypeError(f"{text!r} has a negative number")
    return counts


def parse_positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def need_program(path):
    if shutil.which(path) is None:
        raise Failure(f"{path}: no such program")


def need_model(path):
    if not os.path.exists(path):
        raise Failure(f"{path}: no such model")


def programs_of(args):
    """whit and the peers, each known to be there."""
    need_program(args.whit)
    need_model(args.model)
    generate = dict(args.first)
    programs = [Whit(args.whit, args.model)]
    for name, command, model in args.peer:
        if name in [program.name for program in programs]:
            raise Failure(f"two programs are named {name}")
        need_program(command[0])
        need_model(model)
        first = generate.pop(name, ())
        if first:
            need_program(first[0])
        programs.append(Peer(name, command, model, first, depth_flag(name, command, args.limit)))
    if generate:
        raise Failure(f"--first names no --peer: {', '.join(generate)}")
    return programs


def cpus_of(args):
    """The cores to run on: those named, else the first ones that this process may use."""
    allowed = sorted(os.sched_getaffinity(0))
    cpus = args.cpus or tuple(allowed[: args.threads])
    if not set(cpus) <= set(allowed) or len(set(cpus)) < args.threads:
        raise Failure(f"{args.threads} threads do not fit cores {cpus}; this process may use {tuple(allowed)}")
    return cpus


class Samples:
    """Values by figure, program and round."""

    def __init__(self):
        self.figures = {}

    def add(self, figure, better, program, round_number, value):
        if value is not None:
            rows = self.figures.setdefault((figure, better), {})
            rows.setdefault(program, {})[round_number] = value

    def lines(self):
        """A block for each figure: whit first, then the peers with whit/peer as the median over rounds."""
        width = max((len(name) for rows in self.figures.values() for name in rows), default=0)
        width = max(width, *(len(figure) for figure, _ in self.figures), 4) if self.figures else 4
        out = []
        for (figure, better), rows in self.figures.items():
            heads = "".join(f"{head:>11}" for head in ("median", "min", "max", "whit/peer"))
            out.append(f"{figure:<{width}}{heads}  {better}")
            for name in sorted(rows, key=lambda name: name != "whit"):
                values = list(rows[name].values())
                cells = [number(statistics.median(values)), number(min(values)), number(max(values))]
                if name != "whit" and "whit" in rows:
                    cells.append(f"{paired_ratio(rows['whit'], rows[name]):.2f}")
                out.append(f"{name:<{width}}" + "".join(f"{cell:>11}" for cell in cells))
            out.append("")
        return out


def paired_ratio(whit, peer):
    """Median of whit/peer over the rounds that have both."""
    return statistics.median([whit[n] / peer[n] for n in whit if n in peer] or [float("nan")])


def number(value):
    return f"{value:.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def measure_rates(samples, round_number, programs, works, setting):
    for work in works:
        for program in programs:
            for figure, rate in zip(work.figures(), program.rates(work, setting)):
                samples.add(figure, MORE, program.name, round_number, rate)


def measure_starts(samples, round_number, programs, setting):
    for n_tokens in PROMPTS:
        for program in programs:
            argv = program.first(prompt_of(n_tokens), setting)
            if argv is None:
                continue
            one = run(argv, setting.limit_seconds)
            first_byte = None if one.first_byte is None else one.first_byte * 1e3
            samples.add(f"first byte, {n_tokens} tokens, ms", LESS, program.name, round_number, first_byte)
            samples.add(f"exit, {n_tokens} tokens, ms", LESS, program.name, round_number, one.seconds * 1e3)
    for program in programs:
        argv = program.first(prompt_of(MEMORY_PROMPT), setting)
        if argv is not None:
            one = run(argv, setting.limit_seconds, poll=True)
            samples.add("peak memory, MiB", LESS, program.name, round_number, one.peak_bytes / 2**20)
            private = None if one.private_bytes is None else one.private_bytes / 2**20
            samples.add("private memory, MiB", LESS, program.name, round_number, private)


def limits_line(when, report):
    limits = report["limits"][0]
    read, int8, f32 = (limits[name] / 1e9 for name in LIMITS)
    return f"{when:<9}read {read:.1f} GB/s, int8 {int8:.1f} GMAC/s, f32 {f32:.1f} GMAC/s"


def compare(programs, works, rounds, setting, out):
    """Measures all rounds and writes the page; what was measured before an end from outside is written, too."""
    whit, samples = programs[0], Samples()
    lengths = [whit.prompt_tokens(prompt_of(n), setting) for n in PROMPTS]
    before = whit.bench((0,), 0, 0, 1, setting)
    cpus = sorted(os.sched_getaffinity(0))
    out.write(f"machine  {before['bench']['machine']}, {plural(setting.threads, 'thread')} on ")
    out.write(f"core{'s' * (len(cpus) > 1)} {','.join(map(str, cpus))}\n")
    for program in programs:
        megabytes = size_of(program.model) / 1e6
        model = f"{os.path.basename(program.model)}, {megabytes:.1f} MB"
        out.write(f"program  {program.name}: {program.build(setting)}; {model}\n")
    out.write(f"prompts  {' and '.join(map(str, lengths))} tokens, context {setting.context}; ")
    out.write(f"decode of {setting.decode}; {plural(rounds, 'round')}\n{limits_line('before', before)}\n")
    out.flush()
    try:
        for n in range(rounds):
            turned = programs[n % len(programs) :] + programs[: n % len(programs)]
            print(f"round {n + 1} of {rounds}", file=sys.stderr)
            measure_rates(samples, n, turned, works, setting)
            measure_starts(samples, n, turned, setting)
        out.write(limits_line("after", whit.bench((0,), 0, 0, 1, setting)) + "\n")
    finally:
        out.write("\n" + "\n".join(samples.lines()))


def plural(n, what):
    return f"{n} {what}{'s' * (n != 1)}"


def size_of(model):
    """Bytes of a file, or of the files of a folder."""
    if os.path.isdir(model):
        return sum(entry.stat().st_size for entry in os.scandir(model) if entry.is_file())
    return os.path.getsize(model)


def parser():
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parse.add_argument("--whit", required=True, metavar="PROGRAM", help="the whit to measure")
    parse.add_argument("--model", required=True, metavar="FILE", help="its model")
    parse.add_argument("--peer", action="append", required=True, type=parse_peer, metavar="NAME=BENCH:MODEL",
                       help="a llama-bench, with flags of its own where wanted, and its model; repeatable")
    parse.add_argument("--first", action="append", default=[], type=parse_command, metavar="NAME=PROGRAM",
                       help="the text generator of that peer (llama-completion, llama-cli), with flags of its own; "
                            "without it the peer has no figures of start and memory")
    parse.add_argument("-t", "--threads", type=parse_positive, default=1, metavar="N", help="threads [1]")
    parse.add_argument("--cpus", type=parse_counts, metavar="N,...", help="cores to run on [the first ones]")
    parse.add_argument("--rounds", type=parse_positive, default=3, metavar="N", help="runs of each [3]")
    parse.add_argument("--prefill", type=parse_counts, default=(128, 512), metavar="N,...", help="prompts [128,512]")
    parse.add_argument("--depth", type=parse_counts, default=(0, 1024), metavar="N,...", help="depths [0,1024]")
    parse.add_argument("--decode", type=parse_positive, default=128, metavar="N", help="tokens of a decode [128]")
    parse.add_argument("--context", type=parse_positive, default=2048, metavar="N",
                       help="context of the runs that tell start and memory [2048]")
    parse.add_argument("--limit", type=float, default=300.0, metavar="SECONDS", help="longest run of a process [300]")
    return parse


def main(arguments=None, out=sys.stdout):
    args = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        os.sched_setaffinity(0, cpus_of(args))
        programs = programs_of(args)
        setting = Setting(args.threads, args.decode, args.context, args.limit)
        works = [Work(prefill=args.prefill)] + [Work(depth=depth) for depth in args.depth]
        compare(programs, works, args.rounds, setting, out)
    except Failure as failure:
        print(f"run.py: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
