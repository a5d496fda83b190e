#!/usr/bin/env python3
"""Two servers of a model behind nginx and behind HAProxy, one of which ends and starts again while clients ask: no answer may fail.

    tools/fleet/proxies.py WHIT [-m MODEL] [--seconds 40] [--clients 8] [--only nginx|haproxy]

The proxies run with the configurations of docs/fleet.md, with addresses of this machine in them. Each client asks for one streamed text after
the other from an address of its own, and each text has to be what a server writes without a proxy. Every eight seconds SIGTERM ends one of
the servers, in turn. Needs root, nginx and haproxy.
"""
import argparse
import http.client
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "tools/serve"))

import serving  # noqa: E402

WORDS = "once upon a time there was little girl who liked to play in the park with her big dog and they found red ball".split()
COMMANDS = {"nginx": ["nginx", "-g", "daemon off;", "-c"], "haproxy": ["haproxy", "-db", "-f"]}
DOWN, APART = 2, 6  # seconds until a server is started again, and until the other one ends


def configuration(name, port, servers, folder):
    """What docs/fleet.md says, at these ports."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", (ROOT / "docs/fleet.md").read_text(), re.MULTILINE | re.DOTALL)
    text = next(block for block in blocks if ("bind :80" if name == "haproxy" else "listen 80") in block)
    for address, server in zip(("10.0.0.11:8080", "10.0.0.12:8080"), servers):
        assert address in text, f"{name}: docs/fleet.md names no {address}"
        text = text.replace(address, server)
    text = re.sub(r"(listen |bind :)80\b", rf"\g<1>{port}", text)
    if name == "nginx":
        text = f"pid {folder}/pid;\nerror_log {folder}/log;\nevents {{}}\nhttp {{\naccess_log off;\n{text}}}\n"
    return text


def bodies(n):
    rng = random.Random(1)
    for seed in range(n):
        prompt = " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 40)))
        yield {"prompt": prompt, "max_tokens": rng.randint(20, 400), "temperature": 1, "seed": seed, "stream": True}


def ask(place, body, source="127.0.0.1"):
    """The text, if it came to its end, the time to its first part, or what went wrong."""
    connection = http.client.HTTPConnection(place, timeout=60, source_address=(source, 0))
    start, text, first = time.monotonic(), "", None
    try:
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            return None, None, f"{response.status}: {response.read()[:200]}"
        for line in response:
            if line.startswith(b"data: {"):
                first = first or time.monotonic() - start
                text += json.loads(line[6:])["choices"][0]["text"]
            elif line.startswith(b"data: [DONE]"):
                return text, first, None
        return None, None, "it ended early"
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        return None, None, repr(error)
    finally:
        connection.close()


def answered(log):
    """How many texts a server has logged as answered."""
    rows = [json.loads(line) for line in Path(log).read_text().splitlines()]
    return sum(row["path"] == "/v1/completions" and row["status"] == 200 for row in rows)


def is_ready(place):
    try:
        return serving.ask(place, "/readyz", None, method="GET")[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def behind(name, options, words, asked, expected):
    """Asks through one proxy; how many answers failed."""
    firsts, wrong, is_over = [], Counter(), threading.Event()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        ports, logs = [serving.free_port(), serving.free_port()], [f"{folder}/one", f"{folder}/two"]

        def start(i):
            return stack.enter_context(serving.Server(options.whit, [*words, "--log", logs[i]], port=ports[i]))

        servers, port = [start(0), start(1)], serving.free_port()
        file = Path(folder, "configuration")
        file.write_text(configuration(name, port, [server.place for server in servers], folder))
        proxy, place = subprocess.Popen([*COMMANDS[name], file], stderr=subprocess.DEVNULL), f"127.0.0.1:{port}"
        stack.callback(proxy.wait)
        stack.callback(proxy.terminate)
        if not serving.wait_until(lambda: proxy.poll() is not None or is_ready(place)) or proxy.poll() is not None:
            raise SystemExit(f"{name} does not start, or finds no server")

        def client(number):
            rng = random.Random(number)
            while not is_over.is_set():
                i = rng.randrange(len(asked))
                text, first, error = ask(place, asked[i], f"127.0.0.{2 + number}")
                firsts.append(first)
                if text != expected[i]:
                    wrong[error or "another text"] += 1

        clients = [threading.Thread(target=client, args=(i,)) for i in range(options.clients)]
        [thread.start() for thread in clients]
        codes, end = [], time.monotonic() + options.seconds
        while time.monotonic() + APART + DOWN < end:
            time.sleep(APART)
            i = len(codes) % 2
            codes.append(servers[i].end())
            time.sleep(DOWN)
            servers[i] = start(i)
        time.sleep(max(0, end - time.monotonic()))
        is_over.set()
        [thread.join() for thread in clients]
        codes += [server.end() for server in servers]
        shares = [answered(log) for log in logs]
    times = [1e3 * first for first in firsts if first is not None]
    print(f"{name}: {len(firsts)} texts asked for by {options.clients} clients, {sum(wrong.values())} failed; the servers answered "
          f"{shares[0]} and {shares[1]}, {len(codes) - 2} times one was ended and started again; first part: median "
          f"{serving.part(times, .5):.0f} ms, 99 % {serving.part(times, .99):.0f} ms, longest {max(times):.0f} ms", flush=True)
    for error, n in wrong.items():
        print(f"  {n} times: {error}")
    return sum(wrong.values()) + sum(code != 0 for code in codes)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("whit")
    parser.add_argument("-m", "--model", help="the story model where none is named")
    parser.add_argument("-t", "--threads", default="1", help="of each server")
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--only", choices=COMMANDS)
    options = parser.parse_args()
    words = ["-t", options.threads, "--no-cache", *(["-m", options.model] if options.model else [])]
    asked = list(bodies(100))
    with serving.Server(options.whit, words) as server:
        expected = [ask(server.place, body)[0] for body in asked]
    return sum(behind(name, options, words, asked, expected) for name in ([options.only] if options.only else COMMANDS)) > 0


if __name__ == "__main__":
    sys.exit(main())
