#!/usr/bin/env python3
"""Faults of clients, files and machines against a server that others are asking: `python tools/serve/faults.py target/release/whit -m MODEL`.

Each fault has a server of its own, which two more clients ask all the time: at the end it has to run and answer, or to have ended with a clear
word where that is right; nobody beside the fault has to have failed; no thread panicked; its private memory is within its plan. What
this machine cannot try is said as SKIPPED. Ends with 1 where something broke. Needs nothing but Python's own library; a control group needs root.
"""
import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import serving
from serving import Server, ask, wait_until

LONG = {"prompt": "Once upon a time", "max_tokens": 400, "stream": True, "temperature": 1, "logit_bias": {"1": -100, "2": -100}}
FAULTS = {}


def fault(function):
    FAULTS[function.__name__] = function
    return function


class Others:
    """Two clients who ask meanwhile, and what became of their requests."""

    def __init__(self, place):
        self.place, self.wrong, self.n, self.longest, self.is_over = place, [], 0, 0.0, False
        self.threads = [threading.Thread(target=self.ask, args=(i,), daemon=True) for i in range(2)]
        self.errors_are_right = False
        [thread.start() for thread in self.threads]

    def ask(self, number):
        body = {"prompt": f"The {['cat', 'dog'][number]} was", "max_tokens": 8, "temperature": 0}
        first = None
        while not self.is_over:
            begun = time.monotonic()
            try:
                status, text = ask(self.place, "/v1/completions", body, timeout=60)
            except OSError as error:
                status, text = 0, repr(error)
            self.longest = max(self.longest, time.monotonic() - begun)
            self.n += 1
            if status == 200:
                text = json.loads(text)["choices"][0]["text"]
                first = first or text
            if (status != 200 or text != first) and not self.errors_are_right:
                self.wrong.append((status, text))
            time.sleep(0.05)

    def end(self):
        self.is_over = True
        [thread.join(70) for thread in self.threads]


def connect(server, timeout=100, **options):
    stream = socket.socket()
    for name, value in options.items():
        stream.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
    stream.settimeout(timeout)
    stream.connect(("127.0.0.1", server.port))
    return stream


def post(path, body):
    data = json.dumps(body).encode()
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data


def to_end(stream):
    """All that comes until the server closes; None where it does not."""
    came = b""
    try:
        while piece := stream.recv(65536):
            came += piece
    except ConnectionError:
        return came
    except TimeoutError:
        return None
    return came


def metric(server, name):
    _, text = ask(server.place, "/metrics", None, method="GET")
    return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(name)), None)


def slowly(server, head, seconds):
    """Sends `head`, then a byte every second; when the server ended it, and with what."""
    stream = connect(server)
    stream.sendall(head)
    stream.setblocking(False)
    came, begun = b"", time.monotonic()
    while time.monotonic() < begun + seconds:
        time.sleep(1)
        with contextlib.suppress(BlockingIOError, ConnectionError):
            piece = stream.recv(4096)
            came += piece
            if not piece:
                return time.monotonic() - begun, came
        try:
            stream.send(b"a")
        except OSError:
            return time.monotonic() - begun, came
    return None, came


def all_slowly(server, head, seconds, n=100):
    ends = [None] * n

    def one(i):
        ends[i] = slowly(server, head, seconds)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(n)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    left = sum(end is None for end, _ in ends)
    return left, [end for end, _ in ends if end is not None], {came.split(b"\r\n")[0].decode() for _, came in ends}


@fault
def slow_headers(server, args):
    left, ends, said = all_slowly(server, b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nX: ", 40)
    return left == 0, f"100 clients that send a byte of their headers a second are ended after {min(ends):.0f} to {max(ends):.0f} s: {said}"


@fault
def slow_bodies(server, args):
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\n{"
    left, ends, said = all_slowly(server, head, 75)
    return left == 0 and all("408" in line for line in said), f"100 that send a byte of a body a second, after {min(ends):.0f} to {max(ends):.0f} s: {said}"


@fault
def many_connections(server, args):
    wanted = 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted + 200, hard), hard))
    n = min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)
    open_ones, refused = [], 0
    for i in range(n):
        stream = socket.socket()
        stream.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            stream.connect(("127.0.0.1", server.port))
        open_ones.append(stream)
        if i % 100 == 99:
            time.sleep(0.02)
    time.sleep(5)
    status, text = ask(server.place, "/v1/completions", {"prompt": "Once", "max_tokens": 2}, timeout=60)
    said = f"{n} silent connections; one more is answered {status}"
    [stream.close() for stream in open_ones]
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return status == 200 and n == wanted, said


