#!/usr/bin/env python3
"""Holds that files are read by work that grows as they do: no count of names, keys or pieces makes it grow faster.

    tools/reliability/scale.py QUANTIZE WHIT

Makes files of each family in growing numbers up to its limit and has them read under valgrind, which counts instructions and so
gives the same on every machine, and once without it for the CPU time. Tells both, and the exponent by which the instructions grow
over the last step. Fails at 1.15 or more, below 0.85, which means that a file was given up early, and where the end is another one
than expected.
"""

import argparse
import itertools
import json
import math
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SIZES = [1_000, 10_000, 100_000, 1_000_000]
DIM = 8


def safetensors(tensors, metadata=None):
    """Tensors by name: shape, all of zeros, in F32."""
    header, at = {"__metadata__": metadata} if metadata else {}, 0
    for name, shape in tensors.items():
        size = 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


def config(vocab_size, **more):
    return {
        "model_type": "llama", "hidden_size": DIM, "intermediate_size": DIM, "num_hidden_layers": 1,
        "num_attention_heads": 2, "vocab_size": vocab_size, "max_position_embeddings": 16, "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True, **more,
    }


def model(vocab_size):
    """The tensors of that model."""
    layer = "model.layers.0."
    square = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
              "mlp.up_proj", "mlp.down_proj"]
    norms = [layer + "input_layernorm.weight", layer + "post_attention_layernorm.weight", "model.norm.weight"]
    return {
        "model.embed_tokens.weight": [vocab_size, DIM],
        **{f"{layer}{name}.weight": [DIM, DIM] for name in square},
        **{name: [DIM] for name in norms},
    }


def tokenizer(vocab, merges=(), added=()):
    level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    return {
        "added_tokens": [{"id": i, "content": name, "special": True} for i, name in added],
        "pre_tokenizer": level, "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab, "merges": list(merges)},
    }


def words():
    """Letters, then what one merge after the other makes of them: each word of two halves that came before."""
    levels = {1: list(LETTERS), 2: ["".join(pair) for pair in itertools.product(LETTERS, repeat=2)]}
    levels[3] = [a + b for a in levels[2] for b in LETTERS]
    yield from ((letter, None) for letter in LETTERS)
    for length, left in [(2, 1), (3, 2), (4, 2)]:
        for a in levels[left]:
            for b in levels[length - left]:
                yield a + b, f"{a} {b}"


def merged(n):
    """A vocabulary of `n` pieces and the merges that make them."""
    taken = list(itertools.islice(words(), n))
    return {word: i for i, (word, _) in enumerate(taken)}, [merge for _, merge in taken if merge]


def gguf(pairs, tensors):
    text = lambda s: struct.pack("<Q", len(s)) + s.encode()
    out = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(pairs) + 1)]
    out += [text("general.architecture"), struct.pack("<I", 8), text("llama")]
    out += [text(key) + struct.pack("<II", 4, value) for key, value in pairs]
    for i, name in enumerate(tensors):
        out.append(text(name) + struct.pack("<IQIQ", 1, 8, 0, 32 * i))
    head = b"".join(out)
    return head + bytes(-len(head) % 32 + 32 * len(tensors))


def folder(path, files):
    path.mkdir()
    for name, content in files.items():
        content = json.dumps(content).encode() if isinstance(content, dict) else content
        (path / name).write_bytes(content)
    return path


