"""Importance matrices that llama-verify collects, against transformers' activations, and what they do to blocks."""

import gguf
import numpy
import pytest
import reference
import torch

CONTEXT = 64


@pytest.fixture(scope="module")
def sample(text, tmp_path_factory):
    path = tmp_path_factory.mktemp("imatrix") / "sample.txt"
    path.write_text(text.read_text()[:3000])
    return path


@pytest.fixture(scope="module")
def matrix(programs, tiny, sample):
    path = sample.parent / "imatrix.gguf"
    programs.run("llama-verify", tiny, "--text", sample, "--context", CONTEXT, "--imatrix", path)
    return path


def test_sums_are_those_of_transformers_activations(programs, tiny, sample, matrix, figure):
    ids = programs.tokenize(tiny, [sample.read_text()])[0]
    model = reference.load(tiny)
    begin = model.config.bos_token_id
    windows = [[begin, *ids[start : start + CONTEXT - 1]] for start in range(0, len(ids), CONTEXT - 1)]
    names = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    }
    sums = {}

    def hook(name):
        def add(module, inputs):
            squares = inputs[0].double().square().sum((0, 1)).numpy()
            sums[name] = sums.get(name, 0) + squares

        return add

    for layer, block in enumerate(model.model.layers):
        for hf, name in names.items():
            block.get_submodule(hf).register_forward_pre_hook(hook(f"blk.{layer}.{name}.weight"))
    with torch.inference_mode():
        for window in windows:
            model(torch.tensor([window]))
    reader = gguf.GGUFReader(matrix)
    found = {tensor.name: tensor.data for tensor in reader.tensors}
    assert len(found) == 2 * len(sums) == 56
    worst = 0
    for name, expected in sums.items():
        assert found[name + ".counts"].tolist() == [sum(map(len, windows))]
        worst = max(worst, numpy.abs(found[name + ".in_sum2"] / expected - 1).max())
    figure("largest relative difference", worst)
    # Sums of squares of float32 activations that differ by about 1e-6 of each other's size.
    assert worst < 1e-3
    assert reader.fields["general.type"].contents() == "imatrix"
    assert reader.fields["imatrix.chunk_count"].contents() == len(windows)
    assert reader.fields["imatrix.chunk_size"].contents() == CONTEXT


def test_both_forms_give_the_same_file(programs, tiny, matrix, tmp_path):
    """The form before 2025: counts, names, calls, values."""
    found = {tensor.name: tensor.data for tensor in gguf.GGUFReader(matrix).tensors}
    names = [name.removesuffix(".counts") for name in found if name.endswith(".counts")]
    data = numpy.int32(len(names)).tobytes()
    for name in names:
        values = found[name + ".in_sum2"].astype("<f4")
        data += numpy.int32(len(name)).tobytes() + name.encode()
        data += numpy.int32(found[name + ".counts"][0]).tobytes() + numpy.int32(len(values)).tobytes() + values.tobytes()
    old = tmp_path / "imatrix.dat"
    old.write_bytes(data + numpy.int32(1).tobytes() + numpy.int32(3).tobytes() + b"abc")
    contents = []
    for number, file in enumerate((matrix, old, None)):
        options = ("--imatrix", file) if file else ()
        path = programs.convert(tiny, tmp_path / f"{number}.gguf", "--to", "q4_k_m", *options)
        contents.append({tensor.name: tensor.data.tobytes() for tensor in gguf.GGUFReader(path).tensors})
    assert contents[0] == contents[1]
    changed = {name for name in contents[0] if contents[0][name] != contents[2][name]}
    assert changed == {name for name in contents[0] if name.startswith("blk.") and "norm" not in name}


@pytest.mark.parametrize("cut", [0, 3, 4, 40, 2000, -1])
def test_damaged_files_are_refused(programs, tiny, matrix, tmp_path, cut):
    bad = tmp_path / "bad"
    bad.write_bytes(matrix.read_bytes()[:cut])
    programs.run("llama-convert", "--to", "q4_0", "--imatrix", bad, tiny, tmp_path / "x.gguf", expected=(65,))


def test_another_models_matrix_is_refused(programs, matrix, small3, tmp_path):
    done = programs.run("llama-convert", "--to", "q4_0", "--imatrix", matrix, small3, tmp_path / "x.gguf", expected=(64,))
    assert "columns" in done.stderr
