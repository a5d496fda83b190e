#!/usr/bin/env python3
"""Has a model write JSON under many schemas and asks an independent validator (python's jsonschema) about each text.

    tools/constraints/samples.py WHIT MODEL [--schemas 300] [--samples 20] [--tokens 400] [--seed 1] [--threads 2]

The schemas are of the kind that programs ask for: records of names, numbers within bounds, choices, dates, lists, unions, records
within records, references. They are random, by the seed. Each text is drawn at temperature 1. A text that is cut by the number of
tokens must be told as such, and is counted apart. Fails where a text is not valid or a run takes longer than a minute.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile

import jsonschema

NAMES = (
    "name title city country email id count price rating status tags items address street zip phone age active created "
    "updated color size weight kind score author year pages language unit currency amount first last note"
).split()
WORDS = "red green blue small large open closed pending done low high cat dog bird north south east west".split()


def leaf(rng):
    kinds = [
        lambda: {"type": "string", "maxLength": rng.randint(1, 30)},
        lambda: {"type": "string", "minLength": 1, "maxLength": rng.randint(2, 12)},
        lambda: {"type": "string", "pattern": rng.choice(["^[A-Z]{2}[0-9]{4}$", "^[a-z]+(-[a-z]+){0,2}$", "^\\+?[0-9 ]{5,12}$"])},
        lambda: {"type": "string", "format": rng.choice(["date", "date-time", "time", "email", "uuid", "ipv4", "hostname"])},
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("whit")
    parser.add_argument("model")
    parser.add_argument("--schemas", type=int, default=300)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    n_valid = n_cut = 0
    failures = []
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        for i in range(options.schemas):
            wanted = schema(options.seed * 1_000_000 + i)
            file.seek(0)
            file.truncate()
            json.dump(wanted, file)
            file.flush()
            checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
            validator = jsonschema.Draft202012Validator(wanted, format_checker=checker)
            for sample in range(options.samples):
                prompt = f"A record with {', '.join(wanted['properties'])}, as JSON:\n"
                command = [options.whit, "generate", "-m", options.model, "--schema", file.name, "--temp", "1", "--top-k", "0"]
                command += ["--top-p", "1", "--min-p", "0", "--seed", str(sample), "-n", str(options.tokens), "-q", "--no-echo"]
                command += ["-t", str(options.threads), "--prompt", prompt]
                done = subprocess.run(command, capture_output=True, text=True, timeout=60)
                if done.returncode == 71 and "before it was whole: length" in done.stderr:
                    n_cut += 1
                    continue
                try:
                    if done.returncode:
                        raise ValueError(done.stderr.strip())
                    validator.validate(json.loads(done.stdout))
                    n_valid += 1
                except (ValueError, jsonschema.ValidationError) as error:
                    failures.append(f"schema {i}, sample {sample}: {str(error).splitlines()[0]}\n{json.dumps(wanted)}\n{done.stdout}")
            if i % 10 == 9:
                print(f"{i + 1} schemas: {n_valid} valid, {n_cut} cut, {len(failures)} not valid", flush=True)
    print(f"{options.schemas} schemas, {options.samples} texts each: {n_valid} valid, {n_cut} cut, {len(failures)} not valid")
    print("\n".join(failures))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
