"""Processes that are timed, with what they print and the memory they need; our programs and the peers among them."""

import json
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

USAGE = 64  # the exit code of our programs for what they do not know


class Failed(Exception):
    def __init__(self, line, status, errors):
        said = errors.strip().splitlines()
        super().__init__(f"{Path(line[0]).name}: exit {status}" + (f": {said[-1].strip()}" if said else ""))
        self.status = status


@dataclass
class Finished:
    seconds: float
    peak_rss_bytes: int
    output: str


def run(*line, stdin=None, stdout=None, environment=None):
    """`stdin` and `stdout` are paths. Files take the streams: a pipe that is not read would hold up who writes to it.

    Linux counts what this process has in memory into the peak of those it starts, so it keeps itself small."""
    line = [str(part) for part in line]
    opened = open(stdout, "wb") if stdout else tempfile.TemporaryFile()
    with open(stdin or os.devnull, "rb") as given, opened as output, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(line, stdin=given, stdout=output, stderr=errors, env={**os.environ, **(environment or {})})
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            errors.seek(0)
            raise Failed(line, process.returncode, errors.read().decode(errors="replace"))
        if not stdout:
            output.seek(0)
        return Finished(seconds, usage.ru_maxrss * 1024, "" if stdout else output.read().decode())


class Programs:
    """Ours."""

    def __init__(self, folder, threads, model, text):
        self.folder, self.threads = folder, threads
        self.known = {}
        self.model, self.text = model, text  # small ones, to ask what the programs can do

    def convert_line(self, *arguments):
        return [self.folder / "llama-convert", "--quiet", "--threads", self.threads, *arguments]

    def convert(self, *arguments):
        return run(*self.convert_line(*arguments))

    def verify(self, *arguments, **streams):
        return run(self.folder / "llama-verify", *arguments, **streams)

    def version(self):
        return self.verify("--version").output.strip()

    def few_tokens(self, mode):
        """The part `run` of the report on a few tokens of the small model."""
        window = ("--context", 16, "--tokens", 15, "--compute", mode)
        return json.loads(self.verify(self.model, "--text", self.text, *window, "--quiet", "--json").output)["run"]

    def instruction_set(self):
        return self.few_tokens("exact")["instruction_set"]

    def computes(self, mode):
        """Whether llama-verify knows --compute `mode`: asked once."""
        if mode not in self.known:
            try:
                self.few_tokens(mode)
                self.known[mode] = True
            except Failed as failure:
                if failure.status != USAGE:
                    raise
                self.known[mode] = False
        return self.known[mode]


class NotMeasured(Exception):
    """What is not measured, and why: a peer that is not there, or that fails."""


class Peers:
    """Other software, in processes of a Python that has it."""

    FOLDER = Path(__file__).resolve().parent / "peers"
    ENVIRONMENT = {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
    }

    def __init__(self, python):
        self.python = python
        try:
            self.versions = self.ask("packages.py")
        except NotMeasured:
            self.versions = {}

    def have(self, *packages):
        return all(name in self.versions for name in packages)

    def need(self, *packages):
        missing = [name for name in packages if name not in self.versions]
        if missing:
            raise NotMeasured(f"without {' and '.join(missing)} (see make interop)")

    def run(self, script, *arguments):
        try:
            return run(self.python, self.FOLDER / script, *arguments, environment=self.ENVIRONMENT)
        except (Failed, OSError) as failure:
            raise NotMeasured(str(failure)) from failure

    def ask(self, script, *arguments):
        """The document that a script prints as its last line."""
        return json.loads(self.run(script, *arguments).output.splitlines()[-1])
