"""Writes Tests/Fixtures/ggml/blocks.safetensors: the gguf package's own results for ggml's block types.

For each type that the package can dequantize and that our tables cover: `TYPE.blocks` (random bytes with finite scales)
and `TYPE.values` (what it makes of them). For each type that it can quantize: `TYPE.quantized`, the bytes that it makes
of the rows in `input`. Needs: pip install gguf safetensors
"""

from pathlib import Path

import gguf
import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from safetensors.numpy import save_file

# Offsets of the F16 scales in a block.
SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "IQ4_NL": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ4_XS": [0], "TQ1_0": [52], "TQ2_0": [64], "MXFP4": [], "NVFP4": [],
}  # fmt: skip
QUANTIZED = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4"]


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


def main() -> None:
    random = np.random.default_rng(2026)
    tensors = {"input": rows(random)}
    for name in SCALES:
        kind = GGMLQuantizationType[name]
        blocks = random_blocks(name, random)
        tensors[f"{name}.blocks"] = blocks
        tensors[f"{name}.values"] = gguf.quants.dequantize(blocks, kind).astype(np.float32)
        if name in QUANTIZED:
            tensors[f"{name}.quantized"] = gguf.quants.quantize(tensors["input"], kind)
    folder = Path(__file__).parents[1] / "Fixtures" / "ggml"
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "blocks.safetensors")


if __name__ == "__main__":
    main()
