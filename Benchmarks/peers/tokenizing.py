"""Times a tokenizer on one thread, and prints the SHA-256 of its ids in the form of `llama-verify tokenize`.

    python tokenizing.py tiktoken|tokenizers MODEL TEXTS      TEXTS: a line of hexadecimal for each"""

import hashlib
import json
import pathlib
import resource
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "Tests/Interop"))
from tokenizer_parity import tiktoken_encoder, tokenizers_encoder

ENCODERS = {"tiktoken": (tiktoken_encoder, "tokenizer.model"), "tokenizers": (tokenizers_encoder, "tokenizer.json")}

library, model, texts = sys.argv[1:]
make, file = ENCODERS[library]
encode = make(pathlib.Path(model) / file)
parts = [bytes.fromhex(line).decode() for line in pathlib.Path(texts).read_text().splitlines()]
start = time.perf_counter()
ids = [encode(part) for part in parts]
seconds = time.perf_counter() - start
digest = hashlib.sha256("".join(" ".join(map(str, row)) + "\n" for row in ids).encode()).hexdigest()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"seconds": seconds, "sha256": digest, "peak_rss_bytes": peak}))
