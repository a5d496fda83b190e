#!/usr/bin/env python3
"""Kills `whit serve` and starts it again: `python tools/serve/restart.py target/release/whit -m model.whit`.

Measures how soon a conversation of --tokens tokens goes on after `kill -9`: from the start of the program to its port, and from the request
to the first token. With --kills N, kills a server N times at random moments while --clients ask it, all with one cache on disk. Each
answer, and each part of one that came before a kill, has to be what a server without a cache answers. In the end no unfinished file may be
left a minute after. Needs nothing but Python's own library.
"""
import argparse
import http.client
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time

WORDS = "once upon a time there was little girl who liked to play in the park with her big dog and they found red ball".split()


class Server:
    """A server of its own; `to_port` is the time until its port was open."""

    def __init__(self, words):
        start = time.monotonic()
        self.process = subprocess.Popen([*words, "--port", "0"], stderr=subprocess.PIPE, text=True)
        self.said = []
        for line in self.process.stderr:
            if "serving at http://" in line:
                self.place = line.split("http://")[1].strip()
                break
            self.said.append(line)
        else:
            sys.exit("".join(self.said))
        self.to_port = time.monotonic() - start
        self.listener = threading.Thread(target=lambda: self.said.extend(self.process.stderr))
        self.n_before = len(self.said)
        self.listener.start()

    def end(self, kill=False):
        """Ends it; what it said since its port was open."""
        self.process.kill() if kill else self.process.terminate()
        self.process.wait()
        self.listener.join()
        return self.said[self.n_before:]

    def post(self, path, body):
        connection = http.client.HTTPConnection(self.place, timeout=600)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        if response.status != 200:
            sys.exit(f"{response.status}: {answer.decode()}")
        return json.loads(answer)

    def ask(self, body):
        """The text as far as it came, whether it came to its end, the time to its first part, and the tokens of its prompt that
        were held."""
        text, first, held, whole, start = "", None, 0, False, time.monotonic()
        try:
            connection = http.client.HTTPConnection(self.place, timeout=600)
            connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status != 200:
                return "", False, None, 0
            for line in response:
                if line.startswith(b"data: [DONE]"):
                    whole = True
                elif line.startswith(b"data: {") and line.endswith(b"\n"):
                    event = json.loads(line[6:])
                    for choice in event["choices"]:
                        if choice["text"] and first is None:
                            first = time.monotonic() - start
                        text += choice["text"]
                    held = ((event.get("usage") or {}).get("prompt_tokens_details") or {}).get("cached_tokens", held)
            connection.close()
        except (OSError, http.client.HTTPException):
            pass
        return text, whole, first, held

    def settled(self):
        """Waits until nothing more is written to the cache."""
        before = None
        while (now := self.written()) != before:
            before = now
            time.sleep(0.5)

    def written(self):
        connection = http.client.HTTPConnection(self.place, timeout=600)
        connection.request("GET", "/metrics")
        metrics = connection.getresponse().read().decode()
        connection.close()
        return next(line for line in metrics.splitlines() if line.startswith("whit_cache_written_bytes_total"))


def request(prompt, n_tokens, seed=1, temperature=0.0):
    return {"prompt": prompt, "max_tokens": n_tokens, "seed": seed, "temperature": temperature, "stream": True,
            "stream_options": {"include_usage": True}}


def shown(values):
    values = sorted(value * 1e3 for value in values)
    return f"median {values[len(values) // 2]:.0f} ms, longest {values[-1]:.0f} ms"


