"""Makes Tests/Fixtures/torch: small files of torch.save with what is in them. Run by hand; the test compares."""

import hashlib, json, zipfile
from collections import OrderedDict
from pathlib import Path

import torch

FOLDER = Path(__file__).resolve().parents[1] / "Fixtures/torch"
NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2",
}


def numbers(*shape, dtype=torch.bfloat16):
    count = 1
    for extent in shape:
        count *= extent
    return (torch.arange(count) % 251 - 100).to(torch.float32).reshape(shape).to(dtype)


def dictionaries():
    """File name -> (object to save, legacy?)"""
    every = {name: numbers(3, 5, dtype=dtype) for dtype, name in NAMES.items()}
    whole = numbers(40, 7)
    views = {
        "whole": whole, "rows": whole[3:9], "column": whole[:, 2], "columns": whole[:, 1:4], "transposed": whole.t(),
        "every_other": whole[::2], "expanded": numbers(5, dtype=torch.float32).expand(4, 5), "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4), "cube": numbers(3, 4, 5).permute(2, 0, 1), "one": numbers(1, 6)[:, ::3],
    }
    tied = numbers(6, 4)
    bytes_ = torch.arange(1001).to(torch.uint8)
    parameter = torch.nn.Parameter(numbers(4, 4, dtype=torch.float32), requires_grad=True)
    module = torch.nn.Linear(3, 2)
    with torch.no_grad():
        module.weight.copy_(numbers(2, 3, dtype=torch.float32))
        module.bias.copy_(numbers(2, dtype=torch.float32))
    return {
        "types.pth": (every, False),
        "views.pth": (views, False),
        "tied.pth": ({"a": tied, "b": tied, "c": tied.view(24)}, False),
        "ordered.pth": (OrderedDict((f"t{i}", numbers(i, 2)) for i in range(4)), False),
        "single.pth": ({"only": numbers(2, 2)}, False),
        "none.pth": ({}, False),
        # One batch of the pickle exactly, and one more: elements of one storage.
        "many.pth": ({f"t{i}": bytes_[i:i + 1] for i in range(1000)}, False),
        "more.pth": ({f"t{i}": bytes_[i:i + 1] for i in range(1001)}, False),
        "parameter.pth": ({"p": parameter}, False),
        "module.pth": (module.state_dict(), False),
        "nested.pth": ({"epoch": 3, "model": {"a": numbers(2, 3), "b": numbers(3)}}, False),
        "legacy.pth": ({"a": numbers(4, 3), "b": whole.t(), "c": whole[2:5]}, True),
        "fp8.pth": ({"w": numbers(4, 8, dtype=torch.float8_e4m3fn), "s": numbers(4, dtype=torch.float32)}, False),
    }


def described(value):
    value = value.get("model", value) if isinstance(value, dict) else value
    tensors = {}
    for name, tensor in value.items():
        tensor = tensor.detach()
        content = tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        tensors[name] = [NAMES[tensor.dtype], list(tensor.shape), hashlib.sha256(content).hexdigest()]
    return tensors


def make(folder):
    expected = {}
    for name, (value, legacy) in dictionaries().items():
        torch.save(value, folder / name, _use_new_zipfile_serialization=not legacy)
        if len(value) < 100:
            expected[name] = described(value)
    # The same archive, deflated by another zip tool.
    with zipfile.ZipFile(folder / "types.pth") as source:
        with zipfile.ZipFile(folder / "deflated.pth", "w", zipfile.ZIP_DEFLATED) as target:
            for record in source.infolist():
                target.writestr(zipfile.ZipInfo(record.filename), source.read(record), zipfile.ZIP_DEFLATED)
    expected["deflated.pth"] = expected["types.pth"]
    return expected


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / "expected.json").write_text(json.dumps(make(FOLDER), indent=1) + "\n")
