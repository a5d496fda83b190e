#!/usr/bin/env python3
"""What constraints cost and give: the time of a token under a mask beside that of a free one, and the speed of JSON whose forced
tokens are not asked for beside that of the same JSON, token by token.

    tools/constraints/speed.py WHIT MODEL [--threads 2] [--runs 5]

Runs of the two sides alternate; medians are compared. A mask is measured under the regular expression `(.|\\n)*` (any text).
"""

import argparse
import json
import statistics
import subprocess
import tempfile

ANSWER = {
    "type": "object",
    "properties": {
        "customer_name": {"type": "string", "maxLength": 16},
        "order_number": {"type": "integer", "minimum": 1, "maximum": 99999},
        "delivery_status": {"enum": ["open", "shipped", "delivered", "returned"]},
        "items_in_stock": {"type": "boolean"},
        "payment_method": {"enum": ["card", "invoice", "cash"]},
        "total_amount": {"type": "number", "minimum": 0, "maximum": 5000},
    },
    "additionalProperties": False,
}
ANSWER["required"] = list(ANSWER["properties"])
FORM = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


def run(options, *arguments):
    command = [options.whit, "generate", "-m", options.model, "--json", "-t", str(options.threads), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout.splitlines()[-1])["summary"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("whit")
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        schema, lark = f"{folder}/answer.json", f"{folder}/answer.lark"
        with open(schema, "w") as file:
            json.dump(ANSWER, file)
        with open(lark, "w") as file:
            file.write('%llguidance {"no_forcing": true}\nstart: %json ' + json.dumps(ANSWER | {"x-guidance": FORM}) + "\n")
        sides = {
            "free": ["--temp", "0", "-n", "150", "--prompt", "The history of the bridge:"],
            "under a mask": ["--temp", "0", "-n", "150", "--regex", "(.|\\n)*", "--prompt", "The history of the bridge:"],
            "JSON, forced": ["--seed", "3", "-n", "300", "--schema", schema, "--prompt", "The order as JSON: "],
            "JSON, one by one": ["--seed", "3", "-n", "300", "--grammar", lark, "--prompt", "The order as JSON: "],
        }
        seconds = {name: [] for name in sides}
        tokens = {}
        for _ in range(options.runs):
            for name, arguments in sides.items():
                summary = run(options, *arguments)
                tokens[name] = summary["generated_tokens"]
                seconds[name].append(summary["decode_seconds"] / max(tokens[name] - 1, 1))
    median = {name: statistics.median(of) for name, of in seconds.items()}
    for name in sides:
        print(f"{name:20} {tokens[name]:5} tokens, {median[name] * 1e3:8.3f} ms a token, {1 / median[name]:7.1f}/s")
    print(f"a mask costs {100 * (median['under a mask'] / median['free'] - 1):.1f} % of a token")
    print(f"forced tokens: {median['JSON, one by one'] / median['JSON, forced']:.2f} times the speed")


if __name__ == "__main__":
    main()
