"""Meta checkpoints that we write: in torch's hands, and through a forward pass of Meta's kind written down once more."""

import json

import numpy
import pytest
import reference
import torch
from conftest import FIXTURES
from safetensors.torch import load_file

ROWS, COLUMNS = 0, 1
# tensor -> dimension that the shards are joined along; norms are the same in all.
JOINED = {
    "tok_embeddings": ROWS, "output": ROWS, "attention.wq": ROWS, "attention.wk": ROWS, "attention.wv": ROWS,
    "attention.wo": COLUMNS, "feed_forward.w1": ROWS, "feed_forward.w3": ROWS, "feed_forward.w2": COLUMNS,
}
# Float32 on both sides, logits of order 10: seen 2e-5.
LOGIT = 2e-4


@pytest.fixture(scope="session", params=[1, 2, 4, 8])
def ranks(request):
    return request.param


@pytest.fixture(scope="session")
def meta(programs, tiny, tmp_path_factory, ranks):
    output = tmp_path_factory.mktemp("meta") / f"mp{ranks}"
    return programs.convert(tiny, output, "--format", "pth", "--tp", ranks)


def merged(folder, heads, key_value_heads):
    """The whole tensors, joined by hand; every second head where heads are stored twice."""
    files = sorted(folder.glob("consolidated.*.pth"))
    shards = [torch.load(file, weights_only=True, mmap=True) for file in files]
    whole = {}
    for name in shards[0]:
        kind = name.removesuffix(".weight").split(".", 2)[-1] if name.startswith("layers.") else name.split(".")[0]
        parts = [shard[name] for shard in shards]
        if kind not in JOINED:
            assert all(torch.equal(parts[0], part) for part in parts)
            whole[name] = parts[0]
            continue
        copies = max(1, len(parts) // key_value_heads) if kind in ("attention.wk", "attention.wv") else 1
        for start in range(0, len(parts), copies):
            assert all(torch.equal(parts[start], part) for part in parts[start : start + copies])
        whole[name] = torch.cat(parts[::copies], dim=JOINED[kind])
    return whole


def forward(weights, parameters, ids, key_value_heads, frequencies):
    """Meta's forward pass in float32: rotary embedding on neighbouring pairs, grouped-query attention, SwiGLU."""
    w = {name: tensor.float() for name, tensor in weights.items()}
    heads, epsilon = parameters["n_heads"], parameters["norm_eps"]
    width = parameters["dim"] // heads
    turn = torch.polar(torch.ones(len(ids), width // 2), torch.outer(torch.arange(len(ids)).float(), frequencies))

    def norm(x, weight):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon) * weight

    def rotate(x):
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * turn[:, None]).flatten(-2)

    mask = torch.full((len(ids), len(ids)), float("-inf")).triu(1)
    h = w["tok_embeddings.weight"][torch.tensor(ids)]
    for layer in range(parameters["n_layers"]):
        p = f"layers.{layer}."
        x = norm(h, w[p + "attention_norm.weight"])
        q = rotate((x @ w[p + "attention.wq.weight"].T).view(len(ids), heads, width))
        k = rotate((x @ w[p + "attention.wk.weight"].T).view(len(ids), key_value_heads, width))
        v = (x @ w[p + "attention.wv.weight"].T).view(len(ids), key_value_heads, width)
        k, v = (t.repeat_interleave(heads // key_value_heads, dim=1) for t in (k, v))
        scores = torch.einsum("thd,shd->hts", q, k) / width**0.5 + mask
        h = h + torch.einsum("hts,shd->thd", scores.softmax(-1), v).reshape(len(ids), -1) @ w[p + "attention.wo.weight"].T
        x = norm(h, w[p + "ffn_norm.weight"])
        gate = torch.nn.functional.silu(x @ w[p + "feed_forward.w1.weight"].T)
        h = h + (gate * (x @ w[p + "feed_forward.w3.weight"].T)) @ w[p + "feed_forward.w2.weight"].T
    return (norm(h, w["norm.weight"]) @ w["output.weight"].T).numpy()


def test_forward_pass_of_shards_gives_transformers_logits(meta, tiny, ranks, figure):
    config = json.loads((tiny / "config.json").read_text())
    parameters = json.loads((meta / "params.json").read_text())
    heads, key_value_heads = config["num_attention_heads"], config["num_key_value_heads"]
    assert parameters.get("n_kv_heads", heads) == max(key_value_heads, ranks)
    model = reference.load(tiny)
    ids = [(7 * i * i + 3 * i) % 1700 for i in range(64)]
    with torch.inference_mode():
        expected = model(torch.tensor([ids])).logits[0].numpy()
        frequencies = model.model.rotary_emb.inv_freq.float()
        logits = forward(merged(meta, heads, key_value_heads), parameters, ids, key_value_heads, frequencies)
    figure("max |Δ| of logits", numpy.abs(logits - expected).max())
    assert numpy.abs(logits - expected).max() < LOGIT


def test_tied_head_is_the_embedding(meta):
    for file in meta.glob("consolidated.*.pth"):
        tensors = torch.load(file, weights_only=True, mmap=True)
        assert tensors["output.weight"].data_ptr() == tensors["tok_embeddings.weight"].data_ptr()


def test_shards_become_a_directory_that_transformers_loads(programs, meta, tiny, tmp_path):
    back = programs.convert(meta, tmp_path / "hf", "--format", "safetensors")
    ours, theirs = reference.load(back).state_dict(), reference.load(tiny).state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_metas_fp8_is_dequantized_exactly(programs, tmp_path):
    """Each shard's codes times its own scales, joined: rounded once to float32."""
    source = FIXTURES / "tiny_meta/fp8_mp2"
    hf = load_file(programs.convert(source, tmp_path / "hf", "--to", "f32", "--format", "safetensors") / "model.safetensors")
    shards = [torch.load(source / f"consolidated.0{rank}.pth", weights_only=True) for rank in (0, 1)]
    scales = [torch.load(source / f"fp8_scales_{rank}.pt", weights_only=True) for rank in (0, 1)]
    names = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
    for layer in (1, 2):
        for short, name in names.items():
            parts = [
                shards[rank][f"layers.{layer}.feed_forward.{short}.weight"].float()
                * scales[rank][f"{layer}_feed_forward.{short}_{rank}"][:, None]
                for rank in (0, 1)
            ]
            whole = torch.cat(parts, dim=1 if short == "w2" else 0)
            assert torch.equal(hf[f"model.layers.{layer}.mlp.{name}.weight"], whole)
