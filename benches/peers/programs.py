"""One process and its figures, and what whit and a llama-bench are told and print."""
import json
import os
import re
import selectors
import shlex
import subprocess
import tempfile
import time
from dataclasses import dataclass

POLL_SECONDS = 0.002


class Failure(Exception):
    """What ends the comparison, told without a traceback."""


@dataclass
class Run:
    """One process, from before its start until it was reaped."""

    stdout: str
    seconds: float
    first_byte: "float | None"
    peak_bytes: int
    private_bytes: "int | None"


def run(argv, limit_seconds, poll=False):
    """Runs `argv` to its end; `poll` also looks at its private memory, which disturbs the time."""
    with tempfile.TemporaryFile() as stderr:
        start = time.perf_counter()
        try:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr)
        except OSError as error:
            raise Failure(f"{shlex.join(argv)}\n  did not start: {error.strerror}") from error
        try:
            stdout, first_byte, private = read_all(process, start, limit_seconds, poll)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if process.returncode is None:
                process.kill()
                process.wait()
            process.stdout.close()
        seconds = time.perf_counter() - start
        if process.returncode != 0:
            stderr.seek(0)
            raise Failure(tell_exit(argv, process.returncode, stderr.read().decode(errors="replace")))
    text = stdout.decode(errors="replace")
    return Run(text, seconds, first_byte, usage.ru_maxrss * 1024, private)


def read_all(process, start, limit_seconds, poll):
    """Standard output until it is closed, the second of its first byte, the highest private memory seen."""
    parts, first_byte, private = [], None, None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            left = start + limit_seconds - time.perf_counter()
            if left <= 0:
                raise Failure(f"{shlex.join(process.args)}\n  still ran after {limit_seconds:g} s (--limit)")
            if poll:
                private = max(filter(None, [private, private_bytes(process.pid)]), default=None)
            ready = selector.select(POLL_SECONDS if poll else left)
            if ready:
                part = os.read(process.stdout.fileno(), 1 << 16)
                if not part:
                    return b"".join(parts), first_byte, private
                first_byte = first_byte or time.perf_counter() - start
                parts.append(part)


