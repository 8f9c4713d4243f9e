"""Writes models of real shapes with random weights as Hugging Face directories, without any library.

    python3 models.py SHAPE FOLDER TOKENIZER      TOKENIZER: the model whose tokenizer is taken"""

import array
import json
import pathlib
import random
import shutil
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    dimension: int
    layers: int
    heads: int
    key_value_heads: int
    feed_forward: int
    vocabulary: int
    tied: bool
    positions: int = 8192

    def tensors(self):
        """Name and shape of each tensor, in the order of the file."""
        wide, narrow = self.dimension, self.dimension // self.heads * self.key_value_heads
        yield "model.embed_tokens.weight", (self.vocabulary, wide)
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}."
            yield prefix + "input_layernorm.weight", (wide,)
            yield prefix + "self_attn.q_proj.weight", (wide, wide)
            yield prefix + "self_attn.k_proj.weight", (narrow, wide)
            yield prefix + "self_attn.v_proj.weight", (narrow, wide)
            yield prefix + "self_attn.o_proj.weight", (wide, wide)
            yield prefix + "post_attention_layernorm.weight", (wide,)
            yield prefix + "mlp.gate_proj.weight", (self.feed_forward, wide)
            yield prefix + "mlp.up_proj.weight", (self.feed_forward, wide)
            yield prefix + "mlp.down_proj.weight", (wide, self.feed_forward)
        yield "model.norm.weight", (wide,)
        if not self.tied:
            yield "lm_head.weight", (self.vocabulary, wide)

    @property
    def bytes(self):
        return 2 * sum(elements(shape) for _, shape in self.tensors())


SHAPES = {
    "test": Shape(256, 4, 8, 4, 512, 2048, tied=True, positions=512),
    "160m": Shape(768, 12, 12, 4, 3072, 32000, tied=False),
    "1b": Shape(2048, 16, 32, 8, 8192, 128256, tied=True),
    "8b": Shape(4096, 32, 32, 8, 14336, 128256, tied=False),
}
ONE = b"\x80\x3f"  # in BF16


def elements(shape):
    product = 1
    for size in shape:
        product *= size
    return product


class Normal:
    """BF16 numbers of the normal distribution, as fast as memory is copied.

    They are pieces of one pool, each from a place drawn anew. What repeats is farther away than Deflate looks, and pieces have
    the distribution of their pool: rounding, searching and compressing take the time that they take on numbers drawn one by
    one."""

    def __init__(self, seed=0, deviation=0.02, size=1 << 21, piece=1 << 16):
        self.random = random.Random(seed)
        self.piece = piece
        gauss = self.random.gauss
        bits = array.array("I", array.array("f", (gauss(0, deviation) for _ in range(size))).tobytes())
        self.pool = memoryview(array.array("H", ((b + 0x7FFF + (b >> 16 & 1)) >> 16 for b in bits)).tobytes())
        self.size = size

    def pieces(self, count):
        while count > 0:
            length = min(count, self.piece)
            start = self.random.randrange(self.size - length + 1)
            yield self.pool[2 * start : 2 * (start + length)]
            count -= length


def write_weights(path, shape):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, sizes in shape.tensors():
        end = offset + 2 * elements(sizes)
        header[name] = {"dtype": "BF16", "shape": sizes, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    normal = Normal()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, sizes in shape.tensors():
            if len(sizes) == 1:
                file.write(ONE * sizes[0])
            else:
                file.writelines(normal.pieces(elements(sizes)))


def write_model(folder, shape, tokenizer):
    """The tokenizer may be of fewer tokens than `shape.vocabulary`."""
    folder.mkdir(parents=True)
    theirs = json.loads((tokenizer / "config.json").read_text())
    configuration = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.dimension,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads,
        "head_dim": shape.dimension // shape.heads,
        "intermediate_size": shape.feed_forward,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.tied,
        "max_position_embeddings": shape.positions,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": "bfloat16",
        "bos_token_id": theirs["bos_token_id"],
        "eos_token_id": theirs["eos_token_id"],
    }
    (folder / "config.json").write_text(json.dumps(configuration, indent=2) + "\n")
    for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json"):
        shutil.copyfile(tokenizer / name, folder / name)
    write_weights(folder / "model.safetensors", shape)


if __name__ == "__main__":
    name, folder, tokenizer = sys.argv[1:]
    write_model(pathlib.Path(folder), SHAPES[name], pathlib.Path(tokenizer))
