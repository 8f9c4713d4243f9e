"""The files that a Meta directory has not, in the hands of transformers."""

import json
import shutil

from transformers import AutoTokenizer, GenerationConfig
from tokenizer_parity import Generator, tiktoken_encoder


def test_transformers_reads_what_is_made(programs, tiny, tmp_path):
    """From params.json, shards and tokenizer.model alone, as Meta publishes a model."""
    meta = programs.convert(tiny, tmp_path / "meta", "--format", "pth", "--tp", "2")
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("params.json", "consolidated.00.pth", "consolidated.01.pth", "tokenizer.model"):
        shutil.copy(meta / name, bare)
    hf = programs.convert(bare, tmp_path / "hf", "--format", "safetensors")
    tokenizer = AutoTokenizer.from_pretrained(hf)
    encode = tiktoken_encoder(tiny / "tokenizer.model")
    # transformers reads the names of special tokens in a text as those tokens.
    texts = [text for text in Generator(5).strings(3000) if "<|" not in text]
    assert len(texts) > 2000
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    assert ids == [encode(text) for text in texts]
    begin = json.loads((tiny / "config.json").read_text())["bos_token_id"]
    assert tokenizer("x")["input_ids"] == [begin, *encode("x")]
    assert tokenizer.bos_token == "<|begin_of_text|>" and tokenizer.eos_token == "<|end_of_text|>"
    generation = GenerationConfig.from_pretrained(hf)
    assert generation.eos_token_id == tokenizer.convert_tokens_to_ids(["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"])
