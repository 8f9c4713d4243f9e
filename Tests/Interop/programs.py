"""Our two programs as processes, and their results as arrays."""

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy


@dataclass
class Scores:
    """What `llama-verify --report` wrote into tokens.bin (formats/evidence.md)."""

    windows: numpy.ndarray  # [W, 3]: index in the text, position of the first scored token, scored tokens
    nll: numpy.ndarray  # [T], nats

    @classmethod
    def read(cls, path):
        data = path.read_bytes()
        assert data[:8] == b"LLMTOKEN"
        version, flags = numpy.frombuffer(data, "<u4", 2, 8)
        assert (version, flags) == (2, 0), "version 2, no candidate"
        tokens, windows = map(int, numpy.frombuffer(data, "<u8", 2, 16))
        (facts,) = map(int, numpy.frombuffer(data, "<u8", 1, 40))
        assert len(data) == 48 + 12 * windows + 5 * tokens + facts
        return cls(
            numpy.frombuffer(data, "<u4", 3 * windows, 48).reshape(windows, 3),
            numpy.frombuffer(data, "<f4", tokens, 48 + 12 * windows),
        )


class Programs:
    def __init__(self, folder):
        self.folder = folder

    def run(self, program, *arguments, expected=(0,), stdin=None):
        line = [str(self.folder / program), *map(str, arguments)]
        done = subprocess.run(line, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode in expected, f"{' '.join(line)}: exit {done.returncode}\n{done.stderr}"
        return done

    def convert(self, source, output, *options):
        self.run("llama-convert", *options, source, output)
        return output

    def plan(self, source, *options):
        """What a conversion would write, as the document of --dry-run."""
        with tempfile.TemporaryDirectory() as folder:
            done = self.run("llama-convert", "--dry-run", "--json", *options, source, Path(folder) / "out")
        return json.loads(done.stdout)

    def accepts(self, checkpoint, *options):
        """Whether lint finds no error (with --strict: nor warning); exit code 65 says that it does."""
        return self.run("llama-convert", "lint", "--quiet", *options, checkpoint, expected=(0, 65)).returncode == 0

    def logits(self, model, ids, *options):
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "logits"
            self.run("llama-verify", "logits", model, "--ids", *ids, "--output", output, *options)
            return numpy.fromfile(output, "<f4").reshape(len(ids), -1)

    def scores(self, model, text, *options):
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report"
            self.run("llama-verify", model, "--text", text, "--report", report, *options)
            return Scores.read(report / "tokens.bin")

    def tokenize(self, model, texts):
        """Token ids of each text; `model` is a checkpoint or a tokenizer file."""
        lines = "".join(text.encode().hex() + "\n" for text in texts)
        rows = self.run("llama-verify", "tokenize", model, stdin=lines).stdout.split("\n")
        assert len(rows) == len(texts) + 1 and rows[-1] == ""
        return [list(map(int, row.split())) for row in rows[:-1]]

    def windows(self, model, text, context):
        """The protocol `windows`: begin-of-text and the next context - 1 tokens; the last window may be shorter."""
        (ids,) = self.tokenize(model, [text.read_text()])
        begin = json.loads((model / "config.json").read_text())["bos_token_id"]
        return [[begin, *ids[start : start + context - 1]] for start in range(0, len(ids), context - 1)]
