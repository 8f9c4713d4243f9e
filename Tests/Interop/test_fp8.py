"""Our FP8 directories load in transformers, mean there what they mean to us, and hold the libraries' own bytes."""

import json
import re

import numpy
import pytest
import reference
import torch
import transformers.integrations.fbgemm_fp8 as fbgemm
from compressed_tensors.compressors.base import BaseCompressor
from compressed_tensors.quantization import QuantizationConfig
from compressed_tensors.quantization.utils import calculate_qparams
from conftest import FIXTURES
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, CompressedTensorsConfig, FbgemmFp8Config
from transformers.quantizers.auto import AutoQuantizationConfig

from test_forward import LOGIT
from test_safetensors import FLOATS, bits, load

COMPRESSED = ["fp8", "fp8-compat", "fp8-meta"]
GOLDEN = FIXTURES / "golden/model"
FEED_FORWARD = r"model\.layers\.[12]\.mlp\.(gate|up|down)_proj"


@pytest.fixture(scope="module")
def ids(tiny, text):
    encoder = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    return [1792, *encoder.encode(text.read_text(), add_special_tokens=False).ids[:255]]


def configuration(folder):
    return json.loads((folder / "config.json").read_text())["quantization_config"]


def quantized(folder):
    """(module, codes, scales) of every linear that has scales."""
    tensors = load(folder)
    modules = [name.removesuffix(".weight_scale") for name in tensors if name.endswith("_scale")]
    return [(name, tensors[f"{name}.weight"], tensors[f"{name}.weight_scale"]) for name in modules]


def same(ours, theirs):
    return ours.dtype == theirs.dtype and torch.equal(bits(ours), bits(theirs))


# Logits. The library rounds activations too, unless it is told not to; both are compared.


@pytest.mark.parametrize("kind", COMPRESSED)
def test_weight_only_logits_equal_transformers(programs, converted, ids, figure, kind):
    """Exact up to float32: the library expands the weights in float32, as we do, and leaves activations alone."""
    model = reference.without_activation_quantization(reference.load(converted(kind)))
    difference = numpy.abs(programs.logits(converted(kind), ids) - reference.logits(model, ids)).max()
    figure("max |Δ|", difference)
    assert difference < LOGIT


def test_logits_of_a_directory_by_the_library_equal_transformers(programs, figure):
    folder, ids = GOLDEN / "fp8_dynamic", list(range(48))
    model = reference.without_activation_quantization(reference.load(folder))
    difference = numpy.abs(programs.logits(folder, ids) - reference.logits(model, ids)).max()
    figure("max |Δ|", difference)
    assert difference < LOGIT


@pytest.mark.parametrize(
    "pattern, share", [(r"re:.*layers\.3\.mlp\.", 0.9), (r"re:.*layers\.3\.", 0.5)], ids=["feed-forward", "layer"])
def test_emulated_activations_equal_compressed_tensors(programs, tiny, ids, figure, tmp_path, pattern, share):
    """Exact where rounding noise cannot grow: in the last layer. When float32 noise carries a value over a rounding
    boundary of e4m3, its own token changes, and through keys and values a little the later ones; hence the shares."""
    folder = programs.convert(tiny, tmp_path / "out", "--to", "fp8", "--only", pattern)
    theirs = reference.logits(reference.load(folder), ids)
    difference = numpy.abs(programs.logits(folder, ids, "--emulate", "activations=fp8") - theirs).max(axis=1)
    weight_only = numpy.abs(programs.logits(folder, ids) - theirs).max(axis=1)
    figure("median of max |Δ| per token", numpy.median(difference))
    figure("share of tokens within the limit", numpy.mean(difference < LOGIT))
    figure("the same without emulation", numpy.mean(weight_only < LOGIT))
    assert numpy.mean(difference < LOGIT) > share
    assert numpy.mean(weight_only < LOGIT) < 0.1, "or the comparison could not fail"


@pytest.mark.parametrize("kind", COMPRESSED)
def test_emulation_of_all_layers_is_near_compressed_tensors(programs, converted, ids, figure, kind):
    """Not exact: through several layers crossed boundaries multiply, for the library as well, whose float32 and float64
    differ as much. But nearer than without emulation (two thirds of that distance were seen at most)."""
    folder = converted(kind)
    single, double = (reference.logits(reference.load(folder, dtype), ids) for dtype in (torch.float32, torch.float64))
    emulated = programs.logits(folder, ids, "--emulate", "activations=fp8")
    weight_only = programs.logits(folder, ids)

    def distance(a, b):
        return numpy.sqrt(numpy.mean((a - b) ** 2))

    figure("rms Δ, ours to the library's float64", distance(emulated, double))
    figure("rms Δ, the library's float32 to its float64", distance(single, double))
    figure("rms Δ, without emulation", distance(weight_only, double))
    assert distance(emulated, double) < 0.8 * distance(weight_only, double)


# Bytes.


