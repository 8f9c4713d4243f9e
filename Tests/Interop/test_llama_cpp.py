"""GGUF files that llama-convert writes, run by llama.cpp (llama-cpp-python, built from its source package)."""

import llama_cpp
import numpy
import pytest


IDS = [3840] + [(7 * i * i + 3 * i) % 3800 for i in range(63)]
# ‖Δ‖ / ‖logits‖. F32: two orders of summation, and RoPE's powers by repeated multiplication: seen 1e-4. BF16: llama.cpp
# rounds what it multiplies to BF16, 2⁻⁹ each: seen 7e-4. The others: it rounds activations to 8 bits in blocks of 32 or 256:
# seen 2.5e-3 and 4e-3, where the weights' own rounding moves logits by 1e-2 and more.
BOUNDS = {"f32": 3e-4, "bf16": 1.5e-3, "q8_0": 8e-3, "q4_k_m": 1.2e-2}


@pytest.fixture(scope="module")
def files(programs, small3, tmp_path_factory):
    made = {}

    def convert(kind):
        if kind not in made:
            path = tmp_path_factory.mktemp("llama_cpp") / f"{kind}.gguf"
            made[kind] = programs.convert(small3, path, "--to", kind, "--format", "gguf")
        return made[kind]

    return convert


@pytest.mark.parametrize("kind", BOUNDS)
def test_logits(programs, files, figure, kind):
    model = llama_cpp.Llama(str(files(kind)), logits_all=True, n_ctx=128, n_batch=128, n_threads=2, verbose=False)
    model.eval(IDS)
    theirs = numpy.array(model.scores[: len(IDS)], dtype=numpy.float64)
    ours = programs.logits(files(kind), IDS)
    off = numpy.linalg.norm(ours - theirs) / numpy.linalg.norm(theirs)
    figure("‖Δ‖/‖logits‖", off)
    assert off < BOUNDS[kind]


def test_ids(programs, files, text):
    model = llama_cpp.Llama(str(files("bf16")), vocab_only=True, verbose=False)
    strings = [text.read_text(), "  two\tspaces\n\n\n123456 Ünïcödé 漢字 🎉 'S 'll", "a" * 300, "\r\n \r\n"]
    for string, ids in zip(strings, programs.tokenize(files("bf16"), strings)):
        assert model.tokenize(string.encode(), add_bos=False, special=False) == ids


def test_fp8_and_int4_have_no_place_in_a_gguf(programs, small3, tmp_path):
    """Refused in words; made plain, they run."""
    fp8 = programs.convert(small3, tmp_path / "fp8", "--to", "fp8")
    programs.run("llama-convert", "--format", "gguf", fp8, tmp_path / "x.gguf", expected=(64,))
    plain = programs.convert(fp8, tmp_path / "plain.gguf", "--to", "bf16", "--format", "gguf")
    model = llama_cpp.Llama(str(plain), n_ctx=64, verbose=False)
    model.eval(IDS[:8])
