"""The reference library reads what we wrote, and finds in it what the plan says and what torch computes."""

import json
import struct

import pytest
import torch
from conftest import SHARDED
from safetensors import deserialize, safe_open
from safetensors.torch import load_file, save, save_file
from transformers.utils.hub import get_checkpoint_shard_files

FLOATS = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}
KINDS = ["fp8", "fp8-compat", "fp8-fbgemm", "fp8-meta", *FLOATS]
# Element type and size of the scales beside BF16 weights (formats/quantization.md).
SCALES = {"fp8": ("BF16", 2), "fp8-compat": ("BF16", 2), "fp8-fbgemm": ("F32", 4), "fp8-meta": ("F32", 4)}


def files(folder):
    return sorted(folder.glob("*.safetensors"))


def load(folder):
    return {name: tensor for path in files(folder) for name, tensor in load_file(path).items()}


def bits(tensor):
    return tensor.view({1: torch.uint8, 2: torch.int16, 4: torch.int32}[tensor.element_size()])


def planned(plan):
    """(file, name) → (dtype, shape, offset in the file, bytes) of everything that the plan announces."""
    tensors = {}
    for entry in plan["tensors"]:
        place = entry["weight"]
        tensors[place["file"], entry["name"]] = entry["to"], entry["shape"], place["offset"], place["bytes"]
        if "scale" in entry:
            dtype, size = SCALES[plan["to"]]
            place, rows = entry["scale"], entry["shape"][0]
            tensors[place["file"], entry["name"] + "_scale"] = dtype, [rows, 1], place["offset"], rows * size
            assert place["bytes"] == rows * size
    return tensors


@pytest.mark.parametrize("kind", KINDS)
def test_library_finds_what_was_planned(programs, converted, tiny, kind):
    found = {}
    for path in files(converted(kind)):
        content = path.read_bytes()
        raw = dict(deserialize(content))
        start = 8 + struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8:start])
        with safe_open(path, framework="pt") as file:
            assert file.metadata() == {"format": "pt"}
            assert raw.keys() == set(file.keys())
            for name in file.keys():
                tensor, part = file.get_tensor(name), file.get_slice(name)
                first, end = header[name]["data_offsets"]
                data = content[start + first : start + end]
                assert data == bits(tensor).numpy().tobytes() == bytes(raw[name]["data"])
                found[path.name, name] = part.get_dtype(), part.get_shape(), start + first, end - first
    assert found == planned(programs.plan(tiny, "--to", kind, *SHARDED))


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_those_of_the_reference_writer(converted, kind):
    for path in files(converted(kind)):
        assert path.read_bytes() == save(load_file(path), {"format": "pt"})


@pytest.mark.parametrize("kind", KINDS)
def test_index_is_as_transformers_expects(converted, kind):
    folder = converted(kind)
    paths, index = get_checkpoint_shard_files(str(folder), str(folder / "model.safetensors.index.json"))
    tensors = load(folder)
    assert sorted(paths) == [str(path) for path in files(folder)] and len(paths) > 1
    assert sorted(index["all_checkpoint_keys"]) == sorted(tensors)
    assert index["total_size"] == sum(tensor.nbytes for tensor in tensors.values())
    for name, file in index["weight_map"].items():
        assert name in safe_open(folder / file, framework="pt").keys()


def test_one_shard_has_no_index(programs, tiny, tmp_path):
    folder = programs.convert(tiny, tmp_path / "out", "--to", "fp8")
    assert [path.name for path in files(folder)] == ["model.safetensors"]
    assert not (folder / "model.safetensors.index.json").exists()


@pytest.mark.parametrize("kind", FLOATS)
def test_values_are_torchs(converted, tiny, kind):
    base, out = load(tiny), load(converted(kind))
    assert base.keys() == out.keys()
    for name, tensor in out.items():
        assert torch.equal(bits(tensor), bits(base[name].to(FLOATS[kind]))), name


@pytest.mark.parametrize("source", FLOATS)
@pytest.mark.parametrize("target", FLOATS)
def test_any_value_is_rounded_as_torch_rounds_it(programs, tiny, tmp_path, source, target):
    """The weights of `tiny` are all BF16; here are bits that the target drops, ties and subnormals among them."""
    generator = torch.Generator().manual_seed(1)

    def arbitrary(shape):
        """Random bit patterns below F16's overflow; a tenth each lie halfway between two BF16 and two F16 numbers."""
        patterns = torch.randint(-(2**31), 2**31, shape, generator=generator).to(torch.int32)
        kind = torch.randint(0, 10, shape, generator=generator)
        patterns = torch.where(kind == 0, patterns & ~0xFFFF | 0x8000, patterns)
        patterns = torch.where(kind == 1, patterns & ~0x1FFF | 0x1000, patterns)
        values = patterns.view(torch.float32)
        exponents = torch.randint(-30, 15, shape, generator=generator)
        moderate = torch.ldexp(1 + torch.rand(shape, generator=generator), exponents)
        return torch.where(values.abs() < 65000, values, moderate).to(FLOATS[source])

    base = {name: arbitrary(tensor.shape) for name, tensor in load(tiny).items()}
    model = tmp_path / "model"
    model.mkdir()
    config = json.loads((tiny / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"dtype": str(FLOATS[source]).removeprefix("torch.")}))
    save_file(base, model / "model.safetensors", {"format": "pt"})
    out = load(programs.convert(model, tmp_path / "out", "--to", target))
    for name, tensor in out.items():
        assert torch.equal(bits(tensor), bits(base[name].to(FLOATS[target]))), name
