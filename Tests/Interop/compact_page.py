"""formats/compact.md put into Python, apart from the toolkit: gguf reads the container, zlib the streams, numpy the rest."""

import zlib

import gguf
import numpy

CHUNK = 65536
WIDTHS = {"F8_E4M3": 1, "F16": 2, "BF16": 2, "F32": 4}


def values(reader, key):
    return reader.fields[key].contents()


def split(numbers, width):
    """The planes of one chunk's bytes."""
    if width == 1:
        rotated = (numbers << 1 | numbers >> 7).astype(numpy.uint8)
        if len(rotated) % 2:
            rotated = numpy.append(rotated, numpy.uint8(0))
        low, high = rotated[0::2], rotated[1::2]
        return [low >> 4 | high & 0xF0, low & 15 | high << 4]
    words = numbers.view(f"<u{width}")
    rotated = words << 1 | words >> (8 * width - 1)
    return [(rotated >> 8 * (width - 1 - plane)).astype(numpy.uint8) for plane in range(width)]


def join(planes, width, count):
    if width == 1:
        exponents, rest = planes
        rotated = numpy.empty(2 * len(rest), numpy.uint8)
        rotated[0::2] = exponents << 4 | rest & 15
        rotated[1::2] = exponents & 0xF0 | rest >> 4
        rotated = rotated[:count]
        return rotated >> 1 | rotated << 7
    rotated = numpy.zeros(count, f"<u{width}")
    for plane in planes:
        rotated = rotated << 8 | plane
    return (rotated >> 1 | rotated << (8 * width - 1)).astype(f"<u{width}").view(numpy.uint8)


def decode_planes(stored, width, total):
    count = total // width
    chunks = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
    number = max(width, 2)
    sizes = stored[: 4 * number * len(chunks)].view("<u4").reshape(-1, number)
    place = sizes.nbytes
    out = []
    for chunk, own in zip(chunks, sizes.tolist()):
        planes = []
        full = (chunk + 1) // 2 if width == 1 else chunk
        for size in own:
            piece = stored[place : place + size].tobytes()
            place += size
            plane = piece if size == full else zlib.decompress(piece)
            assert len(plane) == full
            planes.append(numpy.frombuffer(plane, numpy.uint8))
        out.append(join(planes, width, chunk))
    assert place == len(stored)
    return numpy.concatenate(out) if out else numpy.empty(0, numpy.uint8)


def read(path):
    """Name → (type, shape, encoding, decoded bytes); and the reader. Checks every CRC."""
    reader = gguf.GGUFReader(path)
    assert values(reader, "general.architecture") == "llama-compact" and values(reader, "compact.version") == 1
    stored = {tensor.name: tensor for tensor in reader.tensors}
    lists = [values(reader, "compact.tensors." + key) for key in ("names", "types", "shapes", "encodings", "crc32")]
    found = {}
    for name, kind, shape, encoding, checksum in zip(*lists, strict=True):
        shape = eval(shape)  # a list of numbers, written by our own program
        raw = numpy.ascontiguousarray(stored.pop(name).data).reshape(-1).view(numpy.uint8)
        if encoding == "planes":
            raw = decode_planes(raw, WIDTHS[kind], WIDTHS[kind] * int(numpy.prod(shape)))
        elif encoding == "int4":
            pairs = numpy.stack([raw & 15, raw >> 4], 1).reshape(-1).view(numpy.int8)
            raw = numpy.where(pairs > 7, pairs - 16, pairs).astype(numpy.int8).view(numpy.uint8)
        assert zlib.crc32(raw.tobytes()) == checksum, name
        found[name] = (kind, shape, encoding, raw)
    assert not stored
    return found, reader
