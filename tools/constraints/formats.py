#!/usr/bin/env python3
"""Draws texts in every format of JSON Schema that whit holds, and asks the checkers of python's jsonschema about each.

    tools/constraints/formats.py ALLOWED [N]

ALLOWED is the example `allowed` (cargo build --release --example allowed --features constraints,default-model). The packages that
check formats have to be there: pip install 'jsonschema[format]' rfc3986-validator. Of each format N texts (1000) are drawn, alone
and within bounds of their length. Fails where one is not valid, or where a checker is missing.
"""

import json
import subprocess
import sys

import jsonschema
import rfc3986_validator

FORMATS = ["date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"]
CHECKER = jsonschema.Draft202012Validator.FORMAT_CHECKER


def is_valid(name, text):
    """Whether every checker takes `text`."""
    if name == "uri" and not rfc3986_validator.validate_rfc3986(text, rule="URI"):
        return False
    return CHECKER.conforms(text, name)


def main():
    allowed, n = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    missing = [name for name in FORMATS if name not in CHECKER.checkers]
    if missing:
        sys.exit(f"nothing checks {', '.join(missing)}: pip install 'jsonschema[format]'")
    schemas = [{"type": "string", "format": name} | more for name in FORMATS for more in ({}, {"maxLength": 45})]
    lines = "\n".join(map(json.dumps, schemas))
    done = subprocess.run([allowed, str(n)], input=lines, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{allowed}: status {done.returncode} {done.stderr.strip()}")
    n_wrong = 0
    for schema, line in zip(schemas, done.stdout.splitlines(), strict=True):
        name, answer = schema["format"], json.loads(line)
        if "refused" in answer:
            sys.exit(f"{schema}: {answer['refused']}")
        texts = [json.loads(text) for text in answer["texts"]]
        wrong = [text for text in texts if not is_valid(name, text) or len(text) > schema.get("maxLength", len(text))]
        n_wrong += len(wrong)
        print(f"{name:10} {len(texts)} texts, {len(set(texts))} of them different, {len(wrong)} not valid; one is {texts[0]!r}")
        for text in wrong[:20]:
            print(f"    not valid: {text!r}")
    sys.exit(1 if n_wrong else 0)


if __name__ == "__main__":
    main()
