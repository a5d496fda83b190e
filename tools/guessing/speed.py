#!/usr/bin/env python3
"""How fast texts are written with guesses ahead and without, in turn on the same cores: the ratio of their decoding speeds.

    tools/guessing/speed.py WHIT MODEL [--draft SMALL] [--threads 1,2] [--runs 5] [--tokens 192] [--random]

Texts that repeat themselves: two edits of code and a summary that quotes, all greedy. Ordinary ones: a story and an explanation, drawn at
temperatures 0.8 and 1.5. With --random, for models of random weights: a greedy text, which soon goes round in circles, and one at
temperature 1, which never does. Pairs of runs alternate; the ratio is the median of the pairs' ratios. Python's standard library only.
"""

import argparse
import json
import statistics
import subprocess

CODE = '''class Account:
    def __init__(self, owner, balance=0):
        self.owner = owner
        self.balance = balance

    def deposit(self, amount):
        if amount <= 0:
            raise ValueError("amount must be positive")
        self.balance += amount
        return self.balance

    def withdraw(self, amount):
        if amount > self.balance:
            raise ValueError("not enough money")
        self.balance -= amount
        return self.balance
'''
ARTICLE = """The old lighthouse stands on a rock two miles from the coast. It was built in 1871 by forty men who lived in tents
on the rock for three summers. In winter the sea was too rough to land. The light could be seen from eighteen miles away, and for ninety
years a keeper and his family lived below it. The last keeper, Anna Holm, left in 1961, when the light became automatic. Today the
lighthouse is a museum. Visitors climb 142 steps to the top, where the great lens still turns on clear nights."""


def asked(question):
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


def texts():
    """Name, kind, arguments."""
    greedy = ["--temp", "0", "--special"]
    edit = asked(f"Here is my code:\n\n```python\n{CODE}```\n\nAdd a method `close` and return all of the code.")
    edited = edit + "Here is the code with the method `close`:\n\n```python\nclass Account:\n    def"
    renamed = CODE.replace("Account", "Customer")
    copied = f"# account.py\n\n{CODE}\n\n# customer.py\n\n" + renamed[: renamed.index(".owner")]
    quoted = asked(f"Quote the most important sentences of this article, word for word.\n\n{ARTICLE}")
    story = asked("Tell me a story about a fox who wants to learn to read.")
    explain = asked("Explain why the sky is blue.")
    return (
        ("an edit of code", "repeats", [*greedy, "--prompt", edited]),
        ("a class that is renamed", "repeats", ["--temp", "0", "--prompt", copied]),
        ("a summary that quotes", "repeats", [*greedy, "--prompt", quoted]),
        ("a story, temperature 0.8", "ordinary", ["--temp", "0.8", "--seed", "1", "--special", "--prompt", story]),
        ("an explanation, temperature 0.8", "ordinary", ["--temp", "0.8", "--seed", "2", "--special", "--prompt", explain]),
        ("a story, temperature 1.5", "ordinary", ["--temp", "1.5", "--seed", "3", "--special", "--prompt", story]),
    )


def random_texts():
    prompt = "the one and the other of the two went to the end of the way and back"
    return (
        ("greedy", "repeats", ["--temp", "0", "--prompt", prompt]),
        ("temperature 1", "ordinary", ["--temp", "1", "--top-p", "1", "--top-k", "0", "--seed", "1", "--prompt", prompt]),
    )


def run(options, threads, arguments):
    command = [options.whit, "generate", "-m", options.model, "--json", "--no-echo", "-q", "-n", str(options.tokens)]
    done = subprocess.run([*command, "-t", str(threads), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    *pieces, last = [json.loads(line) for line in done.stdout.splitlines()]
    return pieces, last["summary"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("whit")
    parser.add_argument("model")
    parser.add_argument("--draft")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=192)
    parser.add_argument("--random", action="store_true")
    options = parser.parse_args()
    ways = ["ngram"] + ([f"draft:{options.draft}"] if options.draft else [])
    least = {}
    print(f"{'text':32} {'threads':>7} {'guess':6} {'without':>9} {'with':>9} {'ratio':>6} {'range':>11} {'accepted':>9} {'a pass':>6}")
    for name, kind, arguments in random_texts() if options.random else texts():
        for threads in map(int, options.threads.split(",")):
            for how in ways:
                speeds, tally = [], None
                for _ in range(options.runs):
                    plain, without = run(options, threads, arguments)
                    guessed, with_it = run(options, threads, [*arguments, "--guess", how])
                    if plain != guessed:
                        raise SystemExit(f"{name}: the texts differ")
                    speeds.append([of["decode_tokens_per_second"] for of in (without, with_it)])
                    tally = with_it
                ratios = sorted(with_it / without for without, with_it in speeds)
                ratio = statistics.median(ratios)
                key = (kind, how.split(":")[0])
                least[key] = min(ratio, least.get(key, ratio))
                a_pass = (tally["generated_tokens"] - 1) / max(tally["decode_passes"], 1)
                print(
                    f"{name:32} {threads:7} {key[1]:6} {statistics.median(s[0] for s in speeds):7.1f}/s"
                    f" {statistics.median(s[1] for s in speeds):7.1f}/s {ratio:6.2f} {ratios[0]:5.2f}-{ratios[-1]:5.2f}"
                    f" {tally['accepted_tokens']:4}/{tally['guessed_tokens']:4} {a_pass:6.2f}",
                    flush=True,
                )
    for (kind, how), ratio in least.items():
        print(f"least of texts that are {'ordinary' if kind == 'ordinary' else 'repeating'}, {how}: {ratio:.2f}")


if __name__ == "__main__":
    main()
