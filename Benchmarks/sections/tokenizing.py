"""Our tokenizer against tiktoken and tokenizers on the same text, each on one thread."""

import hashlib

from options import TEXT
from processes import NotMeasured
from results import Samples, Table

SIZE = 10_000_000
# As many texts as there are lines in a file of moderate length: tokenizers slows down on long ones.
PART = 100_000
PEERS = ("tiktoken", "tokenizers")


def write_texts(path, size):
    """Lines of hexadecimal; gives the bytes of text."""
    text = TEXT.read_text()
    text *= PART // len(text) + 2
    written = 0
    with open(path, "w") as file:
        while written < size:
            start = written % (len(text) - PART)
            part = text[start : start + PART].encode()
            file.write(part.hex() + "\n")
            written += len(part)
    return written


def digest(path):
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def run(bench):
    hexadecimal, ids = bench.workspace.folder / "text.hex", bench.workspace.folder / "ids"
    megabytes = write_texts(hexadecimal, SIZE // 10 if bench.small else SIZE) / 1e6
    model = bench.workspace.model
    samples = Samples("MB/s", bench.say)
    digests = {}

    def measure_ours():
        finished = bench.programs.verify("tokenize", model, stdin=hexadecimal, stdout=ids)
        digests["ours"] = digest(ids)
        return megabytes / finished.seconds, {"peak_rss_bytes": finished.peak_rss_bytes}

    def measure_peer(name):
        bench.peers.need(*PEERS)  # one module asks for both
        answer = bench.peers.ask("tokenizing.py", name, model, hexadecimal)
        digests[name] = answer["sha256"]
        return megabytes / answer["seconds"], {"peak_rss_bytes": answer["peak_rss_bytes"]}

    for _ in bench.rounds("tokenizing"):
        samples.take("ours", measure_ours)
        for name in PEERS:
            samples.take(name, lambda name=name: measure_peer(name))
    hexadecimal.unlink()
    ids.unlink()
    for name in digests:
        if digests[name] != digests["ours"]:
            raise AssertionError(f"the ids of {name} are others than ours")
    ours = samples.row("ours")
    for name in PEERS:
        ours.compare(samples.row(name))
    meaning = (
        f"{megabytes:.1f} MB of text, one thread each; ours with the start of its process, and the text in and the ids out as "
        "digits. More is better."
    )
    if len(digests) > 1:
        meaning += " All ids are the same."
    return [Table("tokenizing", "Tokenizing", meaning, list(samples.rows.values()))]
