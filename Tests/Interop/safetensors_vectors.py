"""Asks the reference library for its verdict on every vector in formats/safetensors.md.

Exits with 1 and names the lines where the page and the library disagree. Needs: pip install safetensors
"""

import re
import struct
import sys
from pathlib import Path

from safetensors import deserialize


def accepts(content: bytes) -> bool:
    try:
        deserialize(content)
        return True
    except Exception:
        return False


def vectors():
    """(line, bytes of the file, whether the page says that the library takes it) of every vector."""
    page = Path(__file__).parents[2] / "formats" / "safetensors.md"
    for kind, block in re.findall(r"```(vectors|files)\n(.*?)```", page.read_text(), re.S):
        for line in block.splitlines():
            if kind == "vectors":
                verdict, size, header = re.fullmatch(r"(\w+) +(\d+)  (.*)", line).groups()
                header = header.encode()
                content = struct.pack("<Q", len(header)) + header + bytes(int(size))
            else:
                verdict, digits = re.fullmatch(r"(\w+) +([0-9a-f]*)", line).groups()
                content = bytes.fromhex(digits)
            yield line, content, verdict != "refuses"


def main() -> int:
    lines = list(vectors())
    wrong = [line for line, content, accepted in lines if accepts(content) != accepted]
    for line in wrong:
        print(f"the library disagrees: {line}", file=sys.stderr)
    print(f"{len(lines)} vectors, {len(wrong)} disagreements")
    return 1 if wrong or not lines else 0


if __name__ == "__main__":
    sys.exit(main())
