"""Files of torch.save: ours in torch's hands, torch's verdicts on what formats/pth.md says of them."""

import hashlib
import io
import json
import pickletools
import struct
import zipfile

import pytest
import torch
import torch._weights_only_unpickler as unpickler
import torch_page
import torch_vectors
from conftest import FIXTURES
from safetensors.torch import load_file
from torch.utils.serialization import config

TORCH = FIXTURES / "torch"
STORAGE = torch_page.STORAGE
VALUES = torch.frombuffer(bytearray(STORAGE), dtype=torch.float32)


@pytest.fixture(scope="module")
def regenerated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("torch")
    return folder, torch_vectors.make(folder)


def without_serialization_id(content):
    """The digits hash names in an unordered set; with them go their CRC in descriptor and directory."""
    content = bytearray(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (record,) = [record for record in archive.infolist() if record.filename.endswith("/.data/serialization_id")]
    names = struct.unpack_from("<HH", content, record.header_offset + 26)
    start = record.header_offset + 30 + sum(names)
    content[start : start + 40] = bytes(40)
    content[start + 44 : start + 48] = bytes(4)
    central = content.rfind(record.filename.encode()) - 46
    content[central + 16 : central + 20] = bytes(4)
    return content


def test_expected_contents_are_unchanged(regenerated):
    assert regenerated[1] == json.loads((TORCH / "expected.json").read_text())


@pytest.mark.parametrize("name", [name for name, (_, legacy) in torch_vectors.dictionaries().items() if not legacy])
def test_file_is_unchanged(regenerated, name):
    again = without_serialization_id((regenerated[0] / name).read_bytes())
    assert again == without_serialization_id((TORCH / name).read_bytes())


def test_legacy_and_deflated_hold_the_same(regenerated):
    """Keys of legacy storages are addresses; another zlib may deflate otherwise."""
    for name in ("legacy.pth", "deflated.pth"):
        again, committed = (torch.load(folder / name, weights_only=True) for folder in (regenerated[0], TORCH))
        assert list(again) == list(committed)
        assert all(torch.equal(again[key], committed[key]) for key in again)


@pytest.mark.parametrize(
    "content,accepted", [(content, accepted) for _, content, accepted in torch_page.vectors()],
    ids=[line for line, _, _ in torch_page.vectors()])
def test_torch_agrees_with_page(content, accepted, tmp_path):
    assert torch_page.accepts(content, tmp_path) == accepted


def test_page_lists_torchs_opcodes():
    """Those that torch's reader compares a key with; its source imports each by name."""
    known = {opcode.name for opcode in pickletools.opcodes if hasattr(unpickler, opcode.name)}
    assert set(" ".join(torch_page.block("opcodes")).split()) == known


def test_page_names_what_torch_allows():
    allowed = unpickler._get_allowed_globals()
    assert set(torch_page.block("globals")) <= set(allowed)


@pytest.mark.parametrize("line", torch_page.block("types"))
def test_page_names_torchs_types(line, tmp_path):
    name, storage, _ = line.split()
    dtype = getattr(torch, name)
    torch.save({"a": torch.zeros(3, dtype=dtype)}, tmp_path / "x.pth")
    pickle = zipfile.ZipFile(tmp_path / "x.pth").read("x/data.pkl")
    names = {argument for opcode, argument, _ in pickletools.genops(pickle) if opcode.name == "GLOBAL"}
    assert (f"torch {storage}" in names) == (storage != "-")
    assert ("torch.storage UntypedStorage" in names and f"torch {name}" in names) == (storage == "-")


def test_page_shows_what_torch_writes():
    stream = io.BytesIO()
    torch.save({"a": torch.zeros(2, dtype=torch.bfloat16)}, stream)
    assert zipfile.ZipFile(stream).read("archive/data.pkl").hex() == "".join(torch_page.block("written"))


def outcome(content, folder, mmap):
    try:
        return torch_page.load(content, folder, mmap)["a"].clone()
    except Exception:
        return "refuses"


def edited(content, old, new, which=0):
    """The bytes with one of several occurrences replaced."""
    parts = content.split(old)
    return old.join(parts[: which + 1]) + new + old.join(parts[which + 1 :])


PLAIN = torch_page.archive(torch_page.records())
# Case: file, what torch makes of it with mmap=True and without: values, other values or a refusal.
TOLERATED = {
    "as it is": (PLAIN, "values", "values"),
    "wrong CRC-32": (PLAIN.replace(STORAGE, bytes(16)), "other", "other"),
    "short storage": (torch_page.archive(torch_page.records(storage=STORAGE[:12])), "other", "refuses"),
    "long storage": (torch_page.archive(torch_page.records(storage=STORAGE + bytes(4))), "values", "refuses"),
    "deflated storage": (torch_page.archive(torch_page.records(), zipfile.ZIP_DEFLATED), "other", "values"),
    "two of a name": (
        torch_page.archive([*torch_page.records().items(), ("x/data/0", bytes(16))]), "values", "values"),
    "two of a name, case aside": (
        torch_page.archive([("x/DATA/0", bytes(16)), *torch_page.records().items()][::-1]), "values", "values"),
    "a name in the other case": (PLAIN.replace(b"x/data/0", b"x/DATA/0"), "values", "values"),
    "another name in the local header": (edited(PLAIN, b"x/data/0", b"x/data/9"), "values", "values"),
    "bytes behind the end record": (PLAIN + bytes(3), "values", "values"),
    "an empty folder name": (
        torch_page.archive({name[1:]: content for name, content in torch_page.records().items()}), "values", "values"),
    "bytes in front": (b"\0" + PLAIN, "refuses", "refuses"),
    "an encrypted record": (edited(PLAIN, b"x/data/0", b"x/data/0", 1).replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"), "refuses", "refuses"),
}


@pytest.mark.parametrize("mmap", [True, False], ids=["mmap", "read"])
@pytest.mark.parametrize("case", TOLERATED)
def test_torch_tolerates_what_page_says(case, mmap, tmp_path):
    content, mapped, read = TOLERATED[case]
    found = outcome(content, tmp_path, mmap)
    expected = mapped if mmap else read
    if expected == "refuses":
        assert isinstance(found, str)
    else:
        assert torch.equal(found, VALUES) == (expected == "values")


def loaded(path, mmap, calculated):
    with config.patch({"load.calculate_storage_offsets": calculated}):
        return torch.load(path, weights_only=True, mmap=mmap)


def digest(tensor):
    return hashlib.sha256(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()).hexdigest()


@pytest.mark.parametrize("ranks", [1, 2])
def test_torch_reads_what_we_write(programs, tiny, tmp_path, ranks):
    """The writer's files: torch reads them in every way, and writes the same bytes from what it read."""
    programs.convert(tiny, tmp_path / "meta", "--format", "pth", "--tp", str(ranks))
    files = sorted((tmp_path / "meta").glob("*.pth"))
    assert [file.name for file in files] == [f"consolidated.{rank:02}.pth" for rank in range(ranks)]
    norm = load_file(tiny / "model.safetensors")["model.norm.weight"]
    for file in files:
        plain = loaded(file, False, False)
        assert torch.equal(plain["norm.weight"], norm)
        for mmap, calculated in [(False, True), (True, False), (True, True)]:
            other = loaded(file, mmap, calculated)
            assert list(other) == list(plain)
            assert all(digest(other[name]) == digest(plain[name]) for name in plain)
        (tmp_path / "again").mkdir(exist_ok=True)
        torch.save(plain, tmp_path / "again" / file.name)
        again = (tmp_path / "again" / file.name).read_bytes()
        assert without_serialization_id(again) == without_serialization_id(file.read_bytes())
