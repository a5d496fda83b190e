#!/usr/bin/env python3
"""Kills `whit batch` at random moments, lets it go on, and holds its file against runs that were not killed and against single texts.

    tools/reliability/batch-kill.py WHIT MODEL [--requests 200] [--kills 20] [--singles 40] [--seed 1] [--chat]

Requests are completions and, with --chat, conversations, of all lengths, some with several answers, some that are refused. Every run has other
numbers of texts at a time and of threads. After the last run the file must be that of one run of one text at a time, to the last byte;
its shards together must have the same rows; and every one of some answers that are drawn must be what `whit generate` or `whit chat`
writes. Says how many texts a second were written one after the other and together.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

WORDS = "Once upon a time the small cat and her dog Lily saw one red bird by that old tree so they ran to it".split()


def requests(rng, n, chat):
    made = []
    for i in range(n):
        text = " ".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 30)))
        body = {"model": "any", "max_tokens": rng.randrange(0, 40), "seed": rng.randrange(1 << 32)}
        if rng.random() < 0.8:
            body["temperature"] = rng.choice([0, 0.5, 0.8, 1.3])
        if rng.random() < 0.3:
            body |= {"frequency_penalty": 0.5, "top_p": 0.9}
        if rng.random() < 0.2:
            body["stop"] = [".", " the"]
        if rng.random() < 0.1:
            body["n"] = rng.randrange(2, 4)
        if rng.random() < 0.05:
            body["tools"] = [{"type": "function"}]
        if chat and rng.random() < 0.5:
            url, body["messages"] = "/v1/chat/completions", [{"role": "user", "content": text}]
        else:
            url, body["prompt"] = "/v1/completions", text
        made.append({"custom_id": f"request-{i}", "method": "POST", "url": url, "body": body})
    return made


def single(options, request, answer):
    """The text that one run of one text writes."""
    body = request["body"]
    words = ["-q", "-m", options.model, "-n", str(body["max_tokens"]), "-s", str(body["seed"] + answer)]
    for field, flag in [("temperature", "--temp"), ("frequency_penalty", "--frequency-penalty"), ("top_p", "--top-p")]:
        words += [flag, str(body[field])] if field in body else []
    for stop in body.get("stop", []):
        words += ["--stop", stop]
    if "prompt" in body:
        command = [options.whit, "generate", "--json", "--no-echo", *words, "-p", body["prompt"]]
        lines = subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()
        return "".join(json.loads(line).get("text", "") for line in lines)
    command = [options.whit, "chat", *words, "-p", body["messages"][0]["content"]]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.removesuffix("\n")


def check_singles(options, rng, made, rows):
    answered = [request for request in made if rows[request["custom_id"]]["response"]["status_code"] == 200]
    n_checked = 0
    for request in rng.sample(answered, min(options.singles, len(answered))):
        body = rows[request["custom_id"]]["response"]["body"]
        for choice in body["choices"]:
            got = choice["text"] if "text" in choice else choice["message"]["content"]
            want = single(options, request, choice["index"])
            if got != want:
                sys.exit(f"{request['custom_id']} answer {choice['index']}: {got!r}, alone {want!r}")
            n_checked += 1
    return n_checked


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("whit")
    parser.add_argument("model")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--singles", type=int, default=40, help="answers that are held against single texts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chat", action="store_true", help="the model has a chat template")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    made = requests(rng, options.requests, options.chat)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        asked = folder / "in.jsonl"
        asked.write_text("".join(json.dumps(request) + "\n" for request in made))

        def command(out, *more):
            return [options.whit, "batch", "-q", "-m", options.model, str(asked), "-o", str(folder / out), *more]

        def timed(out, *more):
            begin = time.monotonic()
            subprocess.run(command(out, *more), check=True)
            return time.monotonic() - begin, (folder / out).read_bytes()

        slow, expected = timed("one", "--parallel", "1")
        fast, together = timed("many", "--parallel", "16")
        if together != expected:
            sys.exit("16 texts at a time give another file than one at a time")
        rows = [json.loads(line) for line in expected.decode().splitlines()]
        if [row["custom_id"] for row in rows] != [request["custom_id"] for request in made]:
            sys.exit("not every request has its row")
        n_killed = n_torn = 0
        while True:
            more = ["--parallel", str(rng.choice([1, 3, 8, 16])), "-t", str(rng.choice([1, 2]))]
            process = subprocess.Popen(command("killed", *more), stderr=subprocess.PIPE)
            patience = None if n_killed >= options.kills else rng.uniform(0, 1.5 * slow / options.kills)
            try:
                _, told = process.communicate(timeout=patience)
            except subprocess.TimeoutExpired:
                process.kill()
                n_killed += 1
                _, told = process.communicate()
            if process.returncode == 0:
                break
            if process.returncode != -9:
                sys.exit(f"after {n_killed} kills: exit code {process.returncode}, {told!r}")
            there = (folder / "killed").read_bytes() if (folder / "killed").exists() else b""
            n_torn += not there.endswith(b"\n") and there != b""
            if rng.random() < 0.3 and there:
                # As a power cut may leave it: the last row in part.
                (folder / "killed").write_bytes(there[: -rng.randrange(1, 60)])
        if (folder / "killed").read_bytes() != expected:
            sys.exit(f"after {n_killed} kills the file is another one")
        shards = [timed(f"shard{i}", "--shard", f"{i}/3")[1].splitlines() for i in (1, 2, 3)]
        if sorted(line for lines in shards for line in lines) != sorted(expected.splitlines()):
            sys.exit("the shards together have other rows")
        n_checked = check_singles(options, rng, made, {row["custom_id"]: row for row in rows})
    n = len(made)
    print(f"{n} requests, {n_killed} kills, {n_torn} times a part of a row was seen: the same file, and the same rows in 3 shards")
    print(f"{n_checked} answers are those of single runs; {n / slow:.1f} requests/s one after the other, {n / fast:.1f}/s together: {slow / fast:.2f}")


if __name__ == "__main__":
    main()