@fault
def half_closed(server, args):
    seen = {}
    for i in range(60):
        stream = connect(server)
        stream.sendall(post("/v1/completions", {"prompt": "Once", "max_tokens": 2, "stream": i % 2 == 0})[: -5 if i % 3 == 2 else None])
        if i % 3:
            stream.shutdown(socket.SHUT_WR)
        else:
            stream.shutdown(socket.SHUT_RD)
            stream.close()
            continue
        came = to_end(stream)
        if came is None:
            return False, "a connection is not closed"
        line = came.split(b"\r\n")[0].decode()
        seen[line] = seen.get(line, 0) + 1
    return True, f"60 half-closed connections are answered or closed: {seen}"


@fault
def never_read(server, args):
    """Clients that ask for much and take nothing: given up when nothing was taken for 30 s."""
    streams = []
    for i in range(8):
        stream = connect(server, SO_RCVBUF=1024)
        stream.sendall(post("/v1/completions", {**LONG, "n": 1, "seed": i, "whit": {"distribution": 200, "stages": True}}))
        streams.append(stream)
    is_over = wait_until(lambda: metric(server, "whit_texts_active") <= 2, 120)
    [stream.close() for stream in streams]
    return is_over, f"8 clients that take nothing hold no place for ever: {is_over}"


@fault
def gone_in_the_middle(server, args):
    rng = random.Random(1)
    for i in range(200):
        stream = connect(server)
        stream.sendall(post("/v1/completions", {**LONG, "seed": i}))
        with contextlib.suppress(OSError):
            stream.settimeout(rng.random() / 20)
            stream.recv(rng.randint(1, 2000))
        if i % 2:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        stream.close()
    is_over = wait_until(lambda: metric(server, "whit_texts_active") <= 2, 30)
    return is_over, f"of 200 clients that went in the middle nothing is written any more: {is_over}"


@fault
def killed_clients(server, args):
    code = ("import sys, json, http.client\n"
            "c = http.client.HTTPConnection(sys.argv[1]); c.request('POST', '/v1/completions', sys.argv[2]); r = c.getresponse()\n"
            "while r.read(50): pass\n")
    for i in range(20):
        client = subprocess.Popen([sys.executable, "-c", code, server.place, json.dumps({**LONG, "seed": i})])
        time.sleep(0.15 + 0.02 * (i % 5))
        client.kill()
        client.wait()
    is_over = wait_until(lambda: metric(server, "whit_texts_active") <= 2, 30)
    return is_over, f"of 20 clients that were killed nothing is written any more: {is_over}"


@fault
def bad_bodies(server, args):
    rng = random.Random(2)
    seen = {}
    for i in range(300):
        body = bytes(rng.randrange(256) for _ in range(rng.randint(0, 200))) if i % 2 else json.dumps({"prompt": "[" * 5000, "n": i}).encode()[: 20 * i]
        stream = connect(server)
        stream.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        came = to_end(stream)
        line = (came or b"nothing").split(b"\r\n")[0].decode()
        seen[line] = seen.get(line, 0) + 1
    right = all("400" in line for line in seen)
    return right, f"300 bodies that are no requests: {seen}"


