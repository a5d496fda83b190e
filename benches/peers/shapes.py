#!/usr/bin/env python3
"""Writes GGUF files of random Q8_0 weights in the shapes of real models, to measure speed and memory with: whit and llama.cpp read
the same bytes. Of each shape there is a twin, a Llama of as many bytes a token, which says what a plain network of its size reaches.

    benches/peers/shapes.py SHAPE OUT.gguf [--twin]

Needs gguf, numpy, torch and transformers, and the folder of reference data beside the repository, of whose model it takes the
vocabulary. The tensors are those that transformers makes of the configuration, named as llama.cpp's converter names them
(tests/fixtures/families/gguf_files.py).
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from transformers import AutoConfig, AutoModelForCausalLM

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/fixtures/families"))
from gguf_files import gguf  # noqa: E402

VOCABULARY = ROOT.parent / "shared/models/SmolLM2-135M-Instruct.Q4_1.gguf"
FULL = "full_attention"


def attention_at(n_layers, places, other):
    return [FULL if i in places else other for i in range(n_layers)]


# The model type of transformers, the family of tests/fixtures/families, the configuration as it is published, and what the twin
# differs in from a Llama of the same widths: as many layers as make as many bytes a token.
SHAPES = {
    "gemma3-270m": ("gemma3_text", "gemma3", dict(
        hidden_size=640, intermediate_size=2048, num_hidden_layers=18, num_attention_heads=4, num_key_value_heads=1,
        head_dim=256, vocab_size=262144, sliding_window=512, max_position_embeddings=32768)),
    "gemma3-1b": ("gemma3_text", "gemma3", dict(
        hidden_size=1152, intermediate_size=6912, num_hidden_layers=26, num_attention_heads=4, num_key_value_heads=1,
        head_dim=256, vocab_size=262144, sliding_window=512, max_position_embeddings=32768)),
    "qwen3.5-0.8b": ("qwen3_5_text", "qwen3_5", dict(
        hidden_size=1024, intermediate_size=3584, num_hidden_layers=24, num_attention_heads=8, num_key_value_heads=2,
        head_dim=256, vocab_size=248320, linear_num_key_heads=16, linear_num_value_heads=16, linear_key_head_dim=128,
        linear_value_head_dim=128, linear_conv_kernel_dim=4, max_position_embeddings=32768)),
    "lfm2-350m": ("lfm2", "lfm2", dict(
        hidden_size=1024, intermediate_size=4608, block_auto_adjust_ff_dim=False, num_hidden_layers=16,
        num_attention_heads=16, num_key_value_heads=8, vocab_size=65536, conv_L_cache=3,
        layer_types=attention_at(16, (2, 5, 8, 10, 12, 14), "conv"), max_position_embeddings=32768)),
    "lfm2-1.2b": ("lfm2", "lfm2", dict(
        hidden_size=2048, intermediate_size=8192, block_auto_adjust_ff_dim=False, num_hidden_layers=16,
        num_attention_heads=32, num_key_value_heads=8, vocab_size=65536, conv_L_cache=3,
        layer_types=attention_at(16, (2, 5, 8, 10, 12, 14), "conv"), max_position_embeddings=32768)),
    "smollm3-3b": ("smollm3", "smollm3", dict(
        hidden_size=2048, intermediate_size=11008, num_hidden_layers=36, num_attention_heads=16, num_key_value_heads=4,
        vocab_size=128256, max_position_embeddings=32768)),
    "lfm2-8b-a1b": ("lfm2_moe", "lfm2_moe", dict(
        hidden_size=2048, intermediate_size=7168, moe_intermediate_size=1792, num_hidden_layers=24, num_dense_layers=2,
        num_experts=32, num_experts_per_tok=4, num_attention_heads=32, num_key_value_heads=8, vocab_size=65536,
        conv_L_cache=3, layer_types=attention_at(24, (2, 6, 10, 14, 18, 21), "conv"), max_position_embeddings=32768)),
}


def described(name):
    """The configuration of a shape, the tensors of its checkpoint, and its family."""
    kind, family, fields = SHAPES[name]
    config = AutoConfig.for_model(kind, tie_word_embeddings=True, **fields)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    sources = [[key, list(value.shape)] for key, value in model.state_dict().items() if key != "lm_head.weight"]
    return config.to_dict(), unpacked(sources), family


def unpacked(sources):
    """The tensors as a checkpoint has them, where the model has the experts of a layer in one."""
    for name, shape in sources:
        if name.endswith("experts.gate_up_proj"):
            for i in range(shape[0]):
                each = name.replace("gate_up_proj", f"{i}.")
                yield [each + "w1.weight", [shape[1] // 2, shape[2]]]
                yield [each + "w3.weight", [shape[1] // 2, shape[2]]]
        elif name.endswith("experts.down_proj"):
            for i in range(shape[0]):
                yield [name.replace("down_proj", f"{i}.w2.weight"), shape[1:]]
        else:
            yield [name, shape]


def shape_of(steps, shape, n):
    """The shape after what the converter does; `n` is how many sources become one."""
    for step, argument in zip(steps[::2], steps[1::2]):
        if step == "squeeze":
            shape = [size for size in shape if size != 1]
        elif step == "half":
            shape = [*shape[:-2], shape[-2] // 2, shape[-1]]
        elif step == "stack":
            shape = [n, *shape]
        elif step == "shape":
            shape = argument
    return shape


def tensors_of(name):
    """Keys of the file, and names and shapes of its tensors."""
    config, sources, family = described(name)
    sources = list(sources)
    shapes = dict(sources)
    file = gguf(family, config, sources)
    tensors = {}
    for named, source, *steps in file["tensors"]:
        several = source if isinstance(source, list) else [source]
        tensors[named] = shape_of(steps, shapes[several[0]], len(several))
    return file["keys"], tensors


def bytes_a_token(keys, tensors):
    """Elements of matrices that a token reads: of experts, those that it uses."""
    architecture = keys["general.architecture"]
    used, all_of = (keys.get(f"{architecture}.expert_{key}", 1) for key in ("used_count", "count"))
    total = 0
    for name, shape in tensors.items():
        if len(shape) > 1 and not ("token_embd" in name and "output.weight" in tensors):
            total += np.prod(shape, dtype=int) * (used / all_of if "_exps" in name else 1)
    return total


def twin_of(keys, tensors):
    """A Llama of the same widths, heads and vocabulary, with as many layers as make as many bytes a token."""
    architecture = keys["general.architecture"]
    value = lambda key: keys.get(f"{architecture}.{key}")
    vocabulary, dim = tensors["token_embd.weight"]
    heads = value("attention.head_count")
    kv_heads = value("attention.head_count_kv")
    kv_heads = max(kv_heads) if isinstance(kv_heads, list) else kv_heads
    hidden = value("feed_forward_length")
    head_dim = value("attention.key_length") or dim // heads
    layer = {
        "attn_q": [heads * head_dim, dim], "attn_k": [kv_heads * head_dim, dim], "attn_v": [kv_heads * head_dim, dim],
        "attn_output": [dim, heads * head_dim], "ffn_gate": [hidden, dim], "ffn_up": [hidden, dim], "ffn_down": [dim, hidden],
    }
    each = sum(np.prod(shape, dtype=int) for shape in layer.values())
    n_layers = max(1, round((bytes_a_token(keys, tensors) - vocabulary * dim) / each))
    llama = {
        "block_count": n_layers, "context_length": value("context_length"), "embedding_length": dim,
        "feed_forward_length": hidden, "attention.head_count": heads, "attention.head_count_kv": kv_heads,
        "attention.key_length": head_dim, "attention.value_length": head_dim, "rope.dimension_count": head_dim,
        "rope.freq_base": 10000.0, "attention.layer_norm_rms_epsilon": 1e-5, "vocab_size": vocabulary,
    }
    tensors = {"token_embd.weight": [vocabulary, dim], "output_norm.weight": [dim]}
    for i in range(n_layers):
        tensors |= {f"blk.{i}.{part}.weight": shape for part, shape in layer.items()}
        tensors |= {f"blk.{i}.{part}.weight": [dim] for part in ("attn_norm", "ffn_norm")}
    return {"general.architecture": "llama"} | {f"llama.{key}": value for key, value in llama.items()}, tensors


def add_key(writer, key, value):
    kinds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string, list: writer.add_array}
    if key != "general.architecture":
        kinds[type(value)](key, value)


def add_vocabulary(writer, size):
    """The tokens of the reference model, then as many more as are missing."""
    fields = GGUFReader(VOCABULARY).fields
    tokens, types, merges = (list(fields[f"tokenizer.ggml.{key}"].contents()) for key in ("tokens", "token_type", "merges"))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens + [f"<|pad_{i}|>" for i in range(len(tokens), size)])
    writer.add_token_types(types + [5] * (size - len(tokens)))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)


def q8_0(random, shape):
    """Blocks of 32 random bytes with one scale, such that outputs are of the order of the inputs."""
    blocks = np.empty((*shape[:-1], shape[-1] // 32, 34), np.uint8)
    scale = np.float16(1.2 / (73 * shape[-1] ** 0.5))
    blocks[..., :2] = np.frombuffer(scale.tobytes(), np.uint8)
    blocks[..., 2:] = random.integers(-127, 128, (*shape[:-1], shape[-1] // 32, 32), np.int8).view(np.uint8)
    return blocks.reshape(*shape[:-1], -1)


def write(path, keys, tensors):
    random = np.random.default_rng(1)
    writer = GGUFWriter(path, keys["general.architecture"], use_temp_file=True)
    for key, value in keys.items():
        add_key(writer, key, value)
    writer.add_file_type(7)
    add_vocabulary(writer, tensors["token_embd.weight"][0])
    for name, shape in tensors.items():
        if len(shape) > 1 and shape[-1] % 32 == 0:
            writer.add_tensor(name, q8_0(random, shape), raw_dtype=GGMLQuantizationType.Q8_0)
        elif name.endswith("norm.weight"):
            writer.add_tensor(name, np.ones(shape, np.float32))
        elif name.endswith("ssm_a"):
            writer.add_tensor(name, -np.ones(shape, np.float32))
        else:
            writer.add_tensor(name, random.uniform(-0.5, 0.5, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file(progress=True)
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("out")
    parser.add_argument("--twin", action="store_true", help="the Llama of the same size")
    options = parser.parse_args()
    keys, tensors = tensors_of(options.shape)
    if options.twin:
        keys, tensors = twin_of(keys, tensors)
    elements = bytes_a_token(keys, tensors)
    print(f"{options.shape}{', twin' * options.twin}: {len(tensors)} tensors, {elements / 1e6:.0f} M weights a token", file=sys.stderr)
    write(options.out, keys, tensors)


if __name__ == "__main__":
    main()
