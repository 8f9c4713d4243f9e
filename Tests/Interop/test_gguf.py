"""GGUF files: those that the Swift tests write again byte by byte, in the hands of gguf's own reader and writer."""

import hashlib
import json

import gguf
import gguf_vectors
import pytest
from conftest import FIXTURES, ROOT

GGUF = FIXTURES / "gguf"
EXPECTED = json.loads((GGUF / "expected.json").read_text())
PAGE = (ROOT / "formats/gguf.md").read_text()
# What the package has in another size, and what it does not have yet.
OTHERWISE = {"Q8_1", "Q2_0"}


def block(name):
    return PAGE.split(f"\n```{name}\n", 1)[1].split("\n```", 1)[0].splitlines()


@pytest.fixture(scope="module")
def regenerated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gguf")
    return folder, gguf_vectors.make(folder)


def test_expected_contents_are_unchanged(regenerated):
    assert regenerated[1] == EXPECTED


@pytest.mark.parametrize("name", sorted(path.name for path in GGUF.glob("*.gguf")))
def test_file_is_unchanged(regenerated, name):
    """And so is what our writer wrote: the Swift tests compare it with these files byte by byte."""
    assert (regenerated[0] / name).read_bytes() == (GGUF / name).read_bytes()


def spelled(field):
    types = [type.name for type in field.types]
    value = field.contents()
    kind = field.types[-1]
    if types[0] == "ARRAY":
        return types[-1], [gguf_vectors.spelled(kind, item) for item in value]
    return types[0], gguf_vectors.spelled(kind, value)


@pytest.mark.parametrize("name", EXPECTED)
def test_reader_reads_what_was_meant(name):
    """Keys, shapes and bytes of each set together. All pieces of one alignment: see formats/gguf.md."""
    expected = EXPECTED[name]
    metadata, tensors = [], []
    for file in expected["files"]:
        reader = gguf.GGUFReader(GGUF / file)
        for key, field in reader.fields.items():
            if not key.startswith(("GGUF.", "split.")):
                metadata.append([key, *spelled(field)])
        for tensor in reader.tensors:
            content = hashlib.sha256(tensor.data.tobytes()).hexdigest()
            tensors.append([tensor.name, tensor.tensor_type.name, tensor.shape.tolist()[::-1], content])
    assert metadata == expected["metadata"]
    assert tensors == expected["tensors"]


@pytest.mark.parametrize("line", block("vectors"))
def test_reader_agrees_with_page(line, tmp_path):
    verdict, digits, _ = line.split(maxsplit=2)
    (tmp_path / "x.gguf").write_bytes(bytes.fromhex(digits))
    try:
        gguf.GGUFReader(tmp_path / "x.gguf")
    except Exception:
        accepted = False
    else:
        accepted = True
    assert accepted == (verdict in ("accepts", "stricter"))


def test_page_shows_what_the_writer_writes(tmp_path):
    gguf_vectors.write(
        tmp_path / "x.gguf", [], [], [("a", gguf.GGMLQuantizationType.BF16, [2])], {}, None)
    written = (tmp_path / "x.gguf").read_bytes()
    # The page's tensor is zeros.
    assert written[:-32] + bytes(32) == bytes.fromhex("".join(block("written")))


def test_page_has_the_packages_types():
    rows = map(str.split, block("types"))
    page = {name: (int(number), int(elements), int(size)) for number, name, elements, size in rows}
    types = {type.name: (int(type), *gguf.GGML_QUANT_SIZES[type]) for type in gguf.GGMLQuantizationType}
    assert page.keys() - types.keys() <= OTHERWISE
    assert types.keys() <= page.keys()
    for name in types.keys() - OTHERWISE:
        assert page[name] == types[name]


def test_page_has_the_packages_keys():
    groups = [vars(group).values() for group in vars(gguf.Keys).values() if isinstance(group, type)]
    known = {value.replace("{arch}", "llama") for group in groups for value in group if isinstance(value, str)}
    assert {line.split()[0] for line in block("keys")} <= known


@pytest.mark.parametrize("line", block("filetypes"))
def test_page_has_the_packages_file_types(line):
    name, number = line.split()
    known = {"f32": "ALL_F32"}.get(name, f"MOSTLY_{name.upper()}")
    assert gguf.LlamaFileType[known] == int(number)


def test_only_the_first_piece_states_the_alignment(tmp_path):
    """What the page says of the package: its pieces after the first cannot be read with another alignment."""
    tensors = [(f"{number}", gguf.GGMLQuantizationType.I8, [3]) for number in range(4)]
    gguf_vectors.write(tmp_path / "x.gguf", [], [], tensors, {"split_max_tensors": 2}, 64)
    first, second = sorted(tmp_path.glob("x-*"))
    assert "general.alignment" in gguf.GGUFReader(first).fields
    assert "general.alignment" not in gguf.GGUFReader(second).fields
