"""What is checked in as the libraries' word is still their word: regenerated, it is the same."""

import json

import pytest
import safetensors_vectors
import tokenizer_keys
import tokenizer_vectors
import unicode_classes
from conftest import FIXTURES

GOLDEN = [json.loads(line) for line in (FIXTURES / "golden/safetensors/cases.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("generated", [tokenizer_keys, tokenizer_vectors, unicode_classes], ids=lambda script: script.TARGET.name)
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
