"""What is checked in as the libraries' word is still their word: regenerated, it is the same."""

import json

import block_vectors
import compact_vectors
import numpy as np
import pytest
import safetensors_vectors
import sentencepiece_vectors
import tokenizer_keys
import tokenizer_vectors
import unicode_classes
from conftest import FIXTURES, ROOT
from safetensors.numpy import load_file

GOLDEN = [json.loads(line) for line in (FIXTURES / "golden/safetensors/cases.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("generated", [sentencepiece_vectors, tokenizer_keys, tokenizer_vectors, unicode_classes], ids=lambda script: script.TARGET.name)
def test_generated_file_is_unchanged(generated):
    assert generated.generate() == generated.TARGET.read_text()


def test_safetensors_agrees_with_formats_page():
    vectors = list(safetensors_vectors.vectors())
    assert len(vectors) > 50
    for line, content, accepted in vectors:
        assert safetensors_vectors.accepts(content) == accepted, line


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_safetensors_agrees_with_golden_case(case):
    assert safetensors_vectors.accepts(bytes.fromhex(case["hex"])) == case["accepted"]


def test_gguf_package_agrees_with_block_vectors():
    stored = load_file(block_vectors.TARGET)
    made = block_vectors.make()
    # The others are those of ggml's library.
    assert {name.split(".")[-1] for name in stored.keys() - made.keys()} == {"searched", "weighted"}
    for name, tensor in made.items():
        assert np.array_equal(tensor, stored[name]), name


def test_vectors_of_the_compact_page():
    page = (ROOT / "formats/compact.md").read_text().split("```vectors\n")[1].split("```")[0].splitlines()
    made = [f"{verdict:8} {data.hex()} {what}" for verdict, data, what in compact_vectors.vectors()]
    assert page == made
