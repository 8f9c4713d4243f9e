"""Makes Tests/Fixtures/gguf: small files of gguf's own writer with what is in them. Run by hand; the tests compare."""

import hashlib
import json
import struct
from pathlib import Path

import gguf
import numpy
from gguf import GGMLQuantizationType as Type
from gguf import GGUFValueType as Value

FOLDER = Path(__file__).resolve().parents[1] / "Fixtures/gguf"

SCALARS = [
    ("zero", Value.UINT8, 0), ("u8", Value.UINT8, 255), ("i8", Value.INT8, -128), ("u16", Value.UINT16, 65535),
    ("i16", Value.INT16, -32768), ("u32", Value.UINT32, 4294967295), ("i32", Value.INT32, -2147483648),
    ("u64", Value.UINT64, 2**64 - 1), ("i64", Value.INT64, -(2**63)), ("f32", Value.FLOAT32, 0.1),
    ("f32.negative_zero", Value.FLOAT32, -0.0), ("f32.infinity", Value.FLOAT32, float("inf")),
    ("f64", Value.FLOAT64, 0.1), ("f64.least", Value.FLOAT64, 5e-324), ("yes", Value.BOOL, True),
    ("no", Value.BOOL, False), ("text", Value.STRING, "Grüße, 世界 \U0001f600\n"), ("text.long", Value.STRING, "x" * 300),
]
ARRAYS = [
    ("array.u8", Value.UINT8, [0, 1, 255]), ("array.i8", Value.INT8, [-128, 127]), ("array.u16", Value.UINT16, [65535]),
    ("array.i16", Value.INT16, [-32768, 32767]), ("array.u32", Value.UINT32, [4294967295, 0]),
    ("array.i32", Value.INT32, [-1, 2, -3]), ("array.u64", Value.UINT64, [2**64 - 1]),
    ("array.i64", Value.INT64, [-(2**63), 2**63 - 1]), ("array.f32", Value.FLOAT32, [0.5, -1e30]),
    ("array.f64", Value.FLOAT64, [0.1, 1e300]), ("array.bool", Value.BOOL, [True, False, True]),
    ("array.string", Value.STRING, ["", "a", "Ġthe", "\n", "▁世界"]),
]
TOKENS = [
    ("tokenizer.ggml.tokens", Value.STRING, ["<s>", "</s>", "Ġa", "b", "Ċ"]),
    ("tokenizer.ggml.scores", Value.FLOAT32, [0.0, 0.0, -1.0, -2.0, -3.0]),
    ("tokenizer.ggml.token_type", Value.INT32, [3, 3, 1, 1, 1]), ("tokenizer.ggml.merges", Value.STRING, ["Ġ a"]),
]
LLAMA = [
    ("llama.block_count", Value.UINT32, 1), ("llama.context_length", Value.UINT32, 2048),
    ("llama.attention.layer_norm_rms_epsilon", Value.FLOAT32, 1e-5), ("tokenizer.ggml.model", Value.STRING, "gpt2"),
]
DENSE = [Type.F32, Type.F16, Type.BF16, Type.F64, Type.I8, Type.I16, Type.I32, Type.I64]
# The package has another size of Q8_1 than ggml: 40 bytes, as it was in 2023. No file has such tensors.
BLOCKS = [type for type in Type if type not in DENSE and type != Type.Q8_1]
# Name, type and shape as torch has it.
EVERY = [(f"t.{type.name.lower()}", type, [3, 5]) for type in DENSE] + [
    (f"t.{type.name.lower()}", type, [2, 256]) for type in BLOCKS]
SHAPES = [
    ("scalar", Type.F32, []), ("vector", Type.F32, [7]), ("row", Type.F16, [1, 9]), ("column", Type.F16, [9, 1]),
    ("cube", Type.I8, [2, 3, 5]), ("four", Type.I16, [2, 1, 3, 2]), ("n" * 63, Type.I8, [1]),
]
SIX = [(f"blk.{i}.ffn_up.weight", Type.I8, [10 * i + 1, 3]) for i in range(6)]

