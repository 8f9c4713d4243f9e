"""The benchmarks run on a model of a few megabytes; its figures mean nothing."""

import json
import math
import os
import subprocess
import sys

import pytest

from conftest import ROOT

TABLES = [
    "Conversion", "Quantization to blocks", "Tokenizing", "Matrix products", "Forward pass", "Scaling with threads",
    "Scaling with tokens",
]


@pytest.fixture
def bench(programs, tmp_path):
    def run(**variables):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BENCH_")}
        given = {"SHAPE": "test", "ROUNDS": "1", "CONTEXT": "64", "THREADS": "2", "FOLDER": str(tmp_path / "folder"), **variables}
        environment = {**kept, **{"BENCH_" + name: value for name, value in given.items()}}
        line = [sys.executable, str(ROOT / "Benchmarks/run.py"), str(programs.folder)]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        document = json.loads((tmp_path / "folder/bench.json").read_text())
        assert document["schema"] == "llama-bench/1" and document["failures"] == {}
        for table in document["tables"]:
            assert "### " + table["title"] in done.stdout
            for row in table["rows"]:
                check(row)
                assert f"| {row['name']} |" in done.stdout
        return document

    return run


def check(row):
    assert row["name"]
    if "not_measured" in row:
        assert row["not_measured"]
        return
    assert len(row["rounds"]) == 1 and row["median"] == row["rounds"][0] > 0
    assert all(math.isfinite(ratio) and ratio > 0 for ratio in row["ratios"].values())


def rows(document, title):
    table = next(table for table in document["tables"] if table["title"] == title)
    return {row["name"]: row for row in table["rows"]}


def test_without_peers(bench, tmp_path):
    document = bench(PYTHON="/nowhere/python")
    assert [table["title"] for table in document["tables"]] == TABLES
    assert document["machine"]["peers"] == {}
    conversion = rows(document, "Conversion")
    assert all("cp" in row["ratios"] for name, row in conversion.items() if name != "cp, and sync")
    assert 0.5 < conversion["the same with --compress"]["size_share"] < 0.8
    assert "not_measured" in rows(document, "Quantization to blocks")["q4_k_m"]
    forward = rows(document, "Forward pass")
    assert forward["ours, exact"]["median"] > 0 and "not_measured" in forward["PyTorch bfloat16"]
    assert "1 thread" in rows(document, "Scaling with threads")["exact, 2 threads, 64 tokens"]["ratios"]
    assert "64 tokens" in rows(document, "Scaling with tokens")["exact, 2 threads, 128 tokens"]["ratios"]
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == ["bench.json"], "all else is removed"


def test_beside_peers(bench):
    """Those that start fast: PyTorch takes seconds."""
    document = bench(PYTHON=sys.executable, SECTIONS="tokenizing,blocks")
    assert [table["title"] for table in document["tables"]] == TABLES[1:3], "in their own order"
    assert set(rows(document, "Tokenizing")["ours"]["ratios"]) == {"tiktoken", "tokenizers"}
    blocks = rows(document, "Quantization to blocks")
    assert all(blocks[kind]["identical_to_peer"] and "llama.cpp" in blocks[kind]["ratios"] for kind in ("q8_0", "q4_0", "q4_k_m"))


def test_a_kept_model_is_used_again(bench, tmp_path):
    model = tmp_path / "folder/model-test"
    bench(KEEP="1", SECTIONS="tokenizing", PYTHON="/nowhere/python")
    made = (model / "model.safetensors").stat().st_mtime_ns
    bench(SECTIONS="tokenizing", PYTHON="/nowhere/python")
    assert (model / "model.safetensors").stat().st_mtime_ns == made
    assert bench(MODEL=str(model), SECTIONS="tokenizing", PYTHON="/nowhere/python")["model"] == "model-test"
