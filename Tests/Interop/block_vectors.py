"""Writes Tests/Fixtures/ggml/blocks.safetensors: what other programs make of ggml's block types.

- `TYPE.blocks`, random bytes with finite scales, and `TYPE.values`, the gguf package's values of them.
- `TYPE.quantized`: the gguf package's blocks of the rows in `input`, for the types that it can quantize.
- `TYPE.searched` and `TYPE.weighted`: ggml's own blocks of the rows in `search_input`, without and with `column_weights`.

    python block_vectors.py LIBGGML_BASE

takes any build of ggml's base library for x86-64 that does not fuse multiply and add, such as the one in the wheel of
pywhispercpp 1.5.1 (ggml 0.13.1), which made the committed file. Needs: pip install gguf safetensors
"""

import ctypes
import sys
from pathlib import Path

import gguf
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from safetensors.numpy import save_file

TARGET = Path(__file__).resolve().parents[1] / "Fixtures/ggml/blocks.safetensors"
# Offsets of the F16 scales in a block.
SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "IQ4_NL": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ4_XS": [0], "TQ1_0": [52], "TQ2_0": [64], "MXFP4": [], "NVFP4": [],
}  # fmt: skip
QUANTIZED = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4"]
SEARCHED = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "Q4_K", "Q5_K", "Q6_K", "MXFP4", "NVFP4"]


def random_blocks(name: str, random: np.random.Generator) -> np.ndarray:
    elements, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    blocks = random.integers(0, 256, (512 // elements, size), dtype=np.uint8)
    for offset in SCALES[name]:
        scales = random.normal(0, 0.1, len(blocks)).astype("<f2")
        # Subnormal and large ones too.
        scales[0], scales[1] = 3e-7, -60000
        blocks[:, offset : offset + 2] = scales.view(np.uint8).reshape(-1, 2)
    if name == "MXFP4":
        # From the subnormal end to the largest exponent whose values are finite.
        blocks[:, 0] = np.linspace(0, 252, len(blocks)).astype(np.uint8)
    return blocks


def rows(random: np.random.Generator) -> np.ndarray:
    normal = random.normal(size=(8, 64)).astype(np.float32)
    normal[1] *= 0.02
    normal[2] = np.round(normal[2] * 4) / 4
    normal[3] = np.abs(normal[3])
    normal[4] = -np.abs(normal[4]) * 1000
    normal[5] = random.standard_cauchy(64)
    normal[6, 5:] = 0
    normal[7] = 0
    return normal


def search_rows(random: np.random.Generator) -> np.ndarray:
    """Rows with all that a search for scales can meet: zeros, ties, one sign, few elements, sub-blocks apart by 2^40."""
    x = random.normal(size=(9, 768))
    x[1] *= 0.02
    x[2] = random.standard_t(1.5, 768)
    x[3] = np.round(x[3] * 4) / 4
    x[4] = np.where(random.random(768) < 0.04, x[4], 0)
    x[5] = np.abs(x[5])
    x[6] = np.repeat([0.5, -0.37, 0], 256)
    x[7] *= np.repeat(np.exp2(random.integers(-35, 6, 48)), 16)
    x[8] *= 2.0**-21
    return x.astype(np.float32)


class Library:
    """ggml's own quantizers."""

    def __init__(self, path: str) -> None:
        self.call = ctypes.CDLL(path).ggml_quantize_chunk
        self.call.restype = ctypes.c_size_t
        self.call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]

    def quantize(self, name: str, x: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        kind = GGMLQuantizationType[name]
        elements, size = GGML_QUANT_SIZES[kind]
        blocks = np.zeros(x.size // elements * size, np.uint8)
        importance = None if weights is None else weights.ctypes.data
        written = self.call(kind, x.ctypes.data, blocks.ctypes.data, 0, *x.shape, importance)
        assert written == blocks.size, name
        return blocks


def make(library: Library | None = None) -> dict[str, np.ndarray]:
    """All tensors of the file; without ggml's library those that are not its word."""
    random = np.random.default_rng(2026)
    searched = search_rows(random)
    # Columns that never fire have weight 0.
    weights = np.where(random.random(768) < 0.2, 0, random.normal(size=768) ** 2).astype(np.float32)
    tensors = {"input": rows(random), "search_input": searched, "column_weights": weights}
    for name in SCALES:
        kind = GGMLQuantizationType[name]
        blocks = random_blocks(name, random)
        tensors[f"{name}.blocks"] = blocks
        tensors[f"{name}.values"] = gguf.quants.dequantize(blocks, kind).astype(np.float32)
        if name in QUANTIZED:
            tensors[f"{name}.quantized"] = gguf.quants.quantize(tensors["input"], kind)
        if library and name in SEARCHED:
            tensors[f"{name}.searched"] = library.quantize(name, searched)
            tensors[f"{name}.weighted"] = library.quantize(name, searched, weights)
    return tensors


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    TARGET.parent.mkdir(exist_ok=True)
    save_file(make(Library(sys.argv[1])), TARGET)
