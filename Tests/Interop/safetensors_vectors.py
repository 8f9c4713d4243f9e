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


def main() -> int:
    page = Path(__file__).parents[2] / "formats" / "safetensors.md"
    wrong = count = 0
    for kind, block in re.findall(r"```(vectors|files)\n(.*?)```", page.read_text(), re.S):
        for line in block.splitlines():
            if kind == "vectors":
                verdict, size, header = re.fullmatch(r"(\w+) +(\d+)  (.*)", line).groups()
                header = header.encode()
                content = struct.pack("<Q", len(header)) + header + bytes(int(size))
            else:
                verdict, digits = re.fullmatch(r"(\w+) +([0-9a-f]*)", line).groups()
                content = bytes.fromhex(digits)
            count += 1
            if accepts(content) != (verdict != "refuses"):
                print(f"the library disagrees: {line}", file=sys.stderr)
                wrong += 1
    print(f"{count} vectors, {wrong} disagreements")
    return 1 if wrong or not count else 0


if __name__ == "__main__":
    sys.exit(main())
