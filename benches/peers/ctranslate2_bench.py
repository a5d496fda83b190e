"""A llama-bench for ctranslate2: takes the same flags, prints the same JSON; a peer of run.py.

usage: PYTHON ctranslate2_bench.py -m MODEL_DIR -t THREADS -r REPEATS -o json -p N,... -n N [-d DEPTH]
MODEL_DIR is a converted decoder-only model; PYTHON has ctranslate2 installed. A prompt is timed to its first generated
token, a decode as the time of N + 1 generated tokens less the time of one.
"""
import argparse
import json
import statistics
import time

import ctranslate2


def seconds(generator, prompt, n_tokens):
    start = time.perf_counter()
    result = generator.generate_batch([prompt], beam_size=1, sampling_topk=1, min_length=n_tokens, max_length=n_tokens,
                                      include_prompt_in_result=False)
    elapsed = time.perf_counter() - start
    if len(result[0].sequences[0]) != n_tokens:
        raise SystemExit(f"{len(result[0].sequences[0])} tokens came where {n_tokens} were asked for")
    return elapsed


def warm_seconds(generator, prompt, n_tokens):
    seconds(generator, prompt, n_tokens)
    return seconds(generator, prompt, n_tokens)


def row(n_prompt, n_gen, n_depth, rates):
    build = f"ctranslate2 {ctranslate2.__version__}"
    rates = statistics.mean(rates)
    return {"build_commit": build, "n_prompt": n_prompt, "n_gen": n_gen, "n_depth": n_depth, "avg_ts": rates}


def main():
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parse.add_argument("-m", required=True, metavar="MODEL_DIR")
    parse.add_argument("-t", type=int, default=1, metavar="THREADS")
    parse.add_argument("-r", type=int, default=1, metavar="REPEATS")
    parse.add_argument("-o", choices=["json"], default="json")
    parse.add_argument("-p", default="0", metavar="N,...")
    parse.add_argument("-n", type=int, default=0, metavar="N")
    parse.add_argument("-d", type=int, default=0, metavar="DEPTH")
    parse.add_argument("--type", default="int8", metavar="COMPUTE_TYPE")
    args = parse.parse_args()

    generator = ctranslate2.Generator(args.m, device="cpu", compute_type=args.type, inter_threads=1,
                                      intra_threads=args.t)
    with open(f"{args.m}/vocabulary.json", encoding="utf-8") as file:
        word = json.load(file)[0]
    rows = []
    for n in filter(None, map(int, args.p.split(","))):
        rows.append(row(n, 0, 0, [n / warm_seconds(generator, [word] * n, 1) for _ in range(args.r)]))
    if args.n:
        prompt = [word] * max(args.d, 1)
        prefill = [warm_seconds(generator, prompt, 1) for _ in range(args.r)]
        times = [seconds(generator, prompt, args.n + 1) - begin for begin in prefill]
        rows.append(row(0, args.n, args.d, [args.n / time for time in times]))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
