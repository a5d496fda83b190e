#!/usr/bin/env python3
"""Runs whit with guesses ahead and without, in many settings drawn at random, and compares every byte of both texts.

    tools/guessing/equal.py WHIT [--quantize QUANTIZE] [--model MODEL[:WEIGHT] ...] [--runs 2000] [--seed 1]

Models: the story model in the program; those named; with --quantize also small ones of random weights with windows, convolutions and
states that go back to marks alone, made of the fixtures of families. Samplers, penalties, constraints, stop strings, caches, contexts,
batches of the prompt and threads are drawn; guesses come from the text, from a corpus, or from a draft. Python's standard library only.
"""

import argparse
import array
import collections
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
FAMILIES = ("qwen3_5", "falcon_h1", "granite4_h", "mamba1", "mamba2_pure", "lfm2", "gemma3")
VOCAB = 47

PROMPTS = (
    "Once upon a time",
    "Tom had a red ball. Tom had a red ball. Tom had a",
    "def add(a, b):\n    return a + b\n\ndef sub(a, b):\n    return a - b\n\nThe same code again:\n\ndef add(a, b):\n",
    "One day Lily and Ben went to the park. Lily said: One day Lily and Ben",
    "1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2,",
    "x",
)
CORPUS = "Tom had a red ball. He played with it all day. One day Lily and Ben went to the park.\n" + PROMPTS[2]
SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"name": {"enum": ["Tom", "Lily", "Ben"]}, "age": {"type": "integer", "minimum": 1, "maximum": 99}},
        "required": ["name", "age"],
        "additionalProperties": False,
    },
    "minItems": 1,
    "maxItems": 6,
}
SAMPLERS = (
    ["--temp", "0"],
    ["--temp", "0", "--repeat-penalty", "1.1"],
    ["--temp", "0.2"],
    ["--temp", "0.8"],
    ["--temp", "0.5", "--top-k", "5"],
    ["--temp", "0.7", "--frequency-penalty", "0.3", "--presence-penalty", "0.2", "--repeat-penalty", "1.2"],
    ["--temp", "0.6", "--dry-multiplier", "0.8"],
    ["--temp", "0.9", "--xtc-probability", "0.5"],
    ["--temp", "0.9", "--mirostat", "2"],
    ["--temp", "0.9", "--adaptive-target", "0.5"],
    ["--temp", "0.9", "--min-p", "0.1", "--typical-p", "0.9", "--logit-bias", "13=2"],
)


def constraints(folder):
    schema = f"{folder}/schema.json"
    with open(schema, "w") as file:
        json.dump(SCHEMA, file)
    return (
        [],
        [],
        [],
        [],
        ["--schema", schema],
        ["--json-object"],
        ["--regex", "([A-Z][a-z]{1,8} and )+[A-Z][a-z]{1,8}[.]"],
        ["--choice", "yes, of course", "--choice", "yes, but not now", "--choice", "no"],
        ["--banned-string", "the", "--banned-string", " a"],
        ["--stop", "and", "--stop", "\n\n"],
    )


