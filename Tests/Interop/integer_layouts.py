"""Integer weights as compressed-tensors, GPTQ and AWQ lay them out, written down from their descriptions with numpy.

Reading and writing share nothing with the libraries and nothing with the program. Every layout becomes one `Linear`: codes
and zero points counted from 0, and for each column the group that explains it.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from safetensors.torch import load_file, save_file

# Nibble n of an AWQ word holds column 8k + ORDER[n].
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]
PROJECTIONS = [f"self_attn.{name}_proj" for name in "qkvo"] + [f"mlp.{name}_proj" for name in ("gate", "up", "down")]


def pack(codes, bits):
    """Codes along the last axis as int32 words: a string of bits, lowest first, the last word filled with zero bits."""
    planes = (codes[..., None].astype(numpy.uint8) >> numpy.arange(bits, dtype=numpy.uint8)) & 1
    string = planes.reshape(*codes.shape[:-1], -1)
    string = numpy.pad(string, [(0, 0)] * (string.ndim - 1) + [(0, -string.shape[-1] % 32)])
    return numpy.packbits(string, axis=-1, bitorder="little").view("<i4")


def unpack(words, bits, count):
    assert words.dtype == numpy.int32
    string = numpy.unpackbits(numpy.ascontiguousarray(words).view(numpy.uint8), axis=-1, bitorder="little")
    planes = string[..., : count * bits].reshape(*words.shape[:-1], count, bits)
    return (planes << numpy.arange(bits, dtype=numpy.uint8)).sum(-1, dtype=numpy.uint8)


def transposed(array):
    return numpy.ascontiguousarray(array.T)


@dataclass
class Linear:
    codes: numpy.ndarray  # [out, in], 0 … 2^bits - 1
    scales: numpy.ndarray  # [out, groups]; float32 that holds what is stored
    zeros: numpy.ndarray  # [out, groups], counted like codes
    group_of: numpy.ndarray  # [in]
    bits: int = 4

    @property
    def values(self):
        """float32. A code less its zero point has 5 bits (9 with 8-bit codes), so with BF16's or F16's scales it is exact."""
        steps = self.codes.astype(numpy.float32) - self.zeros[:, self.group_of].astype(numpy.float32)
        return steps * self.scales[:, self.group_of].astype(numpy.float32)

    @property
    def is_symmetric(self):
        return bool((self.zeros == 1 << (self.bits - 1)).all())

    def equals(self, other):
        names = ("codes", "scales", "zeros", "group_of")
        return all(numpy.array_equal(getattr(self, name), getattr(other, name)) for name in names)


def contiguous(columns, groups):
    assert columns % groups == 0
    return numpy.repeat(numpy.arange(groups), columns // groups)


# compressed-tensors.


def from_pack_quantized(tensors, module, bits=4):
    packed, scales = tensors[f"{module}.weight_packed"].numpy(), tensors[f"{module}.weight_scale"].float().numpy()
    rows, columns = tensors[f"{module}.weight_shape"].tolist()
    assert packed.shape == (rows, -(-columns * bits // 32)) and scales.shape[0] == rows
    zeros = numpy.full(scales.shape, 1 << (bits - 1), numpy.uint8)
    if (stored := tensors.get(f"{module}.weight_zero_point")) is not None:
        zeros = transposed(unpack(transposed(stored.numpy()), bits, rows))
    group_of = contiguous(columns, scales.shape[1])
    if (listed := tensors.get(f"{module}.weight_g_idx")) is not None:
        group_of = listed.numpy()
        assert group_of.shape == (columns,) and group_of.min() >= 0 and group_of.max() < scales.shape[1]
    return Linear(unpack(packed, bits, columns), scales, zeros, group_of, bits)


def to_pack_quantized(linear, module, dtype=torch.bfloat16):
    tensors = {
        f"{module}.weight_packed": torch.from_numpy(pack(linear.codes, linear.bits)),
        f"{module}.weight_scale": torch.from_numpy(linear.scales.astype(numpy.float32)).to(dtype),
        f"{module}.weight_shape": torch.tensor(linear.codes.shape),
    }
    if not linear.is_symmetric:
        tensors[f"{module}.weight_zero_point"] = torch.from_numpy(transposed(pack(transposed(linear.zeros), linear.bits)))
    return tensors


def from_int_quantized(tensors, module):
    """8-bit codes, one in a byte."""
    codes, scales = tensors[f"{module}.weight"].numpy(), tensors[f"{module}.weight_scale"].float().numpy()
    assert codes.dtype == numpy.int8 and scales.shape == (codes.shape[0], 1)
    zeros = numpy.full(scales.shape, 128, numpy.uint8)
    return Linear((codes.astype(numpy.int16) + 128).astype(numpy.uint8), scales, zeros, contiguous(codes.shape[1], 1), 8)


# GPTQ: everything transposed. Version 1 stores zero points less one, each modulo 2^bits.


def from_gptq(tensors, module, bits=4, version=1):
    qweight, qzeros = tensors[f"{module}.qweight"].numpy(), tensors[f"{module}.qzeros"].numpy()
    scales, group_of = tensors[f"{module}.scales"].float().numpy(), tensors[f"{module}.g_idx"].numpy()
    columns, (groups, rows) = len(group_of), scales.shape
    assert qweight.shape == (columns * bits // 32, rows) and qzeros.shape == (groups, rows * bits // 32)
    zeros = unpack(qzeros, bits, rows)
    if version == 1:
        zeros = (zeros + 1) & ((1 << bits) - 1)
    return Linear(unpack(transposed(qweight), bits, columns), transposed(scales), transposed(zeros), group_of, bits)


def to_gptq(linear, module, version=1):
    assert linear.codes.shape[0] * linear.bits % 32 == linear.codes.shape[1] * linear.bits % 32 == 0
    zeros = (linear.zeros - (version == 1)) & ((1 << linear.bits) - 1)
    scales = linear.scales.astype(numpy.float16)
    assert numpy.array_equal(scales, linear.scales), "F16 holds them"
    return {
        f"{module}.qweight": torch.from_numpy(transposed(pack(linear.codes, linear.bits))),
        f"{module}.qzeros": torch.from_numpy(pack(transposed(zeros), linear.bits)),
        f"{module}.scales": torch.from_numpy(transposed(scales)),
        f"{module}.g_idx": torch.from_numpy(linear.group_of.astype(numpy.int32)),
    }


# AWQ, version GEMM: words along the output, in an order of their own.


def from_awq(tensors, module):
    qweight, qzeros = tensors[f"{module}.qweight"].numpy(), tensors[f"{module}.qzeros"].numpy()
    scales = tensors[f"{module}.scales"].float().numpy()
    columns, (groups, rows) = qweight.shape[0], scales.shape
    assert qweight.shape == (columns, rows // 8) and qzeros.shape == (groups, rows // 8)

    def ordered(words):
        shuffled = unpack(words, 4, rows).reshape(-1, rows // 8, 8)
        result = numpy.empty_like(shuffled)
        result[:, :, AWQ_ORDER] = shuffled
        return transposed(result.reshape(-1, rows))

    return Linear(ordered(qweight), transposed(scales), ordered(qzeros), contiguous(columns, groups))


def to_awq(linear, module):
    rows = linear.codes.shape[0]
    assert linear.bits == 4 and rows % 8 == 0
    assert numpy.array_equal(linear.group_of, contiguous(linear.codes.shape[1], linear.scales.shape[1]))

    def shuffled(codes):
        return pack(transposed(codes).reshape(-1, rows // 8, 8)[:, :, AWQ_ORDER].reshape(-1, rows), 4)

    return {
        f"{module}.qweight": torch.from_numpy(shuffled(linear.codes)),
        f"{module}.qzeros": torch.from_numpy(shuffled(linear.zeros)),
        f"{module}.scales": torch.from_numpy(transposed(linear.scales.astype(numpy.float16))),
    }


# Directories.


def load(folder):
    return {name: tensor for path in sorted(Path(folder).glob("*.safetensors")) for name, tensor in load_file(path).items()}


def configuration(folder):
    return json.loads((Path(folder) / "config.json").read_text())["quantization_config"]


def linears(folder, version=None):
    """module → Linear of a directory in any of the layouts; `version` overrides what a GPTQ file claims to be."""
    tensors, config = load(folder), configuration(folder)
    method = config["quant_method"]
    if method == "gptq":
        version = version or {"gptq": 1, "gptq_v2": 2}[config.get("checkpoint_format", "gptq")]
        return {name: from_gptq(tensors, name, config["bits"], version) for name in modules(tensors, ".qweight")}
    if method == "awq":
        return {name: from_awq(tensors, name) for name in modules(tensors, ".qweight")}
    assert method == "compressed-tensors"
    (group,) = config["config_groups"].values()
    if group["format"] == "int-quantized":
        return {name: from_int_quantized(tensors, name) for name in modules(tensors, ".weight_scale")}
    bits = group["weights"]["num_bits"]
    return {name: from_pack_quantized(tensors, name, bits) for name in modules(tensors, ".weight_packed")}


def modules(tensors, suffix):
    return [name.removesuffix(suffix) for name in tensors if name.endswith(suffix)]


def plain(folder):
    """The tensors that no module of `linears` explains."""
    tensors = load(folder)
    quantized = {name.rsplit(".", 1)[0] for name in tensors if name.endswith((".weight_scale", ".qweight"))}
    return {name: tensor for name, tensor in tensors.items() if name.rsplit(".", 1)[0] not in quantized}


def dequantized(folder, version=None):
    """name → float32 of a whole directory."""
    weights = {f"{name}.weight": torch.from_numpy(linear.values) for name, linear in linears(folder, version).items()}
    return {name: tensor.float() for name, tensor in plain(folder).items()} | weights


# Quantizing by numbers of our own: plain round-to-nearest, scales of the type that the layout stores.


def round_to_nearest(weight, group_of, symmetric, bits=4, dtype=torch.float16):
    """Each row's columns of one group share a scale, and where it is not symmetric a zero point from 1 to 2^bits - 1.

    0 is left out because readers of GPTQ's version 1 disagree about it: it is stored as 2^bits - 1, to which some add one
    without a carry being lost.
    """
    highest, half = (1 << bits) - 1, 1 << (bits - 1)
    weight, groups = numpy.asarray(weight, numpy.float64), int(group_of.max()) + 1
    scales, zeros = numpy.empty((len(weight), groups)), numpy.full((len(weight), groups), half, numpy.uint8)
    for group in range(groups):
        part = weight[:, group_of == group]
        low, high = numpy.minimum(part.min(1), 0), numpy.maximum(part.max(1), 0)
        scale = numpy.maximum(-low, high) * 2 / highest if symmetric else (high - low) / highest
        scales[:, group] = torch.from_numpy(numpy.where(scale > 0, scale, 1)).to(dtype).double().numpy()
        if not symmetric:
            zeros[:, group] = numpy.clip(numpy.rint(-low / scales[:, group]), 1, highest)
    codes = numpy.rint(weight / scales[:, group_of]) + zeros[:, group_of]
    return Linear(numpy.clip(codes, 0, highest).astype(numpy.uint8), scales.astype(numpy.float32), zeros, group_of, bits)


def in_activation_order(columns, group_size, seed):
    """Groups of columns that are important alike, which is what act-order leaves behind; here the order is random."""
    order = numpy.random.default_rng(seed).permutation(columns)
    group_of = numpy.empty(columns, numpy.int64)
    group_of[order] = numpy.arange(columns) // group_size
    return group_of


def write(source, folder, quantization, quantize, dtype=torch.float16):
    """`source` with its layers' linears replaced by what `quantize(module, weight)` returns; the rest becomes `dtype`."""
    folder.mkdir(parents=True)
    for path in source.iterdir():
        if path.suffix != ".safetensors" and path.name != "config.json":
            shutil.copy(path, folder)
    config = json.loads((source / "config.json").read_text())
    spelling = "dtype" if "dtype" in config else "torch_dtype"
    config |= {spelling: str(dtype).removeprefix("torch."), "quantization_config": quantization}
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    tensors = {}
    for name, tensor in load(source).items():
        module = name.removesuffix(".weight")
        if module.startswith("model.layers.") and module.split(".", 3)[3] in PROJECTIONS:
            tensors |= quantize(module, tensor.float().numpy())
        else:
            tensors[name] = tensor.to(dtype)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    return folder


