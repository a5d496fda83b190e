#!/usr/bin/env python3
"""A server under load for a long time: `python tools/serve/soak.py target/release/whit -m MODEL --minutes 60 --clients 4`.

Clients ask one request after the other: texts, conversations, schemas, vectors, and some that leave. Prints memory and the quartiles of latency (of
one fixed request, asked beside) for each twentieth of the time, then a verdict: the first quarter is left out, and a line through the rest must not rise
by more than --rise percent over it, in memory as in latency. Ends with 1 where one does. Needs nothing but Python's own library.
"""
import argparse
import random
import socket
import threading
import time

import serving
from serving import ask, part

PARTS = 20
WORDS = "once upon a time there was little girl who liked to play in the park with her big dog".split()
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}}, "required": ["a"]}
FIXED = {"prompt": "Once upon a time there was a", "max_tokens": 16, "temperature": 0}


def request(rng):
    text = " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 60)))
    common = {"seed": rng.randint(0, 2**32), "temperature": rng.choice([0, 0.7, 1.2]), "max_tokens": rng.randint(1, 40)}
    match rng.randrange(6):
        case 0:
            return "/v1/chat/completions", {**common, "messages": [{"role": "user", "content": text}]}
        case 1:
            # A schema of its own each time: what is compiled must not pile up.
            schema = {**SCHEMA, "title": str(rng.random())}
            return "/v1/completions", {**common, "prompt": text, "response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}
        case 2:
            return "/v1/embeddings", {"input": [text, "a"]}
        case 3:
            return "/v1/completions", {**common, "prompt": text, "stream": True, "logprobs": 3}
        case _:
            return "/v1/completions", {**common, "prompt": text}


def slope(points):
    """The rise of a line through `points` over their length, as a share of their mean."""
    n = len(points)
    mean_x, mean_y = (n - 1) / 2, sum(points) / n
    rise = sum((x - mean_x) * (y - mean_y) for x, y in enumerate(points)) / sum((x - mean_x) ** 2 for x in range(n))
    return rise * (n - 1) / mean_y


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("whit")
    parser.add_argument("-m", "--model", help="the story model where none is named")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--pause", type=float, default=0, help="seconds that a client waits between two requests, on average")
    parser.add_argument("--rise", type=float, default=10, help="percent that memory and latency may rise")
    args = parser.parse_args()
    words = ["--chat-template", serving.template_file(), *(["-m", args.model] if args.model else [])]
    seen, wrong, times, lock = {}, [], [], threading.Lock()
    with serving.Server(args.whit, words) as server:
        end = time.monotonic() + 60 * args.minutes

        def client(number):
            rng = random.Random(number)
            while time.monotonic() < end:
                time.sleep(2 * args.pause * rng.random())
                path, body = request(rng)
                if rng.random() < 0.05:
                    with socket.create_connection(("127.0.0.1", server.port)) as stream:
                        stream.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\n{\"prompt\"")
                    continue
                try:
                    status, text = ask(server.place, path, body)
                except OSError as error:
                    status, text = 0, repr(error)
                with lock:
                    seen[status] = seen.get(status, 0) + 1
                    if status not in (200, 503):
                        wrong.append((status, text))

        def watch():
            while time.monotonic() < end:
                begun = time.monotonic()
                ask(server.place, "/v1/completions", FIXED)
                with lock:
                    times.append(time.monotonic() - begun)
                time.sleep(0.2)

        threads = [threading.Thread(target=client, args=(i,)) for i in range(args.clients)] + [threading.Thread(target=watch)]
        [thread.start() for thread in threads]
        memory, latency = [], []
        print("minute  private MiB  latency ms: a quarter, half, three quarters", flush=True)
        for i in range(PARTS):
            time.sleep(60 * args.minutes / PARTS)
            with lock:
                now, times[:] = times[:], []
            memory.append(server.memory())
            quartiles = [1e3 * part(now, share) for share in (0.25, 0.5, 0.75)]
            latency.append(quartiles[1])
            print(f"{args.minutes * (i + 1) / PARTS:6.1f}  {memory[-1] / (1 << 20):11.1f}  {' '.join(f'{q:.1f}' for q in quartiles)}", flush=True)
        [thread.join() for thread in threads]
        planned, code = server.planned(), server.end()
        panics = server.panics()
    rises = [100 * slope(points[PARTS // 4:]) for points in (memory, latency)]
    print(f"requests by status: {seen}; memory rises by {rises[0]:.1f} %, latency by {rises[1]:.1f} %; at most {max(memory) >> 20} MiB of {planned >> 20}")
    is_flat = all(rise <= args.rise for rise in rises)
    print("flat" if is_flat else "NOT FLAT", *(wrong[:3] + panics))
    raise SystemExit(not is_flat or bool(wrong) or bool(panics) or code != 0)


main()
