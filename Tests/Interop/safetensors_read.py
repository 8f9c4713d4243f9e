"""Opens every .safetensors file below a directory with the reference library and reads every tensor.

Prints one JSON line per tensor: file, name, dtype (safetensors' spelling), shape, sha256 of the bytes.
Exits with 1 after printing what failed when the library refuses a file. Needs: pip install safetensors
"""

import hashlib
import json
import sys
from pathlib import Path

from safetensors import deserialize, safe_open


def main(directory: str) -> int:
    failures = 0
    for path in sorted(Path(directory).rglob("*.safetensors")):
        try:
            # safe_open checks the header as loaders do; deserialize hands out the raw bytes of every dtype.
            with safe_open(path, framework="numpy") as file:
                names = set(file.keys())
            tensors = deserialize(path.read_bytes())
        except Exception as error:
            print(f"{path}: {error}", file=sys.stderr)
            failures += 1
            continue
        assert names == {name for name, _ in tensors}, path
        for name, tensor in sorted(tensors):
            line = {
                "file": str(path.relative_to(directory)),
                "name": name,
                "dtype": tensor["dtype"],
                "shape": tensor["shape"],
                "sha256": hashlib.sha256(bytes(tensor["data"])).hexdigest(),
            }
            print(json.dumps(line, ensure_ascii=False))
    return 1 if failures else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: safetensors_read.py DIRECTORY")
    sys.exit(main(sys.argv[1]))
