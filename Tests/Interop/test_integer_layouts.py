"""integer_layouts.py itself, against what the libraries wrote; these checks need no program."""

import json

import numpy
import pytest
import reference
import torch
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from compressed_tensors.entrypoints.convert import AutoAWQConverter
from conftest import FIXTURES
from safetensors.torch import load_file
from transformers import CompressedTensorsConfig

import integer_layouts as layouts
from integer_layouts import Linear

GOLDEN = FIXTURES / "golden"
PACKED = sorted(path.stem for path in (GOLDEN / "pack_quantized").glob("*.safetensors"))
# Two layers of random weights, 64 and 160 columns.
MODEL = GOLDEN / "model/bf16"


def random_linear(rows, columns, group_size, bits=4, symmetric=False, seed=1):
    generator = numpy.random.default_rng(seed)
    codes = generator.integers(0, 1 << bits, (rows, columns), numpy.uint8)
    scales = generator.uniform(0.001, 0.1, (rows, columns // group_size)).astype(numpy.float16).astype(numpy.float32)
    zeros = generator.integers(0, 1 << bits, scales.shape, numpy.uint8)
    if symmetric:
        zeros[:] = 1 << (bits - 1)
    return Linear(codes, scales, zeros, layouts.contiguous(columns, columns // group_size), bits)


def test_all_of_the_golden_files_are_checked():
    assert len(PACKED) == 10


@pytest.mark.parametrize("name", PACKED)
def test_pack_quantized_is_the_librarys(name):
    golden = load_file(GOLDEN / f"pack_quantized/{name}.safetensors")
    bits = int(name[3])
    tensors = {f"m.{key}": tensor for key, tensor in golden.items()}
    linear = layouts.from_pack_quantized(tensors, "m", bits)
    half = 1 << (bits - 1)
    assert numpy.array_equal(linear.codes.astype(int) - half, golden["derived.q"].numpy())
    if "derived.zp" in golden:
        assert numpy.array_equal(linear.zeros.astype(int) - half, golden["derived.zp"].numpy())
    assert linear.is_symmetric == ("derived.zp" not in golden)
    # The library rounds the product to the scale's type once.
    dequantized = torch.from_numpy(linear.values).to(golden["dequant"].dtype)
    assert torch.equal(dequantized, golden["dequant"])
    written = layouts.to_pack_quantized(linear, "m", golden["weight_scale"].dtype)
    assert len(written) == 3 + ("derived.zp" in golden)
    for key, tensor in written.items():
        assert tensor.dtype == tensors[key].dtype and torch.equal(tensor, tensors[key]), key


def test_nibbles_are_where_the_library_puts_them():
    vector = json.loads((GOLDEN / "pack_quantized/nibble_order.json").read_text())
    codes = numpy.array(vector["values"]) + 8

    def hexadecimal(words):
        return [[f"{word:08x}" for word in row] for row in words.view("<u4")]

    assert hexadecimal(layouts.pack(codes, 4)) == vector["packed_dim1_hex"]
    # The library packs the transpose along its rows, which is this along its columns.
    assert hexadecimal(layouts.transposed(layouts.pack(codes, 4))) == vector["packed_dim0_of_transpose_hex"]


@pytest.mark.parametrize("bits", range(2, 9))
def test_any_width_of_codes(bits):
    codes = numpy.random.default_rng(bits).integers(0, 1 << bits, (5, 77), numpy.uint8)
    words = layouts.pack(codes, bits)
    theirs = pack_to_int32(torch.from_numpy(codes.astype(int) - (1 << (bits - 1))).to(torch.int8), bits)
    assert numpy.array_equal(words, theirs.numpy())
    assert numpy.array_equal(layouts.unpack(words, bits, 77), codes)


def test_int_quantized_is_the_librarys():
    golden = load_file(GOLDEN / "formats/int8_w8a8.safetensors")
    linear = layouts.from_int_quantized({f"m.{key}": tensor for key, tensor in golden.items()}, "m")
    assert torch.equal(torch.from_numpy(linear.values).bfloat16(), golden["dequant"])


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", ["sequential", "act_order"])
def test_gptq_is_as_recorded(version, order):
    golden = load_file(GOLDEN / "formats/gptq_layout.safetensors")
    tensors = {"m.qweight": golden["qweight"], "m.qzeros": golden[f"qzeros_v{version}"], "m.scales": golden["scales"]}
    tensors["m.g_idx"] = golden[f"g_idx_{order}"]
    linear = layouts.from_gptq(tensors, "m", version=version)
    assert numpy.array_equal(linear.codes, golden["derived.q_in_out"].T.numpy())
    assert numpy.array_equal(linear.zeros, golden["derived.zero"].T.numpy())
    assert torch.equal(torch.from_numpy(linear.values), golden[f"derived.dequant_out_in_{order}"])
    for key, tensor in layouts.to_gptq(linear, "m", version).items():
        assert tensor.dtype == tensors[key].dtype and torch.equal(tensor, tensors[key]), key


def test_symmetric_zero_points_are_the_known_constants():
    linear = random_linear(16, 64, 32, symmetric=True)
    for version, word in ((1, 0x77777777), (2, 0x88888888)):
        zeros = layouts.to_gptq(linear, "m", version)["m.qzeros"]
        assert (zeros.numpy().view("<u4") == word).all()


def test_awq_is_what_the_library_reads():
    golden = load_file(GOLDEN / "formats/awq_gemm_to_ct.safetensors")
    linear = layouts.from_awq(golden, "m")
    assert torch.equal(torch.from_numpy(linear.values), golden["derived.dequant_out_in_f32"])
    assert linear.equals(layouts.from_pack_quantized(golden, "m"))
    for key, tensor in layouts.to_awq(linear, "m").items():
        assert tensor.dtype == golden[key].dtype and torch.equal(tensor, golden[key]), key


def test_the_librarys_converter_agrees_on_any_awq():
    linear = random_linear(40, 96, 32)
    theirs = AutoAWQConverter(group_size=32).process(layouts.to_awq(linear, "m"))
    ours = layouts.to_pack_quantized(linear, "m", torch.float16)
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(tensor, ours[key]) for key, tensor in theirs.items())


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("act_order", [False, True])
def test_rounding_of_our_own_is_within_half_a_step(symmetric, act_order):
    weight = numpy.random.default_rng(3).normal(0, 0.05, (16, 96))
    group_of = layouts.in_activation_order(96, 32, 1) if act_order else layouts.contiguous(96, 3)
    linear = layouts.round_to_nearest(weight, group_of, symmetric)
    off = numpy.abs(linear.values - weight) / linear.scales[:, group_of]
    # Half a step; the largest positive number of a symmetric group is cut to 7 of 7.5. F16's rounding of the scale, 2⁻¹¹,
    # moves the ends by 15/2 of that.
    assert off.max() < 0.504
    assert numpy.median(off) > 0.2, "or nothing was rounded"
    assert linear.is_symmetric == symmetric and linear.zeros.min() >= 1


WRITERS = {
    "gptq": lambda source, out, **options: layouts.write_gptq(source, out, **options),
    "gptq asymmetric": lambda source, out, **options: layouts.write_gptq(source, out, symmetric=False, **options),
    "gptq v2": lambda source, out, **options: layouts.write_gptq(source, out, version=2, symmetric=False, **options),
    "gptq act-order": lambda source, out, **options: layouts.write_gptq(source, out, act_order=True, **options),
    "awq": lambda source, out, **options: layouts.write_awq(source, out, **options),
    "pack-quantized": lambda source, out, **options: layouts.write_pack_quantized(source, out, **options),
    "pack-quantized asymmetric": lambda source, out, **options: layouts.write_pack_quantized(
        source, out, symmetric=False, **options),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_written_directories_read_back(tmp_path, writer):
    folder = WRITERS[writer](MODEL, tmp_path / "out", group_size=32)
    base, found = layouts.load(MODEL), layouts.dequantized(folder)
    assert base.keys() == found.keys() and len(layouts.linears(folder)) == 14
    for name, tensor in found.items():
        error = (tensor - base[name].float()).norm() / base[name].float().norm()
        # 4 bits of near-normal numbers in groups of 32: 0.07 to 0.1 is usual. F16 drops BF16's subnormals, nothing else.
        assert (0.03 < error < 0.12) if "_proj" in name else error < 1e-3, name


@pytest.mark.filterwarnings("ignore:You passed `quantization_config`")
@pytest.mark.parametrize("symmetric", [True, False])
def test_written_pack_quantized_loads_in_transformers(tmp_path, symmetric):
    folder = layouts.write_pack_quantized(MODEL, tmp_path / "out", symmetric=symmetric)
    options = CompressedTensorsConfig(dequantize=True)
    theirs = reference.load(folder, torch.bfloat16, quantization_config=options).state_dict()
    ours = layouts.dequantized(folder)
    assert theirs.keys() == ours.keys()
    # The library's product is rounded to the scale's type.
    assert all(torch.equal(tensor, ours[name].bfloat16()) for name, tensor in theirs.items())


def test_a_mislabelled_file_shows_the_other_versions_constant(tmp_path):
    folder = layouts.write_gptq(MODEL, tmp_path / "out", version=2, declared=1)
    assert layouts.configuration(folder)["checkpoint_format"] == "gptq"
    assert all((linear.zeros == 9).all() for linear in layouts.linears(folder).values())
    assert all(linear.is_symmetric for linear in layouts.linears(folder, version=2).values())
