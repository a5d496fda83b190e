#!/usr/bin/env python3
"""Has a model write JSON under many schemas and asks an independent validator (python's jsonschema) about each text.

    tools/constraints/samples.py WHIT MODEL [--schemas 300] [--samples 20] [--tokens 400] [--seed 1] [--threads 2] [--patience 600]

The schemas are of the kind that programs ask for: records of names, numbers within bounds, choices, dates, lists, unions, records
within records, references. They are random, by the seed. All texts are drawn at temperature 1, in one run of `whit batch`. A text that is cut by
the number of tokens must be told as such, and is counted apart. Fails where a text is not valid, or where for so many seconds (patience)
no schema more is answered. Formats are checked, too: pip install 'jsonschema[format]'.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import jsonschema

NAMES = (
    "name title city country email id count price rating status tags items address street zip phone age active created "
    "updated color size weight kind score author year pages language unit currency amount first last note"
).split()
FORMATS = ["date", "date-time", "time", "email", "uuid", "ipv4", "hostname"]
WORDS = "red green blue small large open closed pending done low high cat dog bird north south east west".split()


def leaf(rng):
    kinds = [
        lambda: {"type": "string", "maxLength": rng.randint(1, 30)},
        lambda: {"type": "string", "minLength": 1, "maxLength": rng.randint(2, 12)},
        lambda: {"type": "string", "pattern": rng.choice(["^[A-Z]{2}[0-9]{4}$", "^[a-z]+(-[a-z]+){0,2}$", "^\\+?[0-9 ]{5,12}$"])},
        lambda: {"type": "string", "format": rng.choice(FORMATS)},
        lambda: {"type": "integer", "minimum": rng.randint(-50, 0), "maximum": rng.randint(1, 5000)},
        lambda: {"type": "integer", "exclusiveMinimum": 0, "maximum": 100, "multipleOf": rng.choice([1, 2, 5])},
        lambda: {"type": "number", "minimum": 0, "maximum": rng.choice([1, 5, 99.5])},
        lambda: {"type": "boolean"},
        lambda: {"enum": rng.sample(WORDS, rng.randint(2, 6))},
        lambda: {"enum": [1, 2.5, None, "other", True]},
        lambda: {"const": rng.choice(WORDS)},
        lambda: {"type": ["integer", "null"], "minimum": 0, "maximum": 9},
    ]
    return rng.choice(kinds)()


def value(rng, depth):
    if depth == 0 or rng.random() < 0.55:
        return leaf(rng)
    kinds = [
        lambda: record(rng, depth - 1),
        lambda: {"type": "array", "items": value(rng, depth - 1), "minItems": rng.randint(0, 1), "maxItems": rng.randint(1, 4)},
        lambda: {"type": "array", "prefixItems": [leaf(rng), leaf(rng)], "items": False, "minItems": 2},
        lambda: {"anyOf": [leaf(rng), record(rng, depth - 1)]},
        lambda: {"anyOf": [{"type": "null"}, leaf(rng)]},
        lambda: {"oneOf": [tagged(rng, "circle", depth - 1), tagged(rng, "square", depth - 1)]},
        lambda: {"$ref": "#/$defs/shared"},
        lambda: {"allOf": [{"$ref": "#/$defs/shared"}, {"required": ["name"]}]},
    ]
    return rng.choice(kinds)()


def record(rng, depth):
    names = rng.sample(NAMES, rng.randint(1, 5))
    return {
        "type": "object",
        "properties": {name: value(rng, depth) for name in names},
        "required": names if rng.random() < 0.6 else rng.sample(names, rng.randint(0, len(names))),
        "additionalProperties": False,
    }


def tagged(rng, tag, depth):
    of = record(rng, depth)
    of["properties"] = {"kind": {"const": tag}} | {k: v for k, v in of["properties"].items() if k != "kind"}
    of["required"] = ["kind"] + [name for name in of["required"] if name != "kind"]
    return of


def schema(seed):
    rng = random.Random(seed)
    of = record(rng, 2)
    shared = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 10}, "next": {"anyOf": [{"type": "null"}, leaf(rng)]}},
        "additionalProperties": False,
    }
    return of | {"$defs": {"shared": shared}}


def run(options, folder, schemas):
    """The rows of one batch: of each schema, so many texts of one prompt."""
    requests, answers = folder / "requests.jsonl", folder / "answers.jsonl"
    with requests.open("w") as file:
        for i, wanted in enumerate(schemas):
            body = {
                "prompt": f"A record with {', '.join(wanted['properties'])}, as JSON:\n",
                "response_format": {"type": "json_schema", "json_schema": {"schema": wanted}},
                "n": options.samples,
                "seed": 0,
                "max_tokens": options.tokens,
            }
            request = {"custom_id": str(i), "method": "POST", "url": "/v1/completions", "body": body}
            file.write(json.dumps(request) + "\n")
    command = [options.whit, "batch", options.model, str(requests), "-o", str(answers), "-q", "-t", str(options.threads)]
    command += ["--temp", "1", "--top-k", "0", "--top-p", "1", "--min-p", "0"]
    n_rows, since = 0, time.monotonic()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as batch:
        while batch.poll() is None:
            time.sleep(1)
            n = answers.read_bytes().count(b"\n") if answers.exists() else 0
            if n > n_rows:
                n_rows, since = n, time.monotonic()
                print(f"{n} schemas", file=sys.stderr, end="\r")
            elif time.monotonic() - since > options.patience:
                batch.kill()
                sys.exit(f"schema {n_rows} was not answered within {options.patience} seconds")
        if batch.returncode:
            sys.exit(batch.stderr.read().strip())
    return [json.loads(line)["response"] for line in answers.read_text().splitlines()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("whit")
    parser.add_argument("model")
    parser.add_argument("--schemas", type=int, default=300)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--patience", type=int, default=600)
    options = parser.parse_args()
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    missing = [name for name in FORMATS if name not in checker.checkers]
    if missing:
        sys.exit(f"nothing checks {', '.join(missing)}: pip install 'jsonschema[format]'")
    schemas = [schema(options.seed * 1_000_000 + i) for i in range(options.schemas)]
    with tempfile.TemporaryDirectory() as folder:
        rows = run(options, pathlib.Path(folder), schemas)
    if len(rows) != len(schemas):
        sys.exit(f"{len(rows)} rows answer {len(schemas)} requests")
    n_valid = n_cut = 0
    failures = []
    for i, (wanted, row) in enumerate(zip(schemas, rows)):
        if row["status_code"] != 200:
            failures.append(f"schema {i}: {row['body']['error']['message']}\n{json.dumps(wanted)}")
            continue
        validator = jsonschema.Draft202012Validator(wanted, format_checker=checker)
        choices = row["body"]["choices"]
        if len(choices) != options.samples:
            failures.append(f"schema {i}: {len(choices)} texts")
        for choice in choices:
            if choice["finish_reason"] == "length":
                n_cut += 1
                continue
            try:
                validator.validate(json.loads(choice["text"]))
                n_valid += 1
            except (ValueError, jsonschema.ValidationError) as error:
                told = f"schema {i}, sample {choice['index']}: {str(error).splitlines()[0]}"
                failures.append(f"{told}\n{json.dumps(wanted)}\n{choice['text']}")
    print(f"{options.schemas} schemas, {options.samples} texts each: {n_valid} valid, {n_cut} cut, {len(failures)} not valid")
    print("\n".join(failures))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
