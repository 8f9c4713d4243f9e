"""Prints the vectors of formats/compact.md: files written with gguf's own writer and Python's zlib, by the page alone."""

import sys
import tempfile
import zlib
from pathlib import Path

import gguf
import numpy
from compact_page import split


def planes(numbers, width, compress=True):
    table, data = b"", b""
    for plane in split(numpy.frombuffer(numbers, numpy.uint8), width):
        piece = plane.tobytes()
        stream = zlib.compress(piece, 9)
        if compress and len(stream) < len(piece):
            piece = stream
        table += len(piece).to_bytes(4, "little")
        data += piece
    return numpy.frombuffer(table + data, numpy.int8)


BF16 = (numpy.array([1, 2, 3, 4, 5, 6], "<f4").view("<u4") >> 16).astype("<u2").tobytes()
CODES = numpy.array([-8, 7, 0, -1], numpy.int8).tobytes()
FP8 = bytes([0x38, 0xC0, 0x7E])


def sound():
    packed = numpy.array([[0x78], [0xF0]], numpy.uint8).view(numpy.int8)
    return {
        "files/x": ("U8", "[2]", "plain", b"hi", numpy.frombuffer(b"hi", numpy.int8)),
        "b": ("I8", "[2, 2]", "int4", CODES, packed),
        "c": ("F8_E4M3", "[3]", "plain", FP8, numpy.frombuffer(FP8, numpy.int8)),
        "a": ("BF16", "[2, 3]", "planes", BF16, planes(BF16, 2)),
    }


def file(tensors, version=1, drop=None, change=lambda lists: None):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.gguf"
        writer = gguf.GGUFWriter(path, "llama-compact")
        writer.add_uint32("compact.version", version)
        writer.add_string("compact.config", "{}")
        lists = {
            "names": list(tensors), "types": [t[0] for t in tensors.values()], "shapes": [t[1] for t in tensors.values()],
            "encodings": [t[2] for t in tensors.values()],
        }
        change(lists)
        for key, texts in lists.items():
            if key != drop:
                writer.add_array("compact.tensors." + key, texts)
        checksums = [zlib.crc32(t[3]) for t in tensors.values()]
        key = "compact.tensors.crc32"
        writer.add_key_value(key, checksums, gguf.GGUFValueType.ARRAY, sub_type=gguf.GGUFValueType.UINT32)
        for name, tensor in tensors.items():
            writer.add_tensor(name, numpy.array(tensor[4]))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def vectors():
    def changed(name, **parts):
        tensors = sound()
        order = ["kind", "shape", "encoding", "bytes", "stored"]
        tensors[name] = tuple(parts.get(key, old) for key, old in zip(order, tensors[name]))
        return tensors

    def stored(edit):
        raw = bytearray(planes(BF16, 2).tobytes())
        edit(raw)
        return numpy.frombuffer(bytes(raw), numpy.int8)

    def setting(place, value):
        def edit(raw):
            raw[place] = value

        return edit

    zeros = bytes(256)
    stream = planes(zeros, 2)
    cut = bytearray(stream.tobytes())
    cut[10] ^= 0xFF
    yield "accepts", file(sound()), "all encodings"
    yield "accepts", file({**sound(), "z": ("BF16", "[128]", "planes", zeros, stream)}), "a plane that is a zlib stream"
    yield "refuses", file({**sound(), "z": ("BF16", "[128]", "planes", zeros, numpy.frombuffer(bytes(cut), numpy.int8))}), "a stream that is none"
    yield "refuses", file(sound(), version=2), "version 2"
    for key in ("names", "types", "shapes", "encodings"):
        yield "refuses", file(sound(), drop=key), f"no {key}"
    yield "refuses", file(sound(), change=lambda lists: lists["types"].pop()), "a type too few"
    yield "refuses", file(sound(), change=lambda lists: lists["names"].__setitem__(1, "d")), "a name that is no tensor"
    yield "refuses", file(sound(), change=lambda lists: lists["names"].__setitem__(1, "c")), "a name twice"
    yield "refuses", file(changed("c", kind="F9")), "a type that is none"
    yield "refuses", file(changed("c", shape="[4]")), "another extent than is stored"
    yield "refuses", file(changed("c", shape="[3")), "a shape that is none"
    yield "refuses", file(changed("c", shape="[-3]")), "a negative extent"
    yield "refuses", file(changed("c", shape="[1, 1, 1, 1, 3]")), "five extents"
    yield "refuses", file(changed("a", shape="[9223372036854775807, 3]")), "a size that overflows"
    yield "refuses", file(changed("a", shape="[1000000000000, 3]")), "numbers whose table does not fit"
    yield "refuses", file(changed("c", encoding="zip")), "an encoding that is none"
    yield "refuses", file(changed("b", shape="[4, 1]")), "int4 in rows of odd length"
    yield "refuses", file(changed("b", encoding="planes")), "planes of integers"
    yield "refuses", file(changed("c", bytes=b"abc")), "another CRC-32"
    yield "refuses", file(changed("a", stored=stored(setting(0, 0)))), "a plane without bytes"
    yield "refuses", file(changed("a", stored=stored(setting(0, 7)))), "a plane larger than its numbers"
    yield "refuses", file(changed("a", stored=stored(setting(0, 5)))), "planes that do not fill the tensor"
    yield "refuses", file(changed("a", stored=planes(BF16, 2)[:7])), "a table cut short"
    slash = {("files/../x" if name == "files/x" else name): tensor for name, tensor in sound().items()}
    yield "refuses", file(slash), "a file name with a slash"
    dots = {("files/.." if name == "files/x" else name): tensor for name, tensor in sound().items()}
    yield "refuses", file(dots), "a file name of dots"


if __name__ == "__main__":
    for verdict, data, what in vectors():
        sys.stdout.write(f"{verdict:8} {data.hex()} {what}\n")
