"""The pickles of formats/pth.md, and archives around them, for torch to judge."""

import io
import pickletools
import re
import struct
import warnings
import zipfile
from pathlib import Path

import torch

PAGE = Path(__file__).resolve().parents[2] / "formats/pth.md"
OPCODES = {opcode.name: opcode.code.encode("latin-1") for opcode in pickletools.opcodes}
STORAGE = bytes(range(16))


def block(name):
    """The lines of the page's fenced block."""
    return re.search(rf"^```{name}\n(.*?)^```", PAGE.read_text(), re.S | re.M).group(1).splitlines()


WORDS = dict(line.split(None, 1) for line in block("words"))


def integer(value):
    if 0 <= value <= 0xFF:
        return b"K" + struct.pack("<B", value)
    if 0 <= value <= 0xFFFF:
        return b"M" + struct.pack("<H", value)
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a\x08" + struct.pack("<q", value)


def assemble(text):
    """The bytes of a pickle without PROTO and STOP; the notation is explained on the page."""
    out = b""
    for token in re.findall(r'"[^"]*"|\S+', text):
        if token in OPCODES:
            out += OPCODES[token]
        elif token.startswith('"'):
            out += b"X" + struct.pack("<I", len(token[1:-1].encode())) + token[1:-1].encode()
        elif token.startswith("$"):
            out += assemble(WORDS[token[1:]])
        elif token.startswith("@"):
            module, name = token[1:].rsplit(".", 1)
            out += f"c{module}\n{name}\n".encode()
        elif token.startswith("0x"):
            out += bytes([int(token, 16)])
        else:
            out += integer(int(token))
    return out


def pickle(text):
    return b"\x80\x02" + assemble(text) + b"."


def records(text='EMPTY_DICT "a" $tensor SETITEM', storage=STORAGE):
    return {"x/data.pkl": pickle(text), "x/byteorder": b"little", "x/data/0": storage, "x/version": b"3\n"}


def archive(contents, compression=zipfile.ZIP_STORED):
    """A zip file of Python's own, sizes in the local headers."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as target:
        for name, content in contents if isinstance(contents, list) else contents.items():
            with warnings.catch_warnings(action="ignore"):
                target.writestr(zipfile.ZipInfo(name), content, compression)
    return stream.getvalue()


def load(content, folder, mmap=False):
    path = folder / "x.pth"
    path.write_bytes(content)
    with warnings.catch_warnings(action="ignore"):
        return torch.load(path, weights_only=True, mmap=mmap)


def accepts(content, folder, mmap=False):
    """torch's verdict. What is loaded is looked at too: torch finds some faults only then."""
    try:
        str(load(content, folder, mmap))
        return True
    except Exception:
        return False


def vectors():
    """(line, file, whether the page says that torch takes it)"""
    for line in block("vectors"):
        verdict, text = line.split(None, 1)
        yield line, archive(records(text)), verdict in ("accepts", "stricter")