@fault
def large_bodies(server, args):
    """The longest bodies, many at once: what of them is in memory is bounded, and so is what is made of them."""
    size = (2 << 20) - 100
    bodies = [b'{"prompt": "' + b"a " * (size // 2) + b'"}', b'{"prompt": [' + b"0," * 131_000 + b"0]}", b'{"prompt": [' + b"[]," * (size // 3) + b"0]}",
              b'{"prompt": "a", "logit_bias": {' + b",".join(b'"%d":1' % i for i in range(32_000)) + b"}}",
              b'{"prompt": "' + "\u4e2d".encode() * (size // 3) + b'"}', b'{"input": ["' + "\u4e2d".encode() * (size // 3) + b'"]}']
    seen = {}

    def one(number):
        data = bodies[number % len(bodies)]
        stream = connect(server)
        with contextlib.suppress(OSError):
            stream.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(data))
            for at in range(0, len(data), 1 << 16):
                stream.sendall(data[at:at + (1 << 16)])
        came = (to_end(stream) or b"closed").split(b"\r\n")[0].decode()
        seen[came] = seen.get(came, 0) + 1

    most = 0
    for n_at_once in (1, 30):
        for first in range(len(bodies)):
            threads = [threading.Thread(target=one, args=(first + i,)) for i in range(n_at_once)]
            [thread.start() for thread in threads]
            while any(thread.is_alive() for thread in threads):
                most = max(most, server.memory())
                time.sleep(0.002)
    return most <= server.planned(), f"the longest bodies, one and 30 at once: {most >> 20} MiB at most, of {server.planned() >> 20} MiB; {seen}"


def streamed(server, n_tokens=400):
    """A stream whose first part has come."""
    stream = connect(server)
    stream.sendall(post("/v1/completions", {**LONG, "max_tokens": n_tokens}))
    return stream, stream.recv(4096)


@fault
def asked_to_end(server, args):
    stream, came = streamed(server)
    server.errors_are_right()
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.05)
    is_closed = False
    with contextlib.suppress(OSError):
        other = connect(server, timeout=5)
        other.sendall(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
        is_closed = b" 200 " not in (to_end(other) or b"")
    came += to_end(stream) or b""
    code = server.process.wait(60)
    is_whole = b"data: [DONE]" in came
    return is_whole and code == 0, f"a stream is whole after SIGTERM: {is_whole}; exit code {code}"


@fault
def ended_twice(server, args):
    stream, came = streamed(server)
    server.errors_are_right()
    for _ in range(2):
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
    came += to_end(stream) or b""
    code = server.process.wait(60)
    return code == 0, f"after two SIGTERMs: exit code {code}"


@fault
def model_replaced(server, args):
    stream, came = streamed(server)
    new = server.model + ".new"
    shutil.copyfile(server.model, new)
    os.replace(new, server.model)
    came += to_end_of_answer(stream)
    status, text = ask(server.place, "/v1/completions", {"prompt": "Once", "max_tokens": 2})
    return b"[DONE]" in came and status == 200, f"the file is another one: the stream ends whole, one more is answered {status}"


def to_end_of_answer(stream):
    came = b""
    with contextlib.suppress(OSError):
        while b"0\r\n\r\n" not in came[-50:] and (piece := stream.recv(65536)):
            came += piece
    return came


@fault
def model_changed(server, args):
    """Other bytes in the same file: what is written may be wrong, and says so."""
    stream, came = streamed(server)
    server.errors_are_right()
    with open(server.model, "r+b") as file:
        file.seek(-1000, os.SEEK_END)
        file.write(bytes(100))
    came += to_end_of_answer(stream)
    told = b"changed" in came
    status, text = ask(server.place, "/v1/completions", {"prompt": "Once", "max_tokens": 2})
    return told and status >= 500, f"the stream ends with that the file was changed: {told}; one more is answered {status} {text[:150]}"


@fault
def model_cut(server, args):
    """What is cut away of a mapped file is not there any more: the process ends at once, with a word."""
    stream, came = streamed(server)
    server.errors_are_right()
    os.truncate(server.model, os.path.getsize(server.model) // 2)
    came += to_end_of_answer(stream)
    ended = wait_until(lambda: not server.is_running(), 10)
    status = 0
    if not ended:
        with contextlib.suppress(OSError):
            status, _ = ask(server.place, "/v1/completions", {"prompt": "Once", "max_tokens": 2}, timeout=10)
            ended = wait_until(lambda: not server.is_running(), 10)
    time.sleep(0.2)
    told = [line for line in server.said if "model" in line or "file" in line or "changed" in line][-1:]
    code = server.process.returncode
    right = (ended and code and code > 0 and bool(told)) or (not ended and status >= 500)
    return right, f"the file is cut: exit code {code}, {told}; a request is answered {status}"


def check(name, run, args, folder):
    model = args.model
    if name.startswith("model_"):
        model = os.path.join(folder, f"{name}.whit")
        shutil.copyfile(args.model, model)
    words = ["-t", "1", "--parallel", "4", "--queue", "32", "-m", model]
    with Server(args.whit, words) as server:
        server.model = model
        others = Others(server.place)
        server.errors_are_right = lambda: setattr(others, "errors_are_right", True)
        time.sleep(0.5)
        is_right, said = run(server, args)
        ends_by_itself = name in ("asked_to_end", "ended_twice", "model_cut")
        others.errors_are_right |= ends_by_itself
        others.end()
        complaints = []
        if not ends_by_itself:
            if not server.is_running():
                complaints.append(f"it ended: {server.said[-3:]}")
            else:
                memory = server.memory()
                said += f"; {others.n} requests of others, {others.longest:.2f} s at most; {memory >> 20} MiB private of {server.planned() >> 20}"
                if memory > server.planned():
                    complaints.append("more memory than planned")
                if server.end() != 0:
                    complaints.append(f"it does not end well: {server.process.returncode}")
        complaints += [] if others.errors_are_right else others.wrong[:2]
        complaints += server.panics()
    verdict = "ok     " if is_right and not complaints else "BROKEN "
    print(f"{verdict}{name}: {said}{' ' if complaints else ''}{complaints or ''}", flush=True)
    return is_right and not complaints


def full_stderr(args):
    """Standard error that takes nothing: a full disk, and a pipe that nobody reads and that somebody closes."""
    right = True
    for kind in ("full", "closed"):
        port = free_port()
        if kind == "full":
            target = open("/dev/full", "w")
        else:
            reading, writing = os.pipe()
            target = os.fdopen(writing, "w")
            os.close(reading)
        server = Server(args.whit, ["-m", args.model], stderr=target, port=port)
        status = 0

        def answers():
            nonlocal status
            with contextlib.suppress(OSError):
                status, _ = ask(server.place, "/v1/completions", {"prompt": "Once", "max_tokens": 2})
            return status == 200 or not server.is_running()

        wait_until(answers, 20)
        code = server.end()
        target.close()
        is_right = status == 200 and code == 0
        right &= is_right
        print(f"{'ok     ' if is_right else 'BROKEN '}standard error {kind}: a request is answered {status}, exit code {code}", flush=True)
    return right


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def in_little_memory(args):
    """All places taken and as many waiting, in a control group of the plan and a tenth; where there is none, an address space."""
    words = ["-t", "1", "--parallel", "4", "--queue", "32", "-m", args.model]
    with Server(args.whit, words) as server:
        planned = server.planned()
    # The file is mapped: its pages count for the group that reads them, and are given back when memory is short.
    limit = int((planned + os.path.getsize(args.model)) * 1.1)
    group = "/sys/fs/cgroup/whit-faults"
    wrap, told = None, ""
    try:
        os.makedirs(group, exist_ok=True)
        with open(f"{group}/memory.max", "w") as file:
            file.write(str(limit))
        wrap = ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
        told = f"a control group of {limit >> 20} MiB"
    except OSError as error:
        print(f"SKIPPED a control group: {error}; an address space in its place", flush=True)
        limit += 512 << 20
        wrap = ["sh", "-c", f'ulimit -v {limit >> 10} && exec "$@"', "sh"]
        told = f"an address space of {limit >> 20} MiB"
    seen = {}
    with Server(args.whit, words, wrap=wrap) as server:
        def client(i):
            for j in range(10):
                body = {"prompt": "Once " * 100, "max_tokens": 60, "seed": 100 * i + j, "temperature": 1}
                status, _ = ask(server.place, "/v1/completions", body)
                seen[status] = seen.get(status, 0) + 1

        threads = [threading.Thread(target=client, args=(i,)) for i in range(36)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        is_right = server.is_running() and set(seen) <= {200, 503} and not server.panics()
        memory = server.memory() if server.is_running() else 0
        code = server.end()
    with contextlib.suppress(OSError):
        os.rmdir(group)
    is_right = is_right and code == 0
    print(f"{'ok     ' if is_right else 'BROKEN '}{told}: 360 requests of 36 clients are answered {seen}, {memory >> 20} MiB private of {planned >> 20}", flush=True)
    return is_right


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("whit")
    parser.add_argument("-m", "--model", default=os.path.join(os.path.dirname(__file__), "../../models/stories.whit"))
    parser.add_argument("--only", help="the faults whose name has this in it")
    args = parser.parse_args()
    only = args.only or ""
    with tempfile.TemporaryDirectory() as folder:
        outcomes = [check(name, run, args, folder) for name, run in FAULTS.items() if only in name]
    for run in (full_stderr, in_little_memory):
        if only in run.__name__:
            outcomes.append(run(args))
    print(f"{len(outcomes)} faults, {outcomes.count(False)} broken")
    raise SystemExit(not all(outcomes))


main()
