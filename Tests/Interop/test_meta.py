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


def test_fp8_shards_are_what_metas_rule_gives(programs, tiny, tmp_path):
    """Each rank's rows of its own shard: scale = max(amax / 448, 1 / (448 * 512)), codes rounded once; torch's casts."""
    folder = programs.convert(tiny, tmp_path / "fp8", "--format", "pth", "--tp", 2, "--to", "fp8-meta")
    plain = programs.convert(tiny, tmp_path / "plain", "--format", "pth", "--tp", 2)
    for rank in (0, 1):
        codes = torch.load(folder / f"consolidated.0{rank}.pth", weights_only=True, mmap=True)
        scales = torch.load(folder / f"fp8_scales_{rank}.pt", weights_only=True, mmap=True)
        weights = torch.load(plain / f"consolidated.0{rank}.pth", weights_only=True, mmap=True)
        assert codes.keys() == weights.keys() and len(scales) == 6
        for name, weight in weights.items():
            layer, short = int(name.split(".")[1]) if name.startswith("layers.") else -1, name.split(".")[-2]
            if layer not in (1, 2) or short not in ("w1", "w2", "w3"):
                assert torch.equal(codes[name], weight)
                continue
            scale = torch.clamp(weight.float().abs().amax(1) / 448, min=1 / (448 * 512))
            assert torch.equal(scales[f"{layer}_feed_forward.{short}_{rank}"], scale)
            expected = (weight.float() / scale[:, None]).clamp(-448, 448).to(torch.float8_e4m3fn)
            assert codes[name].dtype == torch.float8_e4m3fn
            assert torch.equal(codes[name].view(torch.uint8), expected.view(torch.uint8))


def test_int4_codes_and_scales_are_torchaos(programs, tiny, tmp_path):
    folder = programs.convert(tiny, tmp_path / "int4", "--to", "int4-meta", "--tp", 2)
    plain = programs.convert(tiny, tmp_path / "plain", "--format", "pth", "--tp", 2)
    for rank in (0, 1):
        codes = torch.load(folder / f"consolidated.0{rank}.pth", weights_only=True, mmap=True)
        weights = torch.load(plain / f"consolidated.0{rank}.pth", weights_only=True, mmap=True)
        for name, weight in weights.items():
            if weight.dim() == 1:
                assert torch.equal(codes[name], weight)
                continue
            size = 32 if name.startswith("layers.") else weight.shape[1]
            half, low, high = (7.5, -8, 7) if size == 32 else (127, -128, 127)
            groups = weight.float().view(weight.shape[0], -1, size)
            scale = (groups.abs().amax(-1) / half).clamp(min=torch.finfo(torch.float32).eps)
            assert torch.equal(codes[name.replace(".weight", ".scales")], scale)
            expected = (groups / scale[..., None]).round().clamp(low, high).to(torch.int8).view_as(weight)
            assert torch.equal(codes[name], expected)


def rotated(x):
    """Meta's online rotation: butterflies of neighbours, sums before differences, halved in each pass."""
    for _ in range(x.shape[-1].bit_length() - 1):
        pairs = x.view(*x.shape[:-1], -1, 2)
        tops, bottoms = pairs[..., 0] + pairs[..., 1], pairs[..., 0] - pairs[..., 1]
        x = torch.cat([tops, bottoms], -1) / 2**0.5
    return x


def test_spinquant_is_folded_into_w2(programs, tiny, tmp_path):
    """w2 of the input that Meta's code rotates equals our w2 of the input as it is."""
    int4 = programs.convert(tiny, tmp_path / "int4", "--to", "int4-meta")
    parameters = json.loads((int4 / "params.json").read_text())
    parameters["quantization_args"]["spinquant"] = True
    (int4 / "params.json").write_text(json.dumps(parameters))
    for sums in ("checklist.chk", "SHA256SUMS"):
        (int4 / sums).unlink()
    hf = load_file(programs.convert(int4, tmp_path / "hf", "--to", "f32", "--format", "safetensors") / "model.safetensors")
    codes = torch.load(int4 / "consolidated.00.pth", weights_only=True)
    x = torch.randn(16, 512, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    for layer in range(4):
        name = f"layers.{layer}.feed_forward.w2"
        weight = codes[name + ".weight"].double() * codes[name + ".scales"].double().repeat_interleave(32, 1)
        expected = rotated(x) @ weight.T
        found = x @ hf[f"model.layers.{layer}.mlp.down_proj.weight"].double().T
        # Nine additions and a product in float32 against float64.
        assert (found - expected).abs().max() < 1e-5 * expected.abs().max()
