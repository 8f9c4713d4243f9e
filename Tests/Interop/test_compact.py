"""Compact files that llama-convert writes, read by formats/compact.md alone, and in the hands of gguf and llama.cpp."""

import json
import subprocess
import sys

import gguf
import llama_cpp
import numpy
import pytest
from compact_page import read, values
from safetensors import safe_open

NAMES = {
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def hf_name(name):
    if name.startswith("blk."):
        _, layer, module, last = name.split(".")
        return f"model.layers.{layer}.{NAMES[module]}.{last}"
    ends = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    module, last = name.split(".")
    return f"{ends[module]}.{last}"


def stored(path):
    """Name → bytes of every tensor of a safetensors file."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    return {
        name: (entry["dtype"], entry["shape"], data[8 + size + entry["data_offsets"][0] : 8 + size + entry["data_offsets"][1]])
        for name, entry in header.items()
    }


def pairs(data, heads):
    """Rows of queries and keys from halves to pairs."""
    rows = data.reshape(heads, 2, -1, data.shape[-1])
    return numpy.ascontiguousarray(rows.swapaxes(1, 2)).reshape(-1)


@pytest.mark.parametrize("compress", [(), ("--compress",)])
@pytest.mark.parametrize("kind", [(), ("--to", "fp8"), ("--to", "fp8-fbgemm")])
def test_the_page_is_enough_to_read_them(programs, tiny, tmp_path, kind, compress):
    directory = programs.convert(tiny, tmp_path / "hf", *kind, "--format", "safetensors")
    path = programs.convert(tiny, tmp_path / "x.gguf", *kind, "--format", "compact", *compress)
    found, reader = read(path)
    expected = stored(directory / "model.safetensors")
    config = json.loads((directory / "config.json").read_text())
    weights = {hf_name(name): name for name in found if not name.startswith("files/")}
    assert weights.keys() == expected.keys()
    for name, (dtype, shape, data) in expected.items():
        own = found[weights[name]]
        assert (own[0], own[1]) == (dtype, shape), name
        data = numpy.frombuffer(data, numpy.uint8)
        heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(name.split(".")[-2])
        if heads:
            data = pairs(data.reshape(shape[0], -1), config[heads])
        assert numpy.array_equal(own[3], data), name
    assert json.loads(values(reader, "compact.config")) == config
    for file in ("tokenizer.json", "tokenizer.model", "generation_config.json"):
        assert found["files/" + file][3].tobytes() == (tiny / file).read_bytes()
    encodings = {entry[2] for name, entry in found.items() if len(entry[1]) == 2 and not name.endswith("_scale")}
    assert encodings == ({"planes"} if compress else {"plain"})


def test_scales_are_described(programs, tiny, tmp_path):
    path = programs.convert(tiny, tmp_path / "x.gguf", "--to", "fp8", "--format", "compact")
    found, reader = read(path)
    names = values(reader, "compact.quantized.names")
    assert sorted(names) == sorted(name for name, entry in found.items() if entry[0] == "F8_E4M3")
    assert set(values(reader, "compact.quantized.schemes")) == {"row"}
    assert set(values(reader, "compact.quantized.activations")) == {"fp8 token"}
    assert all(found[name + "_scale"][:2] == ("BF16", [found[name][1][0], 1]) for name in names)


def test_int4_takes_half_a_byte(programs, tiny, tmp_path):
    path = programs.convert(tiny, tmp_path / "x.gguf", "--to", "int4-meta", "--format", "compact")
    found, reader = read(path)
    name = "blk.0.ffn_up.weight"
    kind, shape, encoding, data = found[name]
    assert (kind, encoding) == ("I8", "int4") and data.view(numpy.int8).min() >= -8 and data.view(numpy.int8).max() <= 7
    tensor = next(tensor for tensor in reader.tensors if tensor.name == name)
    assert tensor.n_bytes * 2 == shape[0] * shape[1]
    # Codes times scales against the weights: half a step of A / 7.5 at most.
    scales = found[name + "_scale"][3].view("<f4").reshape(shape[0], -1)
    with safe_open(tiny / "model.safetensors", "pt") as file:
        weights = file.get_tensor(hf_name(name)).float().numpy()
    off = numpy.abs(data.view(numpy.int8).reshape(shape[0], -1, 32) * scales[:, :, None] - weights.reshape(shape[0], -1, 32))
    assert (off <= scales[:, :, None] * 0.5001).all()


def test_trained_weights_shrink_to_two_thirds(programs, tiny, small3, tmp_path, figure):
    for model in (tiny, small3):
        path = programs.convert(model, tmp_path / f"{model.name}.gguf", "--format", "compact", "--compress")
        weights = {tensor.name: tensor.n_bytes for tensor in gguf.GGUFReader(path).tensors if not tensor.name.startswith("files/")}
        ratio = sum(weights.values()) / sum(len(data) for _, _, data in stored(model / "model.safetensors").values())
        figure(f"{model.name}: size / BF16's", ratio)
        assert ratio <= 0.70  # the goal


def test_llama_cpp_refuses_by_name(programs, tiny, tmp_path):
    """And does not crash: it runs in a process of its own."""
    path = programs.convert(tiny, tmp_path / "x.gguf", "--format", "compact", "--compress")
    code = f"import llama_cpp\ntry:\n  llama_cpp.Llama({str(path)!r}, verbose=True)\nexcept ValueError as e:\n  print('refused', e)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "refused" in done.stdout
    assert "unknown model architecture: 'llama-compact'" in done.stderr
    assert llama_cpp.__version__


def test_scores_are_the_models(programs, tiny, text, tmp_path):
    """Verified directly, against the directory that it came from: exactly the same model."""
    sample = tmp_path / "sample.txt"
    sample.write_text(text.read_text()[:4000])
    fp8 = programs.convert(tiny, tmp_path / "fp8", "--to", "fp8")
    path = programs.convert(fp8, tmp_path / "fp8.gguf", "--format", "compact", "--compress")
    done = programs.run("llama-verify", fp8, path, "--text", sample, "--context", 128, "--json", expected=(0, 1, 2))
    report = json.loads(done.stdout)
    assert report["perplexity"]["ratio"] == 1 and report["kld"]["max"] == 0
    assert report["candidate"]["layout"] == "compact" and report["base"]["digest"] == report["candidate"]["digest"]


@pytest.mark.parametrize("place", ["compressed", "file", "config"])
def test_damage_is_named(programs, tiny, tmp_path, place):
    path = programs.convert(tiny, tmp_path / "x.gguf", "--format", "compact", "--compress")
    reader = gguf.GGUFReader(path)
    name = {"compressed": "blk.1.ffn_up.weight", "file": "files/tokenizer.json", "config": None}[place]
    if name:
        tensor = next(tensor for tensor in reader.tensors if tensor.name == name)
        at = tensor.data_offset + tensor.n_bytes // 2
    else:
        at = path.read_bytes().index(b'"hidden_size"') + 3
    data = bytearray(path.read_bytes())
    data[at] ^= 0x20
    path.write_bytes(data)
    done = programs.run("llama-convert", "--format", "safetensors", path, tmp_path / "out", expected=(65,))
    assert (name or "compact.config") in done.stderr and str(path) in done.stderr
    assert not (tmp_path / "out").exists()
