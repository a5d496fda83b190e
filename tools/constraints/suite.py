#!/usr/bin/env python3
"""Holds the grammars that whit makes of JSON Schemas against the JSON-Schema-Test-Suite.

    tools/constraints/suite.py ACCEPTS SUITE

ACCEPTS is the example `accepts` (cargo build --release --example accepts --features constraints,default-model), SUITE the
folder tests/draft2020-12 of github.com/json-schema-org/JSON-Schema-Test-Suite, which is read and no part of this repository.

A schema is held or refused as a whole. Of one that is held,
- no instance that the suite calls invalid may be accepted;
- an instance that it calls valid may be refused only where whit writes less than the schema allows, for one of these reasons:
  the order of an object's names (tried in every order here), a whole number written as 1.0, or a format, which is held here and
  may be a mere note there.
Fails where one of both does not hold.
"""

import itertools
import json
import pathlib
import subprocess
import sys

MAX_ORDERS = 200


def orders(value):
    """`value` with the names of its objects in every order, up to a limit."""
    if isinstance(value, dict):
        for names in itertools.permutations(value):
            for values in itertools.product(*[list(orders(value[name])) for name in names]):
                yield dict(zip(names, values))
    elif isinstance(value, list):
        for values in itertools.product(*[list(orders(item)) for item in value]):
            yield list(values)
    else:
        yield value


def has_whole_float(value):
    if isinstance(value, dict):
        return any(map(has_whole_float, value.values()))
    if isinstance(value, list):
        return any(map(has_whole_float, value))
    return isinstance(value, float) and value.is_integer()


def texts(value, is_valid):
    """The texts of an instance: of a valid one, one of them has to be accepted."""
    found = itertools.islice(orders(value), MAX_ORDERS) if is_valid else [value]
    return [json.dumps(of, ensure_ascii=False) for of in found]


def main():
    accepts, suite = sys.argv[1], pathlib.Path(sys.argv[2])
    groups = []
    for path in sorted(suite.glob("*.json")):
        for group in json.loads(path.read_text()):
            groups.append((path.stem, group))
    lines = []
    for _, group in groups:
        cases = [text for test in group["tests"] for text in texts(test["data"], test["valid"])]
        lines.append(json.dumps({"schema": group["schema"], "texts": cases}))
    done = subprocess.run([accepts], input="\n".join(lines), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{accepts}: {done.stderr.strip()}")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if len(answers) != len(groups):
        sys.exit(f"{len(answers)} answers to {len(groups)} schemas")

    table, wrong, narrower, reasons = {}, [], [], {}
    for (keyword, group), answer in zip(groups, answers):
        row = table.setdefault(keyword, {"schemas": 0, "refused": 0, "as the suite": 0, "narrower": 0, "wrong": 0})
        row["schemas"] += 1
        if "refused" in answer:
            row["refused"] += 1
            reasons.setdefault(answer["refused"], []).append(f"{keyword}: {group['description']}")
            continue
        accepted = iter(answer["accepted"])
        for test in group["tests"]:
            n = len(texts(test["data"], test["valid"]))
            is_accepted = any([next(accepted) for _ in range(n)])
            name = f"{keyword}: {group['description']}: {test['description']}: {json.dumps(test['data'])[:80]}"
            if is_accepted == test["valid"]:
                row["as the suite"] += 1
            elif test["valid"] and (has_whole_float(test["data"]) or "annotation by default" in test["description"]):
                row["narrower"] += 1
                narrower.append(name)
            else:
                row["wrong"] += 1
                wrong.append(("accepted" if is_accepted else "refused") + f" {name}")
    heads = ["schemas", "refused", "as the suite", "narrower", "wrong"]
    print(f"{'':24}" + "".join(f"{head:>14}" for head in heads))
    for keyword, row in table.items():
        print(f"{keyword:24}" + "".join(f"{row[head]:>14}" for head in heads))
    print(f"{'all':24}" + "".join(f"{sum(row[head] for row in table.values()):>14}" for head in heads))
    for reason, of in sorted(reasons.items(), key=lambda item: -len(item[1])):
        print(f"refused {len(of)}: {reason[:100]} ({of[0]})")
    for name in narrower:
        print("narrower", name)
    for name in wrong:
        print("wrong", name)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
