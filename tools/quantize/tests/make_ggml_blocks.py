"""Write ggml_blocks.bin: 512 random weights in every block format and their values as the PyPI package gguf has them.

usage: python make_ggml_blocks.py        needs: pip install gguf numpy
"""
import os

import gguf
import numpy as np

N = 512
# The formats, each with the byte offsets of the f16 values in a block: random bytes there would be NaN or absurd.
FORMATS = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q2_K": [80, 82], "Q3_K": [108],
           "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
           "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": [], "TQ1_0": [52], "TQ2_0": [64]}

random = np.random.default_rng(1)
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "ggml_blocks.bin"), "wb") as out:
    for name, halves in FORMATS.items():
        kind = gguf.GGMLQuantizationType[name]
        length, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = random.integers(0, 256, (N // length, size), dtype=np.uint8)
        for at in halves:
            values = random.normal(0, 0.02, len(blocks)).astype(np.float16)
            blocks[:, at:at + 2] = values.view(np.uint8).reshape(-1, 2)
        data = blocks.reshape(1, -1)
        out.write(data.tobytes())
        out.write(gguf.quants.dequantize(data, kind).astype("<f4").tobytes())
