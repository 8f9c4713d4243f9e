"""Two layers of Llama 3.1 405B's real shapes in a sparse file: memory stays bounded whatever the size.

Writes about 80 GB in all, 40 GB at a time: run by `make large` only. LLAMA_LARGE names the folder to work in."""

import json
import os
import random
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
import torch

LARGE = os.environ.get("LLAMA_LARGE")
pytestmark = pytest.mark.skipif(not LARGE, reason="make large runs it")
DIM, HEADS, KEY_VALUE_HEADS, FEED_FORWARD, LAYERS = 16384, 128, 8, 53248, 2
VOCABULARY = 1024  # not the real one: embedding and head would be 8 GB of copies like any others
LIMIT = 512 << 20
CONFIG = dict(
    architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=DIM, num_hidden_layers=LAYERS,
    num_attention_heads=HEADS, num_key_value_heads=KEY_VALUE_HEADS, intermediate_size=FEED_FORWARD,
    vocab_size=VOCABULARY, rms_norm_eps=1e-5, rope_theta=500000.0, max_position_embeddings=131072,
    tie_word_embeddings=False, torch_dtype="bfloat16", hidden_act="silu", head_dim=DIM // HEADS, bos_token_id=1,
    eos_token_id=2, attention_bias=False, mlp_bias=False,
    rope_scaling=dict(
        rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
        original_max_position_embeddings=8192,
    ),
)


def shapes():
    yield "model.embed_tokens.weight", [VOCABULARY, DIM]
    for layer in range(LAYERS):
        p = f"model.layers.{layer}."
        for name in ("q", "o"):
            yield p + f"self_attn.{name}_proj.weight", [DIM, DIM]
        for name in ("k", "v"):
            yield p + f"self_attn.{name}_proj.weight", [KEY_VALUE_HEADS * DIM // HEADS, DIM]
        for name in ("gate", "up"):
            yield p + f"mlp.{name}_proj.weight", [FEED_FORWARD, DIM]
        yield p + "mlp.down_proj.weight", [DIM, FEED_FORWARD]
        yield p + "input_layernorm.weight", [DIM]
        yield p + "post_attention_layernorm.weight", [DIM]
    yield "model.norm.weight", [DIM]
    yield "lm_head.weight", [VOCABULARY, DIM]


@pytest.fixture(scope="module")
def folder():
    path = Path(LARGE) / "large-test"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def model(folder):
    """Zeros, which take no place, but for 4 KiB of random weights at 200 places."""
    path = folder / "hf"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(CONFIG))
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes():
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = random.Random(7)
    with open(path / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
        for _ in range(200):
            file.seek(8 + len(text) + 2 * generator.randrange(end // 2 - 2048))
            file.write(b"".join(struct.pack("<H", generator.randrange(0x3F80)) for _ in range(2048)))
    return path


def convert(programs, source, output, *options):
    """Peak resident memory of the conversion, in bytes: of this child alone."""
    line = [programs.folder / "llama-convert", "--quiet", "--no-file-sums", "--threads", "2", *options, source, output]
    child = subprocess.Popen([str(part) for part in line], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return usage.ru_maxrss * 1024


def digest(programs, path):
    return json.loads(programs.run("llama-convert", "digest", "--json", path).stdout)["model"]


def test_405b_shapes_through_8_and_16_shards(programs, model, folder, figure):
    expected = digest(programs, model)
    for source, name, options in [
        (model, "mp8", ("--format", "pth", "--tp", "8")),
        (folder / "mp8", "mp16", ("--tp", "16")),
        (folder / "mp16", "back", ("--format", "safetensors")),
    ]:
        peak = convert(programs, source, folder / name, *options)
        figure(f"peak memory to {name}, MB", peak / 1e6)
        assert peak <= LIMIT
        assert digest(programs, folder / name) == expected
        shards = sorted((folder / name).glob("consolidated.*.pth"))
        if name == "mp16":
            heads = torch.load(shards[5], weights_only=True, mmap=True)["layers.1.attention.wk.weight"]
            assert len(shards) == 16 and list(heads.shape) == [DIM // HEADS, DIM]
            assert json.loads((folder / name / "params.json").read_text())["n_kv_heads"] == 16
        if source != model:
            shutil.rmtree(source)