# Name of the file or files: scalars, arrays, tensors, options of the writer, alignment.
FILES = {
    "values": (SCALARS, ARRAYS, [], {}, None),
    "types": ([], [], EVERY, {}, None),
    "shapes": (LLAMA[:1], [], SHAPES, {}, None),
    "llama": (LLAMA, TOKENS, [("token_embd.weight", Type.Q8_0, [5, 32]), ("output_norm.weight", Type.F32, [32])], {}, None),
    "empty": (LLAMA, [], [], {}, None),
    "align1": (LLAMA, [], SHAPES, {}, 1),
    "align8": (LLAMA, [], SHAPES, {}, 8),
    "align64": (LLAMA, [], SHAPES, {}, 64),
    "align4096": (LLAMA, [], SHAPES[:2], {}, 4096),
    "size": (LLAMA, TOKENS, SIX, {"split_max_size": 100}, None),
    "count": (LLAMA, TOKENS, SIX, {"split_max_tensors": 4}, None),
    "both": (LLAMA, [], SIX, {"split_max_tensors": 2, "split_max_size": 60}, None),
    "first": (LLAMA, TOKENS, SIX, {"split_max_size": 100, "small_first_shard": True}, None),
}


def content(number, count):
    """Byte i of tensor `number`: the tests make the same."""
    return bytes((7 * i + 13 * number) % 251 for i in range(count))


def size(type, shape):
    elements, block = gguf.GGML_QUANT_SIZES[type]
    return int(numpy.prod(shape, dtype=object)) // elements * block


def write(path, scalars, arrays, tensors, options, alignment):
    writer = gguf.GGUFWriter(path, "llama", **options)
    if alignment is not None:
        writer.add_custom_alignment(alignment)
    for key, type, value in scalars:
        writer.add_key_value(key, value, type)
    for key, type, values in arrays:
        writer.add_key_value(key, values, Value.ARRAY, sub_type=type)
    for number, (name, type, shape) in enumerate(tensors):
        data = numpy.frombuffer(content(number, size(type, shape)), numpy.int8)
        # An array of another type than uint8: the shape given is then the tensor's own.
        writer.add_tensor(name, data, raw_shape=shape, raw_dtype=type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def spelled(type, value):
    """A value as text; floats as their bits, which JSON cannot round."""
    if type == Value.FLOAT32:
        return str(struct.unpack("<I", struct.pack("<f", value))[0])
    if type == Value.FLOAT64:
        return str(struct.unpack("<Q", struct.pack("<d", value))[0])
    return str(int(value)) if type == Value.BOOL else str(value)


def described(scalars, arrays, tensors, options, alignment):
    metadata = [["general.architecture", "STRING", "llama"]]
    if alignment is not None:
        metadata.append(["general.alignment", "UINT32", str(alignment)])
    metadata += [[key, type.name, spelled(type, value)] for key, type, value in scalars]
    metadata += [[key, type.name, [spelled(type, value) for value in values]] for key, type, values in arrays]
    rows = [
        [name, type.name, shape, hashlib.sha256(content(number, size(type, shape))).hexdigest()]
        for number, (name, type, shape) in enumerate(tensors)
    ]
    return {"metadata": metadata, "tensors": rows, "options": options, "alignment": alignment or 32}


def make(folder):
    expected = {}
    for name, description in FILES.items():
        write(folder / f"{name}.gguf", *description)
        expected[name] = described(*description)
        expected[name]["files"] = sorted(
            path.name for path in [*folder.glob(f"{name}.gguf"), *folder.glob(f"{name}-0*.gguf")])
    return expected


def serialized(expected):
    files = ",\n".join(f' "{name}": {json.dumps(value, ensure_ascii=False)}' for name, value in expected.items())
    return "{\n" + files + "\n}\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "expected.json").write_text(serialized(make(FOLDER)))
