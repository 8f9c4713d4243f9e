"""What the checks share: where things are, our programs, conversions made once, and the figures that were measured."""

import os

# Before any library is imported: nothing here may depend on a network.
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", HF_HUB_DISABLE_PROGRESS_BARS="1")

from pathlib import Path

import pytest

from programs import Programs

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "Tests/Fixtures"
LARGE = Path(os.environ.get("LLAMA_FIXTURES", ROOT.parent / "shared/fixtures"))
# Small enough that `tiny` becomes several shards.
SHARDED = ("--max-shard-size", "1MB")
FIGURES = pytest.StashKey[list]()


@pytest.fixture(scope="session")
def programs():
    folder = Path(os.environ.get("LLAMA_BIN", ROOT / ".build/release")).resolve()
    if not (folder / "llama-convert").exists():
        pytest.exit(f"there is no llama-convert in {folder}: run `make build`, or set LLAMA_BIN", returncode=2)
    return Programs(folder)


@pytest.fixture(scope="session")
def tiny():
    return FIXTURES / "tiny"


@pytest.fixture(scope="session")
def text():
    return FIXTURES / "eval.txt"


@pytest.fixture(scope="session")
def small3():
    """A larger model that is not in the repository."""
    if not (LARGE / "small3").is_dir():
        pytest.skip(f"there is no {LARGE}/small3 (set LLAMA_FIXTURES)")
    return LARGE / "small3"


@pytest.fixture(scope="session")
def tiny2():
    """A model with a SentencePiece tokenizer that is not in the repository."""
    if not (LARGE / "tiny2").is_dir():
        pytest.skip(f"there is no {LARGE}/tiny2 (set LLAMA_FIXTURES)")
    return LARGE / "tiny2"


@pytest.fixture(scope="session")
def converted(programs, tiny, tmp_path_factory):
    """converted("fp8") is `tiny` converted to fp8 in shards; each conversion is made once."""
    made = {}

    def convert(kind):
        if kind not in made:
            made[kind] = programs.convert(tiny, tmp_path_factory.mktemp("converted") / kind, "--to", kind, *SHARDED)
        return made[kind]

    return convert


@pytest.fixture
def figure(request):
    """figure("max |Δ|", 1e-5) prints a measured value below the results."""

    def note(what, value):
        request.config.stash.setdefault(FIGURES, []).append(f"{request.node.name}: {what} {value:.3g}")

    return note


def pytest_terminal_summary(terminalreporter, config):
    figures = config.stash.get(FIGURES, [])
    if figures:
        terminalreporter.section("measured")
        terminalreporter.write("\n".join(figures) + "\n")