def families():
    """Each by name: the largest number, what makes the files of it, and what is said when all has been read."""
    def with_tokenizer(path, vocab, merges=(), added=()):
        n = len(vocab) + len(added)
        files = {"config.json": config(n), "model.safetensors": safetensors(model(n)),
                 "tokenizer.json": tokenizer(vocab, merges, added)}
        return folder(path, files)

    def tensors(path, n):
        names = {f"t{i}": [32] for i in range(n)}
        return folder(path, {"config.json": config(8), "model.safetensors": safetensors(names)})

    def metadata(path, n):
        weights = safetensors({"a": [24 * n]}, {f"k{i}": "v" for i in range(n)})
        return folder(path, {"config.json": config(8), "model.safetensors": weights})

    def weight_map(path, n):
        index = {"weight_map": {f"t{i}": "a.safetensors" for i in range(n)}}
        return folder(path, {"config.json": config(8), "a.safetensors": safetensors({"a": [64]}),
                             "model.safetensors.index.json": index})

    def keys(path, n):
        more = {f"k{i}": i for i in range(n)}
        return folder(path, {"config.json": config(8, **more), "model.safetensors": safetensors({"a": [64]})})

    def vocabulary(path, n):
        return with_tokenizer(path, {word: i for i, (word, _) in enumerate(itertools.islice(words(), n))})

    def merges(path, n):
        return with_tokenizer(path, *merged(n))

    def added(path, n):
        letters = {letter: i for i, letter in enumerate(LETTERS)}
        return with_tokenizer(path, letters, (), [(26 + i, f"<{i}>") for i in range(n)])

    def gguf_pairs(path, n):
        path.write_bytes(gguf([(f"k{i}", i) for i in range(n)], ["token_embd.weight"]))
        return path

    def gguf_tensors(path, n):
        path.write_bytes(gguf([], [f"t{i}" for i in range(n)]))
        return path

    unfit, few_keys = "does not fit its own configuration", "attention.head_count"
    return {
        "safetensors: tensors": (65_000, tensors, unfit),
        "safetensors: metadata": (1_000_000, metadata, unfit),
        "index: tensors": (65_000, weight_map, "is not in a.safetensors"),
        "config.json: keys": (500_000, keys, unfit),
        "tokenizer.json: vocabulary": (470_000, vocabulary, ""),
        "tokenizer.json: merges": (470_000, merges, ""),
        "tokenizer.json: added tokens": (500_000, added, ""),
        "GGUF: pairs": (65_000, gguf_pairs, few_keys),
        "GGUF: tensors": (65_000, gguf_tensors, few_keys),
    }


def run(command):
    """Runs what ends by itself, well or with an error about its input: CPU time, and what it said."""
    child = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in (0, 65):
        sys.exit(f"{' '.join(map(str, command))}: {child.returncode}: {said.strip()}")
    return usage.ru_utime + usage.ru_stime, said.strip()


def instructions(command):
    """Instructions of such a run."""
    _, said = run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command])
    return int(re.search(r"Collected : (\d+)", said).group(1))


def grow(name, read, sizes, expected):
    """Reads the file of each size, to the end that is expected; the exponent of the last step."""
    shown, work = [], []
    for n in sizes:
        command = read(n)
        seconds, said = run(command)
        if expected not in said or bool(expected) != bool(said):
            sys.exit(f"{name}, {n}: {said or 'read'!r}, not {expected!r}")
        work.append(instructions(command))
        shown.append(f"{n:,}: {work[-1] / 1e6:.1f} M, {1e3 * seconds:.0f} ms")
    rise = lambda values: math.log((values[-1] - values[0]) / (values[-2] - values[0]))
    exponent = rise(work) / rise(sizes)
    print(f"{name:29} {exponent:.2f}  {'; '.join(shown)}", flush=True)
    return exponent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("quantize")
    parser.add_argument("whit")
    options = parser.parse_args()
    exponents = []
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        made = itertools.count()

        def output():
            return place / f"out-{next(made)}.whit"

        for name, (most, make, expected) in families().items():
            sizes = [n for n in SIZES if n < most] + [most]

            def read(n):
                path = make(place / f"in-{next(made)}.gguf", n)
                return [options.quantize, path, "-q", "--effort", "fast", "--force", "-o", output()]

            exponents.append(grow(name, read, sizes, expected))

        converted = {}
        for n in (1_000, 10_000, 100_000, 470_000):
            source = families()["tokenizer.json: merges"][1](place / f"whit-{n}", n)
            converted[n] = output()
            subprocess.run([options.quantize, source, "-q", "--effort", "fast", "-o", converted[n]], check=True)
        open_it = lambda n: [options.whit, "tokens", "-m", converted[n], "a"]
        exponents.append(grow(".whit: pieces and merges", open_it, list(converted), ""))
    if not all(0.85 < exponent < 1.15 for exponent in exponents):
        sys.exit("the work does not grow as the files do")


if __name__ == "__main__":
    main()