def restart(options, serve, cache):
    kept = [*serve, "--cache", cache]
    rng = random.Random(options.seed)
    to_port, to_first = [], []
    plain = Server([*serve, "--no-cache"])
    for _ in range(options.rounds):
        server = Server(kept)
        prompt = f"Once {rng.random()}"
        while (n := len(server.post("/tokenize", {"content": prompt})["tokens"])) < options.tokens - 20:
            prompt += " " + " ".join(rng.choice(WORDS) for _ in range(max(1, (options.tokens - 20 - n) // 2)))
        text, whole, cold, _ = server.ask(request(prompt, 16))
        assert whole, "no answer"
        server.settled()
        server.end(kill=True)
        server = Server(kept)
        to_port.append(server.to_port)
        more = request(f"{prompt}{text} And then", 16)
        text, whole, first, held = server.ask(more)
        to_first.append(first)
        server.end(kill=True)
        if not whole or text != plain.ask(more)[0]:
            sys.exit(f"another text after the restart: {text!r}")
        print(f"{n} tokens: first token after {cold * 1e3:.0f} ms; killed; port after {to_port[-1] * 1e3:.0f} ms, "
              f"first token after {first * 1e3:.0f} ms, {held} tokens held")
    plain.end()
    print(f"start to port: {shown(to_port)}; request to first token: {shown(to_first)}")


def kills(options, serve, cache):
    kept = [*serve, "--cache", cache, "--cache-size", options.cache_size]
    rng = random.Random(options.seed)
    prompts = []
    for _ in range(options.prompts):
        shared = rng.choice(prompts).split()[: rng.randrange(options.words)] if prompts else []
        prompts.append(" ".join([*shared, *(rng.choice(WORDS) for _ in range(options.words - len(shared)))]))
    bodies = [request(prompt, rng.randint(1, 60), rng.randrange(2**32), rng.choice([0, 0.7, 1.2])) for prompt in prompts]
    plain = Server([*serve, "--no-cache"])
    expected = [plain.ask(body)[0] for body in bodies]
    plain.end()
    n_whole = n_parts = n_partial = n_held = 0
    for n in range(1, options.kills + 1):
        server, wrong = Server(kept), []
        is_over = threading.Event()
        asked = []

        def client(seed):
            rng = random.Random(seed)
            while not is_over.is_set():
                i = rng.randrange(len(bodies))
                asked.append((i, *server.ask(bodies[i])))

        clients = [threading.Thread(target=client, args=(rng.random(),)) for _ in range(options.clients)]
        [thread.start() for thread in clients]
        time.sleep(rng.uniform(0, options.longest))
        is_over.set()
        said = server.end(kill=True)
        [thread.join() for thread in clients]
        for i, text, whole, _, held in asked:
            wrong += [] if (text == expected[i] if whole else expected[i].startswith(text)) else [(i, text)]
            n_whole += whole
            n_parts += not whole and bool(text)
            n_held += held
        n_partial += len(list(pathlib.Path(cache).glob(".*.partial")))
        if wrong or said:
            sys.exit(f"after {n} kills: {wrong}, {said}")
        if n % 50 == 0:
            print(f"{n} kills", flush=True)
    # As if a minute had passed.
    for file in pathlib.Path(cache).glob(".*.partial"):
        os.utime(file, (time.time() - 120, time.time() - 120))
    server = Server(kept)
    for body, text in zip(bodies, expected):
        if server.ask(body)[0] != text:
            sys.exit(f"another text in the end: {body}")
    said = server.end()
    left = [file.name for file in pathlib.Path(cache).iterdir() if not file.name.endswith((".kv", ".verified"))]
    print(f"{options.kills} kills: {n_whole} answers and the parts of {n_parts} that came before a kill, {n_held} tokens of prompts held: 0 wrong, "
          f"0 complaints; {n_partial} times an unfinished file was seen, {len(left)} left")
    if said or left:
        sys.exit(f"{said}, {left}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("whit")
    parser.add_argument("-m", "--model")
    parser.add_argument("-t", "--threads", default="2")
    parser.add_argument("--tokens", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--words", type=int, default=150, help="of each prompt")
    parser.add_argument("--longest", type=float, default=1.0, help="seconds until a kill, at most")
    parser.add_argument("--cache-size", default="100M")
    options = parser.parse_args()
    serve = [options.whit, "serve", "-t", options.threads, *(["-m", options.model] if options.model else [])]
    with tempfile.TemporaryDirectory() as folder:
        cache = os.path.join(folder, "cache")
        (kills if options.kills else restart)(options, serve, cache)


main()