def family(name, quantize, folder):
    """A model of random weights of this family, with the tokens of the fixture `llama`."""
    fixtures = os.path.join(ROOT, "tests", "fixtures")
    with open(os.path.join(fixtures, "families", f"{name}.json")) as file:
        described = json.load(file)
    source = f"{folder}/{name}"
    os.mkdir(source)
    with open(os.path.join(fixtures, "llama", "config.json")) as file:
        n_tokens = json.load(file)["vocab_size"]
    shutil.copy(os.path.join(fixtures, "llama", "tokenizer.json"), source)
    config = described["config"] | {"vocab_size": n_tokens}
    with open(f"{source}/config.json", "w") as file:
        json.dump(config, file)
    numbers = random.Random(name)
    header, parts, at = {}, [], 0
    for tensor, shape, center, exponent in described["tensors"]:
        shape = [n_tokens if n == VOCAB else n for n in shape]
        n = 1
        for size in shape:
            n *= size
        values = array.array("f", (center + (numbers.random() * 2 - 1) * 2.0**exponent for _ in range(n)))
        header[tensor] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + 4 * n]}
        parts.append(values.tobytes())
        at += 4 * n
    text = json.dumps(header).encode()
    with open(f"{source}/model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + b"".join(parts))
    path = f"{folder}/{name}.whit"
    done = subprocess.run([quantize, source, "-o", path, "--effort", "fast"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip()}")
    return path


def drawn(options, models, kinds, folder):
    """The arguments of a run and of its guesses."""
    draw = options.draw
    model = draw.choices(list(models), weights=list(models.values()))[0]
    arguments = ["generate", "--raw", "--special", "--seed", str(draw.randrange(1 << 32)), "-n", str(draw.choice((5, 40, 60, 90)))]
    arguments += ["-m", model] if model else []
    arguments += draw.choice(SAMPLERS) + draw.choice(kinds)
    arguments += ["--kv", draw.choice(("f16", "int8", "f32", "q4")), "-t", str(draw.choice((1, 1, 2)))]
    if "--banned-string" not in arguments and draw.random() < 0.15:
        arguments += ["--ctx", str(draw.choice((64, 96))), "--on-full", "shift"]
    arguments += ["--prompt", draw.choice(PROMPTS)]
    other = draw.choice([one for one in models if same_tokens(one, model)])
    how = draw.choice(("ngram", "ngram", f"ngram:{folder}/corpus.txt", f"draft:{other or folder + '/story.whit'}"))
    length = draw.choice(([], ["--guess-length", str(draw.randrange(1, 16))]))
    return arguments, ["--guess", how, *length]


def same_tokens(one, other):
    """Both are of a kind whose models have the same tokens."""
    kind = lambda path: path and re.search(r"/(" + "|".join(FAMILIES) + r")\.whit$", path) is not None
    return one == other or bool(kind(one) and kind(other))


def run(command):
    done = subprocess.run(command, capture_output=True)
    return done.returncode, done.stdout, done.stderr.decode(errors="replace")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("whit")
    parser.add_argument("--quantize")
    parser.add_argument("--story", default=os.path.join(ROOT, "models", "stories.whit"))
    parser.add_argument("--model", action="append", default=[], help="MODEL or MODEL:WEIGHT, how often beside 1 for others")
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.draw = random.Random(options.seed)
    different, started, failed = 0, time.monotonic(), collections.Counter()
    tally, by_model = collections.Counter(), collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/corpus.txt", "w") as file:
            file.write(CORPUS)
        os.symlink(os.path.abspath(options.story), f"{folder}/story.whit")
        models = {None: 3.0}
        for named in options.model:
            path, colon, weight = named.rpartition(":")
            models[path if colon else named] = float(weight) if colon else 1.0
        if options.quantize:
            models |= {family(name, options.quantize, folder): 0.7 for name in FAMILIES}
        kinds = constraints(folder)
        for i in range(options.runs):
            arguments, how = drawn(options, models, kinds, folder)
            code, text, told = run([options.whit, *arguments])
            again, guessed, said = run([options.whit, *arguments, *how])
            figures = re.search(r"guessed (\d+) tokens, (\d+) accepted", said)
            if figures:
                tally.update(guessed=int(figures[1]), accepted=int(figures[2]))
                by_model[os.path.basename(arguments[arguments.index("-m") + 1]) if "-m" in arguments else "story"] += int(figures[1])
            failed[code] += 1
            if (again, guessed) != (code, text):
                different += 1
                print(f"differs: {arguments} {how}: {code}, {again}\n{text}\n{guessed}\n{said}", flush=True)
            if (i + 1) % 100 == 0:
                print(f"{i + 1} runs, {different} differ, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    print(f"{options.runs} runs with and without: {different} differ; {tally['guessed']} tokens guessed, {tally['accepted']} accepted")
    print("exit codes: " + ", ".join(f"{code}: {n}" for code, n in sorted(failed.items())))
    print("guessed by model: " + ", ".join(f"{name} {n}" for name, n in by_model.most_common()))
    sys.exit(different > 0)


if __name__ == "__main__":
    main()
