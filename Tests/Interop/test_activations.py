"""Emulated activations against compressed-tensors' fake quantization in transformers, on models that its own code makes."""

import json
import re

import numpy
import pytest
import reference
import torch
from compressed_tensors.compressors.base import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams
from conftest import FIXTURES
from safetensors.torch import save_file

from test_forward import LOGIT
from test_fp8 import ids  # noqa: F401, a fixture
from test_safetensors import load

FP8 = {"num_bits": 8, "type": "float", "symmetric": True}
INT8 = {"num_bits": 8, "type": "int", "symmetric": True}
# As llm-compressor's schemes FP8, FP8_BLOCK and INT8 (W8A8) have them.
SCHEMES = {
    "static": (
        {**FP8, "strategy": "tensor", "dynamic": False},
        {**FP8, "strategy": "tensor", "dynamic": False},
        "float-quantized",
    ),
    "block": (
        {**FP8, "strategy": "block", "block_structure": [128, 128], "dynamic": False},
        {**FP8, "strategy": "group", "group_size": 128, "dynamic": True},
        "float-quantized",
    ),
    "int8": (
        {**INT8, "strategy": "channel", "dynamic": False},
        {**INT8, "strategy": "token", "dynamic": True},
        "int-quantized",
    ),
}
EMULATION = {"static": "activations=fp8", "block": "activations=fp8", "int8": "activations=int8"}
# Each pattern with the share of tokens that must have a float32 forward pass's logits.
EXACT = [(r"re:.*layers\.3\.mlp\.", 0.9), (r"re:.*layers\.3\.", 0.5)]


def extremes(weight, arguments):
    """Least and largest weight that a scale is for, in the shape of the scales."""
    if arguments.strategy == "tensor":
        return weight.amin().reshape(1), weight.amax().reshape(1)
    if arguments.strategy == "channel":
        return weight.amin(1, keepdim=True), weight.amax(1, keepdim=True)
    height, width = arguments.block_structure
    blocks = weight.unflatten(1, (-1, width)).unflatten(0, (-1, height))
    return blocks.amin((1, 3)), blocks.amax((1, 3))


def largest_inputs(model, modules, ids):
    """Largest magnitude of what each module is given."""
    largest = {}

    def note(name):
        return lambda _, inputs: largest.__setitem__(name, inputs[0].abs().max())

    handles = [model.get_submodule(name).register_forward_pre_hook(note(name)) for name in modules]
    reference.logits(model, ids)
    for handle in handles:
        handle.remove()
    return largest


def make(source, folder, kind, pattern, ids):
    """`source` with the modules of the pattern quantized by the library, stored as llm-compressor stores it."""
    weights, activations, layout = SCHEMES[kind]
    scheme = QuantizationScheme(
        targets=[pattern], weights=QuantizationArgs(**weights), input_activations=QuantizationArgs(**activations),
        format=layout)
    compressor = BaseCompressor.get_value_from_registry(layout)
    tensors = load(source)
    names = [name.removesuffix(".weight") for name in tensors if name.endswith("_proj.weight")]
    modules = [name for name in names if re.match(pattern.removeprefix("re:"), name)]
    model = reference.load(source, torch.bfloat16)
    inputs = largest_inputs(model, modules, ids)
    for module in modules:
        weight = tensors[f"{module}.weight"]
        scale, _ = calculate_qparams(*extremes(weight, scheme.weights), scheme.weights)
        state = compressor.compress({"weight": weight, "weight_scale": scale}, scheme)
        tensors |= {f"{module}.{part}": value for part, value in state.items()}
        if kind == "static":
            # Less than the text has, so that something is saturated.
            tensors[f"{module}.input_scale"] = (0.6 * inputs[module] / 448).to(torch.bfloat16).reshape(1)
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    for file in source.iterdir():
        if file.name.startswith(("tokenizer", "special", "generation")):
            (folder / file.name).symlink_to(file.resolve())
    config = json.loads((source / "config.json").read_text())
    group = {
        "targets": [pattern], "weights": weights, "input_activations": activations, "output_activations": None,
        "format": layout}
    config["quantization_config"] = {
        "quant_method": "compressed-tensors", "format": layout, "quantization_status": "compressed",
        "config_groups": {"group_0": group}, "ignore": ["lm_head"], "kv_cache_scheme": None}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("pattern, share", EXACT, ids=["feed-forward", "layer"])
