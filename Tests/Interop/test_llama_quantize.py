"""Whole files against llama.cpp's quantizer with an importance matrix: every tensor's type and bytes."""

import llama_quantize
import pytest


@pytest.fixture(scope="module")
def matrix(programs, small3, text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("matrix")
    sample = folder / "sample.txt"
    sample.write_text(text.read_text()[:20000])
    path = folder / "imatrix.gguf"
    programs.run("llama-verify", small3, "--text", sample, "--context", 128, "--imatrix", path)
    return path


@pytest.fixture(scope="module")
def plain(programs, small3, tmp_path_factory):
    return programs.convert(small3, tmp_path_factory.mktemp("plain") / "bf16.gguf", "--format", "gguf")


@pytest.mark.parametrize("weighted", [True, False], ids=["weighted", "plain"])
@pytest.mark.parametrize("kind", llama_quantize.FILE_TYPES)
def test_every_tensor_is_llama_quantizes(programs, small3, plain, matrix, tmp_path, kind, weighted):
    theirs = llama_quantize.quantize(plain, tmp_path / "theirs.gguf", kind, matrix=matrix if weighted else None)
    options = ("--imatrix", matrix) if weighted else ()
    # From either form of the input.
    for source in (plain, small3):
        ours = programs.convert(source, tmp_path / f"{source.name}-{kind}.gguf", "--to", kind, *options)
        expected, found = llama_quantize.tensors(theirs), llama_quantize.tensors(ours)
        assert list(found) and found.keys() == expected.keys()
        assert {name: kind for name, (kind, _) in found.items()} == {name: kind for name, (kind, _) in expected.items()}
        assert [name for name in found if found[name][1] != expected[name][1]] == []


def test_the_matrix_matters(plain, matrix, tmp_path):
    """Else the comparison above would prove nothing about it."""
    files = [llama_quantize.quantize(plain, tmp_path / f"{bool(file)}.gguf", "q4_k_m", matrix=file) for file in (matrix, None)]
    weighted, unweighted = map(llama_quantize.tensors, files)
    changed = {name for name in weighted if weighted[name] != unweighted[name]}
    assert changed == {name for name in weighted if name.startswith("blk.") and "norm" not in name}
