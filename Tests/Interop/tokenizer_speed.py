"""Times our tokenizer against tiktoken and tokenizers on the same ten megabytes, in turns, each on one thread.

    python tokenizer_speed.py llama-verify MODEL TEXT"""

import os
import pathlib
import statistics
import subprocess
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizer_parity import tiktoken_encoder, tokenizers_encoder

program, model, text = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]).read_text()
text = (text * (10_000_000 // len(text) + 1))[:10_000_000]
# As many texts as there are lines in a file of moderate length: tokenizers slows down on long ones.
parts = [text[start : start + 100_000] for start in range(0, len(text), 100_000)]
hexadecimal = "".join(part.encode().hex() + "\n" for part in parts)
encoders = {"tiktoken": tiktoken_encoder(model / "tokenizer.model"), "tokenizers": tokenizers_encoder(model / "tokenizer.json")}
times = {"ours": [], **{name: [] for name in encoders}}
ids = {}
for _ in range(3):
    start = time.perf_counter()
    done = subprocess.run([program, "tokenize", model], input=hexadecimal, capture_output=True, text=True, check=True)
    times["ours"].append(time.perf_counter() - start)
    ids["ours"] = [list(map(int, row.split())) for row in done.stdout.splitlines()]
    for name, encode in encoders.items():
        start = time.perf_counter()
        ids[name] = [encode(part) for part in parts]
        times[name].append(time.perf_counter() - start)
assert ids["ours"] == ids["tiktoken"] == ids["tokenizers"]
size = len(text.encode()) / 1e6
rates = {name: size / statistics.median(seconds) for name, seconds in times.items()}
print("tokenizing     " + ", ".join(f"{name} {rate:.1f} MB/s" for name, rate in rates.items()) + "; ids identical")