@pytest.mark.parametrize("kind", SCHEMES)
def test_emulated_activations_equal_compressed_tensors(
    programs, tiny, ids, figure, tmp_path, kind, pattern, share  # noqa: F811
):
    """Exact where rounding noise cannot grow: in the last layer. When float32 noise carries a value over a boundary
    between two codes, its own token changes, and through keys and values a little the later ones; hence the shares.
    Products in float32, the same bits on every machine: on tiles of BF16 there is ten times as much noise."""
    folder = make(tiny, tmp_path / "model", kind, pattern, ids)
    model = reference.load(folder)
    theirs = reference.logits(model, ids)
    options = ("--instruction-set", "scalar", "--emulate", EMULATION[kind])
    difference = numpy.abs(programs.logits(folder, ids, *options) - theirs).max(axis=1)
    plain = programs.logits(folder, ids)
    weight_only = numpy.abs(plain - theirs).max(axis=1)
    figure("median of max |Δ| per token", numpy.median(difference))
    figure("share of tokens within the limit", numpy.mean(difference < LOGIT))
    figure("the same without emulation", numpy.mean(weight_only < LOGIT))
    assert numpy.mean(difference < LOGIT) > share
    assert numpy.mean(weight_only < LOGIT) < 0.1, "or the comparison could not fail"
    # The weights by themselves are the library's: what differs above are activations.
    expanded = reference.logits(reference.without_activation_quantization(model), ids)
    figure("max |Δ| of the weights alone", numpy.abs(plain - expanded).max())
    assert numpy.abs(plain - expanded).max() < LOGIT


@pytest.mark.parametrize("kind", SCHEMES)
def test_emulation_of_all_layers_is_near_compressed_tensors(
    programs, tiny, ids, figure, tmp_path, kind  # noqa: F811
):
    """Not exact: through several layers crossed boundaries multiply, for the library as well. But as near to its float64
    as its own float32 is, give or take the chance of which boundaries are crossed (0.97 to 1.09 of that was seen), and
    nearer than without emulation."""
    folder = make(tiny, tmp_path / "model", kind, "re:.*layers.*_proj", ids)
    single, double = (reference.logits(reference.load(folder, dtype), ids) for dtype in (torch.float32, torch.float64))
    emulated = programs.logits(folder, ids, "--emulate", "activations")
    weight_only = programs.logits(folder, ids)

    def distance(a, b):
        return numpy.sqrt(numpy.mean((a - b) ** 2))

    figure("rms Δ, ours to the library's float64", distance(emulated, double))
    figure("rms Δ, the library's float32 to its float64", distance(single, double))
    figure("rms Δ, without emulation", distance(weight_only, double))
    assert distance(emulated, double) < 1.3 * distance(single, double)
    assert distance(emulated, double) < distance(weight_only, double)


def test_an_int8_model_of_the_library_equals_transformers(programs, figure):
    """A model that the library quantized and transformers saved, W8A8 in both layers: crossed boundaries are left, a third
    of what activations rounded and not differ by."""
    folder = FIXTURES / "golden/model/w8a8"
    prompt = list(range(48))
    theirs = reference.logits(reference.load(folder), prompt)
    emulated = programs.logits(folder, prompt, "--emulate", "activations=int8")
    weight_only = programs.logits(folder, prompt)
    difference = numpy.abs(emulated - theirs).max(axis=1)
    figure("share of tokens within the limit", numpy.mean(difference < LOGIT))
    figure("max |Δ|", difference.max())
    figure("max |Δ| without emulation", numpy.abs(weight_only - theirs).max())
    assert difference.max() < 0.5 * numpy.abs(weight_only - theirs).max()


def test_a_contradiction_is_wrong_usage(programs, tiny, ids, tmp_path):  # noqa: F811
    folder = make(tiny, tmp_path / "model", "static", EXACT[0][0], ids[:16])
    done = programs.run(
        "llama-verify", "logits", folder, "--ids", *ids[:4], "--output", tmp_path / "logits", "--emulate",
        "activations=int8", expected=(64,))
    assert "fp8 static" in done.stderr and str(folder) in done.stderr