def write_gptq(source, folder, group_size=32, *, version=1, declared=None, symmetric=True, act_order=False, bits=4):
    """`declared` is the version that config.json claims; files that claim another than they have are in circulation."""
    written = {1: "gptq", 2: "gptq_v2"}
    quantization = {
        "quant_method": "gptq", "bits": bits, "group_size": group_size, "damp_percent": 0.01, "desc_act": act_order,
        "static_groups": False, "sym": symmetric, "lm_head": False, "true_sequential": True,
        "checkpoint_format": written[declared or version],
    }

    def quantize(module, weight):
        columns = weight.shape[1]
        size = columns if group_size == -1 else group_size
        group_of = in_activation_order(columns, size, columns) if act_order else contiguous(columns, columns // size)
        return to_gptq(round_to_nearest(weight, group_of, symmetric, bits), module, version)

    return write(source, folder, quantization, quantize)


def write_awq(source, folder, group_size=32):
    quantization = {
        "quant_method": "awq", "bits": 4, "group_size": group_size, "zero_point": True, "version": "gemm",
        "modules_to_not_convert": None,
    }

    def quantize(module, weight):
        group_of = contiguous(weight.shape[1], weight.shape[1] // group_size)
        return to_awq(round_to_nearest(weight, group_of, symmetric=False), module)

    return write(source, folder, quantization, quantize)


def write_pack_quantized(source, folder, group_size=32, *, symmetric=True, dtype=torch.bfloat16):
    weights = {
        "num_bits": 4, "type": "int", "symmetric": symmetric, "strategy": "group", "group_size": group_size, "dynamic": False,
    }
    group = {
        "targets": ["Linear"], "format": "pack-quantized", "weights": weights, "input_activations": None,
        "output_activations": None,
    }
    quantization = {
        "quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed",
        "config_groups": {"group_0": group}, "ignore": ["lm_head"], "kv_cache_scheme": None,
        "global_compression_ratio": None, "version": "0.20.0",
    }

    def quantize(module, weight):
        group_of = contiguous(weight.shape[1], weight.shape[1] // group_size)
        return to_pack_quantized(round_to_nearest(weight, group_of, symmetric, dtype=dtype), module, dtype)

    return write(source, folder, quantization, quantize, dtype)
