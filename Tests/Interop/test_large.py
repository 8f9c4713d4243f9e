"""Two layers of Llama 3.1 405B's real shapes in a sparse file: memory stays bounded whatever the size.

Conversions write about 80 GB in all, 40 GB at a time; verifications read 13 GB of model several times: run by `make large` only. LLAMA_LARGE names the folder to work in."""

import json
import os
import random
import shutil
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import torch

LARGE = os.environ.get("LLAMA_LARGE")
pytestmark = pytest.mark.skipif(not LARGE, reason="make large runs it")
DIM, HEADS, KEY_VALUE_HEADS, FEED_FORWARD, LAYERS = 16384, 128, 8, 53248, 2
VOCABULARY = 2048  # that of `tiny`'s tokenizer, not the real one: embedding and head would be 8 GB of copies like others
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


def verify(programs, *arguments):
    """The report, the seconds and the peak resident memory of a verification, in bytes: of this child alone."""
    line = [programs.folder / "llama-verify", "--quiet", "--json", "--threads", "2", *arguments]
    with tempfile.TemporaryFile() as output:
        started = time.monotonic()
        child = subprocess.Popen([str(part) for part in line], stdout=output)
        _, status, usage = os.wait4(child.pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        output.seek(0)
        return json.load(output), time.monotonic() - started, usage.ru_maxrss * 1024


def test_verification_holds_a_layer_and_the_hidden_states(programs, model, tiny, text, folder, figure):
    """Random weights at few places leave every activation finite; the figures that count are memory, bytes and time."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny / name, model / name)
    options = ("--text", text, "--context", "512", "--tokens", str(2 * 511), "--compute", "bf16", "--max-memory", "12GiB")
    tokens, layer = 2 * 512, 2 * (2 * DIM * DIM + 2 * DIM * KEY_VALUE_HEADS * DIM // HEADS + 3 * DIM * FEED_FORWARD)
    matrices = layer // 2 * LAYERS + VOCABULARY * DIM
    for candidates in ((), (model,)):
        report, wall, peak = verify(programs, model, *candidates, *options)
        run, models = report["run"], 1 + len(candidates)
        name = "alone" if models == 1 else "with a candidate"
        hidden = models * tokens * DIM * 4
        # Half a layer is what is held. Scratch: norm and gate, up or down of a chunk, plain and packed, in binary32.
        scratch = tokens * (2 * DIM + 2 * FEED_FORWARD) * 4 + (64 << 20)
        figure(f"{name}: peak memory, MB", peak / 1e6)
        figure(f"{name}: one layer + hidden states + scratch, MB", (layer + hidden + scratch) / 1e6)
        figure(f"{name}: planned, MB", sum(run["planned_memory"].values()) / 1e6)
        figure(f"{name}: bytes read, GB", run["bytes_read"] / 1e9)
        figure(f"{name}: forward pass, seconds per layer and model", run["seconds"] / LAYERS / models)
        figure(f"{name}: digests and the rest, seconds", wall - run["seconds"])
        figure(f"{name}: GFLOP/s sustained", 2 * matrices * tokens * models / run["seconds"] / 1e9)
        assert report["tokens"]["scored"] == 2 * 511 and run["weight_passes"] == 1
        assert peak <= 1.2 * (layer + hidden + scratch) and peak <= 1.2 * sum(run["planned_memory"].values())
        assert peak <= 12 << 30 and abs(peak - run["peak_rss_bytes"]) <= 16 << 20
        # Forward pass and digests read every weight once each; of the embedding the pass needs only rows of the text.
        size = (model / "model.safetensors").stat().st_size
        assert 2 * size - 2 * VOCABULARY * DIM <= run["bytes_read"] / models <= 2 * size + (64 << 20)
        if candidates:
            assert report["perplexity"]["ratio"] == 1 and report["kld"]["max"] == 0
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).unlink()


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
