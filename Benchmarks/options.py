"""What a run is asked for: options, whose defaults are variables of the environment."""

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from models import SHAPES

ROOT = Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "Tests/Fixtures"
TEXT = FIXTURES / "eval.txt"
# In the order in which they are run.
SECTIONS = ("conversion", "blocks", "tokenizing", "products", "forward", "scaling")


@dataclass
class Options:
    programs: Path
    shape: str
    model: Path
    rounds: int
    threads: int
    context: int
    sections: list
    folder: Path
    keep: bool
    python: str
    json: Path


def shape(text):
    """A type and not `choices`, which are not held against a default."""
    if text not in SHAPES:
        raise argparse.ArgumentTypeError(f"no shape {text}; there are {', '.join(SHAPES)}")
    return text


def sections_of(text):
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in SECTIONS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    return [name for name in SECTIONS if name in wanted]


def count(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def parse(arguments, environment=os.environ):
    parser = argparse.ArgumentParser(
        prog="Benchmarks/run.py", description="Times the programs against their peers, in turns, and prints ratios."
    )

    def option(name, default, help, **more):
        variable = "BENCH_" + name.upper()
        value = environment.get(variable) or default
        absent = f"; {default} when absent" if default else ""
        parser.add_argument("--" + name, default=value, help=f"{help} ({variable}{absent})", **more)

    parser.add_argument("programs", type=Path, help="the folder of llama-convert and llama-verify")
    option("shape", "1b", f"shape of the model that is made: {', '.join(SHAPES)}", type=shape)
    option("model", None, "a Hugging Face directory in BF16 instead of a made model", type=Path)
    option("rounds", "3", "how often each thing is measured", type=count)
    option("threads", str(len(os.sched_getaffinity(0))), "threads of our programs and of their peers", type=count)
    option("context", "2048", "tokens of a window of the forward pass", type=count)
    option("sections", ",".join(SECTIONS), "what is measured, separated by commas", type=sections_of)
    option("folder", None, "where models and outputs go, on the disk to be measured; else a folder here", type=Path)
    option("python", None, "a Python that has the peers; else .venv's of the repository", type=str)
    option("json", None, "where the results go; else bench.json in that folder, or bench-results.json here", type=Path)
    keep = environment.get("BENCH_KEEP", "") not in ("", "0")
    parser.add_argument("--keep", action="store_true", default=keep, help="leave the made model for the next run (BENCH_KEEP)")
    options = Options(**vars(parser.parse_args(arguments)))
    options.programs = options.programs.resolve()
    for program in ("llama-convert", "llama-verify"):
        if not (options.programs / program).exists():
            parser.error(f"there is no {program} in {options.programs}: run `make build`")
    if options.model and not options.model.is_dir():
        parser.error(f"{options.model} is no directory")
    if not options.python:
        installed = ROOT / ".venv/bin/python"
        options.python = str(installed) if installed.exists() else sys.executable
    if not options.json:
        options.json = options.folder / "bench.json" if options.folder else Path("bench-results.json")
    return options
