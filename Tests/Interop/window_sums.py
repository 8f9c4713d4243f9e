"""Makes Tests/Fixtures/window_sums.json: drift of whole windows of a long heterogeneous text, to check intervals on.

The text is this repository's own at a fixed commit: the evaluation text, the README, the pages of formats/ and every
third source file (Swift, C, Python), one behind the other, so that subject and language change many times. `tiny` is
scored against its conversions by --to fp8 and --to int4 in windows of 128 tokens; the file has, for each window, the
scored tokens and the sum of NLL(candidate) - NLL(base), nats, and the sum of the KL divergence, rounded to 1e-6.

    python Tests/Interop/window_sums.py OUT.json      # the two programs in .build/release
"""

import json
import pathlib
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMIT = "f0da1b4"
CONTEXT = 128


def git(*arguments):
    return subprocess.run(["git", "-C", ROOT, *arguments], check=True, capture_output=True).stdout


def text():
    names = git("ls-tree", "-r", "--name-only", COMMIT).decode().splitlines()
    sources = [name for name in names if name.startswith("Sources/") and name.endswith((".swift", ".c", ".inc"))]
    sources += [name for name in names if name.endswith(".py")]
    pages = ["Tests/Fixtures/eval.txt", "README.md"] + [name for name in names if name.startswith("formats/")]
    return b"\n".join(git("show", f"{COMMIT}:{name}") for name in pages + sources[::3])


def evidence(path):
    """Sums of each window from tokens.bin (formats/evidence.md)."""
    data = path.read_bytes()
    assert data[:8] == b"LLMTOKEN" and struct.unpack_from("<I", data, 8)[0] == 2
    tokens, entries = struct.unpack_from("<QQ", data, 16)
    start = 48 + 12 * entries
    base, candidate, kld = (
        struct.unpack_from(f"<{tokens}f", data, start + 4 * tokens * array) for array in range(3))
    sizes, drift, divergence, first = [], [], [], 0
    for entry in range(entries):
        count = struct.unpack_from("<I", data, 48 + 12 * entry + 8)[0]
        window = range(first, first + count)
        first += count
        sizes.append(count)
        drift.append(round(1e6 * sum(candidate[t] - base[t] for t in window)))
        divergence.append(round(1e6 * sum(kld[t] for t in window)))
    return sizes, drift, divergence


def main(out):
    programs = ROOT / ".build" / "release"
    model = ROOT / "Tests" / "Fixtures" / "tiny"
    document = {"commit": COMMIT, "context": CONTEXT}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "text").write_bytes(text())
        for kind in ("fp8", "int4"):
            subprocess.run([programs / "llama-convert", "--quiet", "--to", kind, model, folder / kind], check=True)
            subprocess.run(
                [programs / "llama-verify", "--quiet", model, folder / kind, "--text", folder / "text", "--context",
                 str(CONTEXT), "--report", folder / f"{kind}-report"], check=False, stdout=subprocess.DEVNULL)
            sizes, drift, divergence = evidence(folder / f"{kind}-report" / "tokens.bin")
            document["last_window"] = sizes[-1]
            document[f"{kind}_drift"] = drift
            if kind == "int4":
                document["int4_kld"] = divergence
    pathlib.Path(out).write_text(json.dumps(document, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
