#!/usr/bin/env python3
"""Loads a running server: `python tools/serve/load.py http://127.0.0.1:8080 --clients 8 --seconds 20`.

Each client asks for one text after the other, streamed, with a prompt and a seed of its own. Prints tokens a second of all clients together,
the time to the first token, and the longest time between two tokens of a text; with --long, the same while prompts of so many words arrive.
With --check, asks for every text again alone and counts those that differ. Needs nothing but Python's own library.
"""
import argparse
import http.client
import json
import random
import threading
import time
import urllib.parse
from dataclasses import dataclass, field

WORDS = "once upon a time there was little girl who liked to play in the park with her big dog and they found red ball".split()


def prompt(rng, n):
    return "Once " + " ".join(rng.choice(WORDS) for _ in range(n))


@dataclass
class Answer:
    """What came, when its parts came, and how many tokens it has where `stream_options` ask for that; else what was said instead."""

    status: int
    text: str = ""
    moments: list = field(default_factory=list)
    n_tokens: int = 0


def ask(place, body, key=None):
    connection = http.client.HTTPConnection(place, timeout=600)
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    start = time.monotonic()
    connection.request("POST", "/v1/completions", json.dumps(body), headers)
    response = connection.getresponse()
    answer = Answer(response.status)
    if response.status != 200:
        answer.text = response.read().decode()
    for line in response:
        if line.startswith(b"data: {"):
            event = json.loads(line[6:])
            answer.n_tokens = (event.get("usage") or {}).get("completion_tokens", answer.n_tokens)
            if event["choices"] and event["choices"][0]["text"]:
                answer.moments.append(time.monotonic() - start)
                answer.text += event["choices"][0]["text"]
    connection.close()
    return answer


def part(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--words", type=int, default=30, help="words of a prompt, at most")
    parser.add_argument("--tokens", type=int, default=60, help="tokens of an answer, at most")
    parser.add_argument("--long", type=int, default=0, help="words of long prompts that arrive meanwhile")
    parser.add_argument("--leave", type=float, default=0, help="share of clients that leave early")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--key")
    args = parser.parse_args()
    place = urllib.parse.urlparse(args.url).netloc
    end = time.monotonic() + args.seconds
    done, busy, lock = [], 0, threading.Lock()

    def client(number):
        nonlocal busy
        rng = random.Random(number)
        while time.monotonic() < end:
            body = {"prompt": prompt(rng, rng.randint(1, args.words)), "max_tokens": rng.randint(1, args.tokens),
                    "temperature": rng.choice([0, 0.7, 1.2]), "seed": rng.randint(0, 2**32), "stream": True}
            if rng.random() < args.leave:
                connection = http.client.HTTPConnection(place, timeout=600)
                connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
                connection.sock.settimeout(rng.random() / 10)
                try:
                    connection.sock.recv(1)
                except OSError:
                    pass
                connection.close()
                continue
            answer = ask(place, body, args.key)
            with lock:
                if answer.status == 503:
                    busy += 1
                elif answer.status != 200:
                    raise SystemExit(f"{answer.status}: {answer.text}")
                else:
                    done.append((body, answer.text, answer.moments))
            if answer.status == 503:
                time.sleep(0.2)

    def long():
        rng = random.Random(-1)
        while time.monotonic() < end:
            ask(place, {"prompt": prompt(rng, args.long), "max_tokens": 1, "stream": True}, args.key)

    threads = [threading.Thread(target=client, args=(i,)) for i in range(args.clients)]
    threads += [threading.Thread(target=long)] if args.long else []
    start = time.monotonic()
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    seconds = time.monotonic() - start
    n_parts = sum(len(moments) for _, _, moments in done)
    first = [moments[0] for _, _, moments in done if moments]
    gaps = [b - a for _, _, moments in done for a, b in zip(moments, moments[1:])]
    print(f"{len(done)} texts, {n_parts} parts of text, {busy} times busy, in {seconds:.1f} s: {n_parts / seconds:.1f} a second")
    print(f"first part: median {part(first, .5) * 1e3:.0f} ms, 99 % {part(first, .99) * 1e3:.0f} ms")
    print(f"between two: median {part(gaps, .5) * 1e3:.1f} ms, 99 % {part(gaps, .99) * 1e3:.0f} ms, longest {part(gaps, 1) * 1e3:.0f} ms")
    if args.check:
        wrong = sum(ask(place, body, args.key).text != text for body, text, _ in done)
        print(f"asked again alone: {wrong} of {len(done)} differ")
        raise SystemExit(wrong > 0)


if __name__ == "__main__":
    main()