@pytest.mark.parametrize("source", FLOATS)
def test_compat_has_the_bytes_of_compressed_tensors(programs, converted, tmp_path, source):
    base = load(converted(source))
    folder = programs.convert(converted(source), tmp_path / "out", "--to", "fp8-compat")
    scheme = QuantizationConfig.model_validate(configuration(folder)).config_groups["group_0"]
    compressor = BaseCompressor.get_value_from_registry(scheme.format)
    modules = quantized(folder)
    assert len(modules) == 4 * 7
    for name, codes, scales in modules:
        weight = base[f"{name}.weight"]
        theirs, _ = calculate_qparams(weight.amin(1, keepdim=True), weight.amax(1, keepdim=True), scheme.weights)
        state = compressor.compress({"weight": weight, "weight_scale": theirs}, scheme)
        assert same(codes, state["weight"]) and same(scales, state["weight_scale"]), name


def test_golden_model_has_the_bytes_of_compressed_tensors(programs, tmp_path):
    """A model that the library quantized and transformers saved."""
    golden = load(GOLDEN / "fp8_dynamic")
    ours = load(programs.convert(GOLDEN / "bf16", tmp_path / "out", "--to", "fp8-compat"))
    assert ours.keys() == golden.keys()
    assert all(same(ours[name], tensor) for name, tensor in golden.items())


@pytest.mark.parametrize("kind", ["fp8", "fp8-meta", "fp8-fbgemm"])
def test_codes_and_scales_follow_the_formulas(converted, tiny, kind):
    """formats/quantization.md in torch: scale = bf16(A / 448), or Meta's max(A / 448, 1 / (448 · 512)) in float32."""
    base = load(tiny)
    modules = quantized(converted(kind))
    assert len(modules) == (4 * 7 if kind == "fp8" else 2 * 3)
    for name, codes, scales in modules:
        weight = base[f"{name}.weight"].float()
        theirs = weight.abs().amax(1, keepdim=True) / 448
        theirs = theirs.bfloat16() if kind == "fp8" else theirs.clamp(min=1 / (448 * 512))
        assert same(scales, theirs), name
        assert same(codes, (weight / theirs.float()).clamp(-448, 448).to(torch.float8_e4m3fn)), name


@pytest.mark.filterwarnings("ignore:You passed `quantization_config`")
@pytest.mark.parametrize("kind", [*COMPRESSED, "golden"])
def test_conversion_back_is_the_librarys_decompression(programs, converted, tmp_path, kind):
    source = GOLDEN / "fp8_dynamic" if kind == "golden" else converted(kind)
    folder = programs.convert(source, tmp_path / "out", "--to", "bf16")
    options = CompressedTensorsConfig(dequantize=True)
    theirs = reference.load(source, torch.bfloat16, quantization_config=options).state_dict()
    ours = reference.load(folder, torch.bfloat16).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(same(tensor, theirs[name]) for name, tensor in ours.items())


# fbgemm_fp8, whose kernels need a GPU: configuration, modules and tensors are the library's, the product a formula.


def test_fbgemm_configuration_parses(converted):
    config = AutoQuantizationConfig.from_dict(configuration(converted("fp8-fbgemm")))
    assert isinstance(config, FbgemmFp8Config) and config.activation_scale_ub == 1200


def test_fbgemm_tensors_fit_the_librarys_modules(converted, monkeypatch):
    """transformers replaces exactly the linears that have scales, and their parameters take our tensors as they are."""
    folder = converted("fp8-fbgemm")
    config = AutoConfig.from_pretrained(folder)
    kept = config.quantization_config["modules_to_not_convert"]
    # What is not installed and not needed to make modules: the kernel, and accelerate's way to `meta`.
    monkeypatch.setattr(fbgemm, "get_quantize_fp8_per_row", lambda: None)
    monkeypatch.setattr(fbgemm, "init_empty_weights", lambda **_: torch.device("meta"), raising=False)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        fbgemm.replace_with_fbgemm_fp8_linear(model, kept, pre_quantized=True)
    replaced = {name for name, module in model.named_modules() if isinstance(module, fbgemm.FbgemmFp8Linear)}
    assert replaced == {name for name, _, _ in quantized(folder)}
    assert len(replaced) == 6 and all(re.fullmatch(FEED_FORWARD, name) for name in replaced)
    parameters, tensors = model.state_dict(), load(folder)
    assert parameters.keys() - {"lm_head.weight"} == tensors.keys()
    for name, tensor in tensors.items():
        assert parameters[name].shape == tensor.shape
        if name.rsplit(".", 1)[0] in replaced:
            assert parameters[name].dtype == tensor.dtype


def test_fbgemm_logits_equal_those_of_its_formula(programs, converted, tiny, ids, figure):
    folder = converted("fp8-fbgemm")
    model, tensors = reference.load(tiny), load(folder)
    for name, codes, scales in quantized(folder):
        tensors[f"{name}.weight"] = codes.float() * tensors.pop(f"{name}.weight_scale")
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert missing == ["lm_head.weight"] and not unexpected
    difference = numpy.abs(programs.logits(folder, ids) - reference.logits(model, ids)).max()
    figure("max |Δ|", difference)
    assert difference < LOGIT


def test_fbgemm_and_meta_differ_in_the_configuration_only(converted):
    fbgemm, meta = load(converted("fp8-fbgemm")), load(converted("fp8-meta"))
    assert fbgemm.keys() == meta.keys()
    assert all(same(tensor, meta[name]) for name, tensor in fbgemm.items())
