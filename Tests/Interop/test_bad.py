"""Damaged and unusual files: what safetensors refuses `lint` refuses too, and what it takes `lint` takes."""

import json
import shutil
import struct

import pytest
import torch
from conftest import FIXTURES
from safetensors import SafetensorError, deserialize
from safetensors.torch import load_file, save_file

MODEL = FIXTURES / "golden/model/bf16"
NORM = "model.norm.weight"


def parts():
    content = (MODEL / "model.safetensors").read_bytes()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8:start]), content[start:]


def join(header, data, length=None):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def with_entry(**changes):
    """The file with members of one tensor's entry changed; None removes one."""
    header, data = parts()
    entry = header[NORM] | changes
    header[NORM] = {key: value for key, value in entry.items() if value is not None}
    return join(header, data)


def with_metadata(value):
    header, data = parts()
    return join({"__metadata__": value} | {key: entry for key, entry in header.items() if key != "__metadata__"}, data)


def with_text(edit):
    """The file with the header's text edited."""
    header, data = parts()
    return join(edit(json.dumps(header)).encode(), data)


def shifted(by):
    """All tensors but the first one later or earlier in the data."""
    header, data = parts()
    for entry in header.values():
        if "data_offsets" in entry and entry["data_offsets"][0] > 0:
            entry["data_offsets"] = [offset + by for offset in entry["data_offsets"]]
    return join(header, data + bytes(max(by, 0)))


HEADER, DATA = parts()
FIRST, END = HEADER[NORM]["data_offsets"]
CASES = {
    "as it is": join(HEADER, DATA),
    "white space around the header": with_text(lambda text: f" \n{text}\t\r\n "),
    "entries in another order": join(dict(reversed(HEADER.items())), DATA),
    "more in an entry": with_entry(comment={"a": [1, None]}),
    "escaped name": with_text(lambda text: text.replace(NORM, "model.n\\u006frm.weight")),
    "no metadata": join({key: entry for key, entry in HEADER.items() if key != "__metadata__"}, DATA),
    "null metadata": with_metadata(None),
    "empty metadata": with_metadata({}),
    "number in metadata": with_metadata({"format": 1}),
    "list of metadata": with_metadata([]),
    "metadata twice": with_text(lambda text: '{"__metadata__":{},' + text[1:]),
    "empty file": b"",
    "half a length": b"\0\0\0\0",
    "length alone": struct.pack("<Q", 0),
    "length beyond the file": join(HEADER, DATA, length=2**40),
    "length that overflows": join(HEADER, DATA, length=2**64 - 1),
    "length one short": join(HEADER, DATA, length=len(json.dumps(HEADER)) - 1),
    "byte missing": join(HEADER, DATA[:-1]),
    "byte too many": join(HEADER, DATA + b"\0"),
    "cut in the header": join(HEADER, DATA)[:1000],
    "byte order mark": with_text(lambda text: "\ufeff" + text),
    "padded with zero bytes": with_text(lambda text: text + "\0\0\0"),
    "comma at the end": with_text(lambda text: text[:-1] + ",}"),
    "two documents": with_text(lambda text: text + "{}"),
    "comment": with_text(lambda text: text + "//"),
    "not UTF-8": join(json.dumps(HEADER).encode().replace(b"norm", b"n\xffrm", 1), DATA),
    "array": with_text(lambda text: f"[{text}]"),
    "unknown element type": with_entry(dtype="BF17"),
    "element type in lower case": with_entry(dtype="bf16"),
    "no element type": with_entry(dtype=None),
    "no shape": with_entry(shape=None),
    "no offsets": with_entry(data_offsets=None),
    "one offset": with_entry(data_offsets=[FIRST]),
    "three offsets": with_entry(data_offsets=[FIRST, END, END]),
    "fractions": with_entry(data_offsets=[float(FIRST), END]),
    "negative shape": with_entry(shape=[-64]),
    "shape too large": with_entry(shape=[65]),
    "shape that overflows": with_entry(shape=[2**63, 2**63]),
    "wider type": with_entry(dtype="F32"),
    "offsets swapped": with_entry(data_offsets=[END, FIRST]),
    "overlap": with_entry(data_offsets=[FIRST - 128, END - 128]),
    "hole": shifted(128),
    "all overlap the first": shifted(-128),
}


def library_accepts(content):
    try:
        deserialize(content)
        return True
    except SafetensorError:
        return False


@pytest.mark.parametrize("content", CASES.values(), ids=CASES.keys())
def test_lint_agrees_with_safetensors(programs, tmp_path, content):
    shutil.copy(MODEL / "config.json", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(content)
    assert programs.accepts(tmp_path) == library_accepts(content)


def test_both_verdicts_occur():
    verdicts = [library_accepts(content) for content in CASES.values()]
    assert verdicts.count(True) >= 7 and verdicts.count(False) >= 30


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", ["bf16", "f16", "fp8", "fp8-compat"])
def test_a_number_that_is_none_is_the_inputs_fault(programs, tmp_path, kind, value):
    """65, bad input; or converted as torch does. Never 70, which blames this program."""
    model, out = tmp_path / "model", tmp_path / "out"
    model.mkdir()
    shutil.copy(MODEL / "config.json", model)
    tensors = {name: tensor.float() for name, tensor in load_file(MODEL / "model.safetensors").items()}
    damaged = tensors["model.layers.1.mlp.up_proj.weight"]
    damaged[3, 5] = value
    save_file(tensors, model / "model.safetensors")
    assert not programs.accepts(model)
    done = programs.run("llama-convert", "--to", kind, model, out, expected=(0, 65))
    if done.returncode == 0:
        written = load_file(out / "model.safetensors")["model.layers.1.mlp.up_proj.weight"]
        assert torch.equal(written[3, 5].float(), damaged[3, 5]) or written[3, 5].isnan() and damaged[3, 5].isnan()
    else:
        assert "element" in done.stderr and not out.exists()
