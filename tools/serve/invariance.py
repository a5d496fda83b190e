#!/usr/bin/env python3
"""Asks a loaded server at random, and every request again alone: `python tools/serve/invariance.py target/release/whit -m MODEL --requests 1000`.

Requests differ in length, sampler, seed, stops, schema, functions, API, and whether they are streamed; they come at random times from several
clients, of which some leave early. Each answer is then compared with that of `whit generate` (texts) or `whit batch` with one row
(conversations), which compute it alone: what was said, and what is called, to the last byte; of a client that left, as much as came. Prints how many
differ, and ends with 1 where one does. Needs nothing but Python's own library.
"""
import argparse
import concurrent.futures
import json
import os
import random
import socket
import subprocess
import tempfile
import threading
import time

import serving

WORDS = "once upon a time there was little girl who liked to play in the park with her big dog and they found red ball".split()
SCHEMAS = [
    {"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
     "required": ["name", "age"], "additionalProperties": False},
    {"type": "array", "items": {"enum": ["red", "blue", "green"]}, "minItems": 1, "maxItems": 4},
    {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"], "additionalProperties": False},
]
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "The weather in a city.", "parameters": {
    "type": "object", "properties": {"city": {"enum": ["Rome", "Oslo"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city"]}}}]
# The name of an option in a body, and on the command line.
OPTIONS = {"temperature": "--temp", "top_k": "--top-k", "top_p": "--top-p", "min_p": "--min-p", "repeat_penalty": "--repeat-penalty",
           "presence_penalty": "--presence-penalty", "frequency_penalty": "--frequency-penalty"}


def wanted(rng, can_talk):
    """What somebody wants, in nobody's words."""
    sampler = {"temperature": rng.choice([0, 0, 0.5, 0.8, 1, 1.4])}
    for name, values in [("top_k", [0, 3, 40]), ("top_p", [0.5, 0.9, 1]), ("min_p", [0, 0.05, 0.2]), ("repeat_penalty", [1, 1.1, 1.3]),
                         ("presence_penalty", [0, 0.5]), ("frequency_penalty", [0, 0.3])]:
        if rng.random() < 0.3:
            sampler[name] = rng.choice(values)
    long = rng.random() < 0.15
    text = "Once " + " ".join(rng.choice(WORDS) for _ in range(rng.randint(40, 120) if long else rng.randint(1, 20)))
    want = {"text": text, "sampler": sampler, "seed": rng.choice([0, 1, rng.randint(0, 2**32), 2**64 - 1]), "n_tokens": rng.randint(1, 60),
            "is_streamed": rng.random() < 0.5, "n": 1, "stop": [], "schema": None, "tools": None, "leaves": rng.random() < 0.1}
    if rng.random() < 0.2:
        want["stop"] = [rng.choice([" the", ".", "dog", "\n"])]
    if rng.random() < 0.12:
        want["schema"] = rng.choice(SCHEMAS)
    if can_talk and rng.random() < 0.5:
        turns = [{"role": "user", "content": text}]
        if rng.random() < 0.4:
            turns = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hi, how are you?"}] + turns
        want["system"] = "Be brief." if rng.random() < 0.4 else None
        want["turns"] = turns
        if want["schema"] is None and rng.random() < 0.2:
            want["tools"], want["choice"] = TOOLS, rng.choice(["auto", "required"])
        want["api"] = rng.choice(["chat", "chat", "chat", "ollama", "anthropic", "responses"])
        if want["api"] == "chat" and rng.random() < 0.1:
            want["n"] = rng.randint(2, 3)
        if want["api"] != "chat" and (want["schema"] or want["tools"]) or want["api"] == "responses" and want["stop"]:
            want["api"] = "chat"
    else:
        want["turns"] = None
        want["api"] = rng.choice(["completions", "completions", "llama", "ollama"])
    return want


def openai(want):
    """As OpenAI's body."""
    body = {**want["sampler"], "seed": want["seed"], "max_tokens": want["n_tokens"]}
    if want["stop"]:
        body["stop"] = want["stop"]
    if want["schema"]:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "s", "schema": want["schema"]}}
    if want["turns"] is None:
        return {**body, "prompt": want["text"]}
    if want["tools"]:
        body.update(tools=want["tools"], tool_choice=want["choice"])
    if want["n"] > 1:
        body["n"] = want["n"]
    system = [{"role": "system", "content": want["system"]}] if want["system"] else []
    return {**body, "messages": system + want["turns"]}


def asked(want):
    """The path and the body of a request, in the words of its API."""
    body, is_streamed = openai(want), want["is_streamed"]
    options = {**want["sampler"], "seed": want["seed"], "stop": want["stop"], "num_predict": want["n_tokens"]}
    match want["api"], want["turns"]:
        case "completions", _:
            return "/v1/completions", {**body, "stream": is_streamed}
        case "chat", _:
            return "/v1/chat/completions", {**body, "stream": is_streamed}
        case "llama", _:
            schema = {"json_schema": want["schema"]} if want["schema"] else {}
            fields = {**want["sampler"], **schema, "seed": want["seed"], "stop": want["stop"], "n_predict": want["n_tokens"]}
            return "/completion", {**fields, "prompt": want["text"], "stream": is_streamed}
        case "ollama", None:
            schema = {"format": want["schema"]} if want["schema"] else {}
            return "/api/generate", {**schema, "prompt": want["text"], "raw": True, "options": options, "stream": is_streamed}
        case "ollama", _:
            return "/api/chat", {"messages": body["messages"], "options": options, "stream": is_streamed}
        case "anthropic", turns:
            system = {"system": want["system"]} if want["system"] else {}
            fields = {**want["sampler"], **system, "seed": want["seed"], "stop_sequences": want["stop"], "max_tokens": want["n_tokens"]}
            return "/v1/messages", {**fields, "messages": turns, "stream": is_streamed}
        case "responses", turns:
            system = {"instructions": want["system"]} if want["system"] else {}
            fields = {**want["sampler"], **system, "seed": want["seed"], "max_output_tokens": want["n_tokens"]}
            return "/v1/responses", {**fields, "input": turns, "stream": is_streamed}
    raise ValueError(want["api"])


def events(text):
    """The values of a stream; a last line that came in part is left out."""
    for line in text.split("\n")[:-1]:
        data = line.removeprefix("data: ").strip()
        if data.startswith("{"):
            yield json.loads(data)


def said(want, text):
    """What an answer says: of each of its texts what it says and what it calls."""
    api, texts = want["api"], [["", []] for _ in range(want["n"])]
    for value in events(text) if want["is_streamed"] else [json.loads(text)]:
        if "error" in value and value["error"]:
            raise ValueError(value["error"])
        if api in ("completions", "chat"):
            for choice in value["choices"]:
                message = choice.get("delta") or choice.get("message") or {}
                texts[choice["index"]][0] += choice.get("text") or message.get("content") or ""
                for call in message.get("tool_calls") or []:
                    texts[choice["index"]][1].append((call["function"]["name"], call["function"]["arguments"]))
        elif api == "llama":
            texts[0][0] += value.get("content", "")
        elif api == "ollama":
            texts[0][0] += value["response"] if want["turns"] is None else value["message"]["content"]
        elif api == "anthropic":
            parts = [value.get("delta") or {}] if want["is_streamed"] else value["content"]
            texts[0][0] += "".join(part.get("text") or "" for part in parts)
        elif want["is_streamed"]:
            texts[0][0] += value.get("delta") or "" if value["type"] == "response.output_text.delta" else ""
        else:
            texts[0][0] += "".join(part["text"] for item in value["output"] for part in item["content"])
    return texts


def left(place, want, rng):
    """What came until a client left."""
    path, body = asked(want)
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {place}\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    came, end = b"", time.monotonic() + rng.random() / 5
    host, port = place.split(":")
    with socket.create_connection((host, int(port))) as stream:
        stream.sendall(head + data)
        stream.settimeout(0.02)
        while time.monotonic() < end:
            try:
                piece = stream.recv(4096)
            except TimeoutError:
                continue
            if not piece:
                break
            came += piece
    status, _, rest = came.partition(b"\r\n\r\n")
    if not want["is_streamed"] or b" 200 " not in status[:20]:
        return None
    # Parts end between characters; what came of the last may be half.
    text = ""
    while b"\r\n" in rest:
        length, _, rest = rest.partition(b"\r\n")
        n = int(length or b"0", 16)
        if n == 0 or len(rest) < n:
            break
        text, rest = text + rest[:n].decode(), rest[n + 2:]
    return text


def printed(want, texts):
    """An answer as `whit generate` prints it: a line ends behind it, if it does not end with a line."""
    return texts if want["turns"] is not None else [[text if text.endswith("\n") else text + "\n", calls] for text, calls in texts]


def alone(args, want, folder, number):
    """The same, computed by a program of its own."""
    own = [args.whit, "generate" if want["turns"] is None else "batch", *(["-m", args.model] if args.model else []), "-t", "1", *args.context]
    if want["turns"] is None:
        options = [word for name, value in want["sampler"].items() for word in (OPTIONS[name], str(value))]
        stops = [word for stop in want["stop"] for word in ("--stop", stop)]
        schema = []
        if want["schema"]:
            schema = ["--schema", os.path.join(folder, f"{number}.schema")]
            with open(schema[1], "w") as file:
                json.dump(want["schema"], file)
        words = ["-q", "-p", want["text"], "-s", str(want["seed"]), "-n", str(want["n_tokens"]), *options, *stops, *schema]
        done = subprocess.run(own + words, capture_output=True)
        # What a schema wants may be longer than was asked for: the text is printed all the same.
        if done.returncode and not (schema and b"before it was whole" in done.stderr):
            raise SystemExit(f"{own + words}: {done.stderr.decode()}")
        text = done.stdout.decode()
        assert text.startswith(want["text"]), text
        return [[text[len(want["text"]):], []]]
    requests, answers = (os.path.join(folder, f"{number}.{kind}") for kind in ("requests", "answers"))
    with open(requests, "w") as file:
        file.write(json.dumps({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": openai(want)}) + "\n")
    template = ["--chat-template", args.template] if args.template else []
    done = subprocess.run(own + [requests, "-o", answers, "--parallel", "1", *template], capture_output=True)
    if done.returncode:
        raise SystemExit(f"{own}: {done.stderr.decode()}")
    with open(answers) as file:
        row = json.loads(file.read())
    return said({**want, "api": "chat", "is_streamed": False}, json.dumps(row["response"]["body"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("whit")
    parser.add_argument("-m", "--model", help="the story model where none is named")
    parser.add_argument("--template", help="a chat template in the place of the model's own")
    parser.add_argument("--own-template", action="store_true", help="the model talks by its own")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ctx", type=int)
    parser.add_argument("--parallel", type=int, default=5)
    parser.add_argument("--slice", type=int, default=7)
    args = parser.parse_args()
    if not args.own_template and not args.template:
        args.template = serving.template_file()
    args.context = ["--ctx", str(args.ctx)] if args.ctx else []
    rng = random.Random(args.seed)
    wants = [wanted(rng, True) for _ in range(args.requests)]
    words = [*(["-m", args.model] if args.model else []), *(["--chat-template", args.template] if args.template else []), *args.context,
             "--parallel", str(args.parallel), "--queue", "64", "--slice", str(args.slice), "-t", "2"]
    answers, busy, lock = {}, 0, threading.Lock()
    with serving.Server(args.whit, words) as server:
        begun = time.monotonic()

        def client(number):
            nonlocal busy
            own = random.Random(args.seed * 1000 + number)
            for i in range(number, len(wants), args.clients):
                want = wants[i]
                if own.random() < 0.3:
                    time.sleep(own.random() / 5)
                if want["leaves"]:
                    text = left(server.place, want, own)
                    answers[i] = None if text is None else said(want, text)
                    continue
                path, body = asked(want)
                status, text = serving.ask(server.place, path, body)
                while status == 503:
                    with lock:
                        busy += 1
                    time.sleep(0.1)
                    status, text = serving.ask(server.place, path, body)
                answers[i] = said(want, text) if status == 200 else (status, text)

        threads = [threading.Thread(target=client, args=(i,)) for i in range(args.clients)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        seconds = time.monotonic() - begun
        assert server.is_running() and len(answers) == len(wants), (server.said, len(answers))
    n_left = sum(want["leaves"] for want in wants)
    print(f"{len(wants)} requests in {seconds:.0f} s, {n_left} of clients that left, {busy} times busy", flush=True)
    n_wrong = n_refused = n_compared = 0
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        for i, expected in enumerate(pool.map(lambda i: alone(args, wants[i], folder, i), range(len(wants)))):
            want, answer = wants[i], answers[i]
            if isinstance(answer, tuple):
                n_refused += 1
                print(f"{i}: refused: {answer}: {asked(want)}")
            elif answer is not None:
                n_compared += 1
                is_equal = printed(want, answer) == expected
                if want["leaves"] and not is_equal:
                    is_equal = all(whole[0].startswith(text) and whole[1][:len(calls)] == calls for (text, calls), whole in zip(answer, expected))
                if not is_equal:
                    n_wrong += 1
                    print(f"{i}: differs: {asked(want)}\n  {answer}\n  {expected}")
    print(f"{n_compared} answers compared with those of programs that compute them alone: {n_wrong} differ, {n_refused} refused")
    raise SystemExit(n_wrong + n_refused > 0)


main()