def private_bytes(pid):
    """Resident anonymous memory now, neither the mapped file nor code; None once the process has ended."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        found = re.search(r"^RssAnon:\s+(\d+) kB$", status.read(), re.MULTILINE)
    return int(found.group(1)) * 1024 if found else None


def tell_exit(argv, code, stderr):
    tail = "".join(f"\n  | {line}" for line in stderr.rstrip().splitlines()[-6:])
    return f"{shlex.join(argv)}\n  ended with {code}{tail}"


@dataclass(frozen=True)
class Work:
    """Rates measured by one process: prompts of these lengths, or a decode at this depth."""

    prefill: tuple = ()
    depth: "int | None" = None

    def figures(self):
        if self.depth is None:
            return [f"prefill of {n} tokens, tok/s" for n in self.prefill]
        return [f"decode at depth {self.depth}, tok/s"]


@dataclass(frozen=True)
class Setting:
    """What all programs of a comparison are given."""

    threads: int
    decode: int
    context: int
    limit_seconds: float


@dataclass(frozen=True)
class Whit:
    """The program that all others are compared with."""

    path: str
    model: str
    name: str = "whit"

    def build(self, setting):
        """What the program calls itself."""
        return run([self.path, "--version"], setting.limit_seconds).stdout.strip()

    def rates(self, work, setting):
        depth, decode = (0, 0) if work.depth is None else (work.depth, setting.decode)
        rows = self.bench(work.prefill or (0,), depth, decode, 0, setting)["rows"]
        if work.depth is None:
            return [one_rate(self.name, rows, {"work": "prefill", "tokens": n}) for n in work.prefill]
        return [one_rate(self.name, rows, {"work": "decode", "tokens": decode, "depth": depth})]

    def bench(self, prefill, depth, decode, limit_seconds, setting):
        lengths = ",".join(map(str, prefill))
        argv = [self.path, "bench", "-m", self.model, "-t", str(setting.threads), "--prefill", lengths]
        argv += ["--depth", str(depth), "--decode", str(decode), "--repeat", "1", "--quiet", "--json"]
        return read_json(run(argv + ["--limit-seconds", str(limit_seconds)], setting.limit_seconds).stdout, argv)

    def first(self, prompt, setting):
        argv = [self.path, "generate", "-m", self.model, "-t", str(setting.threads), "-c", str(setting.context)]
        return argv + ["-n", "1", "--temp", "0", "--no-echo", "-q", prompt]

    def prompt_tokens(self, prompt, setting):
        argv = self.first(prompt, setting) + ["--json"]
        lines = run(argv, setting.limit_seconds).stdout.splitlines()
        return read_json(lines[-1] if lines else "", argv)["summary"]["prompt_tokens"]


@dataclass(frozen=True)
class Peer:
    """A program that takes llama-bench's flags, and one that generates text from llama-cli's."""

    name: str
    command: tuple
    model: str
    generate: tuple = ()
    depth_flag: str = "-d"

    def build(self, setting):
        """Its commit and flags, as far as it tells them; the model comes into the page cache."""
        argv = [*self.command, "-m", self.model, "-t", str(setting.threads), "-r", "1", "-o", "json", "-p", "1", "-n", "0"]
        rows = read_json(run(argv, setting.limit_seconds).stdout, argv)
        commit = rows[0].get("build_commit") if rows else None
        return " ".join([f"build {commit}" if commit else "build not told", *self.command[1:]])

    def rates(self, work, setting):
        argv = [*self.command, "-m", self.model, "-t", str(setting.threads), "-r", "1", "-o", "json"]
        if work.depth is None:
            argv += ["-p", ",".join(map(str, work.prefill)), "-n", "0"]
            wanted = [{"n_prompt": n, "n_gen": 0} for n in work.prefill]
        elif work.depth == 0:
            argv += ["-p", "0", "-n", str(setting.decode)]
            wanted = [{"n_prompt": 0, "n_gen": setting.decode}]
        elif self.depth_flag == "-d":
            argv += ["-p", "0", "-n", str(setting.decode), "-d", str(work.depth)]
            wanted = [{"n_prompt": 0, "n_gen": setting.decode, "n_depth": work.depth}]
        else:
            argv += ["-p", "0", "-n", "0", "-gp", f"{work.depth},{setting.decode}"]
            wanted = [{"n_prompt": work.depth, "n_gen": setting.decode}]
        rows = read_json(run(argv, setting.limit_seconds).stdout, argv)
        return [one_rate(self.name, rows, keys, "avg_ts") for keys in wanted]

    def first(self, prompt, setting):
        if not self.generate:
            return None
        argv = [*self.generate, "-m", self.model, "-t", str(setting.threads), "-c", str(setting.context)]
        return argv + ["-n", "1", "--temp", "0", "-p", prompt]


def depth_flag(name, command, limit_seconds):
    """How this llama-bench is told of tokens in the cache: `-d N`, or `-gp N,GENERATED` in the fork that has it."""
    text = run([*command, "--help"], limit_seconds).stdout
    for flag in ("-d", "-gp"):
        if re.search(rf"(?<!\S){flag}[\s,]", text):
            return flag
    raise Failure(f"{name}: {command[0]} --help names neither -d nor -gp: no llama-bench")


def read_json(text, argv):
    try:
        return json.loads(text)
    except ValueError as error:
        raise Failure(f"{shlex.join(argv)}\n  printed no JSON ({error}): {text[:200]!r}") from error


def one_rate(name, rows, keys, rate="tokens_per_second"):
    found = [row[rate] for row in rows if all(row.get(key) == value for key, value in keys.items())]
    if len(found) != 1:
        raise Failure(f"{name}: {len(found)} rows of {keys} where one was asked for")
    return float(found[0])
