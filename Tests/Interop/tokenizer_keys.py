#!/usr/bin/env python3
"""Writes Tests/Fixtures/tokenizer_keys.json: what the libraries say about the keys of a GGUF's tokenizer, and files that
the libraries accept for them. Needs the packages gguf, tokenizers and transformers.

    python3 Tests/Interop/tokenizer_keys.py            writes the file
    python3 Tests/Interop/tokenizer_keys.py --check    exits 1 if the file would change

Texts and types of tokens are transformers', merge rules and ids of special tokens those of gguf's SpecialVocab, which
llama.cpp's converter uses. Two tokenizers: the bundled model `tiny` by digests, and a made-up one in full, with all that
makes a difference: kinds of added tokens, an id without a token, rows beyond the ids, named templates.

For both, the file also has the SHA-256 of the `tokenizer.json` that must be made of the keys. It is put together here,
independently, and loaded to see that the ids are those of the original.
"""

import hashlib
import json
import os
import pathlib
import struct
import sys
import tempfile

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

from gguf import TokenType  # noqa: E402
from gguf.vocab import SpecialVocab  # noqa: E402
from tokenizer_parity import PATTERN, Generator  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from transformers import AutoTokenizer, PreTrainedTokenizerFast  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
TINY = ROOT / "Tests/Fixtures/tiny"
TARGET = ROOT / "Tests/Fixtures/tokenizer_keys.json"
SEED = 3
SPLIT = {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def dumps(value):
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def added(id, text, special=True):
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": id, "content": text, **flags, "special": special}


def processing(begin, id):
    """The post-processor: a token in front of the text."""

    def template(*parts):
        return [
            {"SpecialToken": {"id": begin, "type_id": type}} if name is None else {"Sequence": {"id": name, "type_id": type}}
            for name, type in parts
        ]

    return {
        "type": "Sequence",
        "processors": [
            {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
            {
                "type": "TemplateProcessing",
                "single": template((None, 0), ("A", 0)),
                "pair": template((None, 0), ("A", 0), (None, 1), ("B", 1)),
                "special_tokens": {begin: {"id": begin, "ids": [id], "tokens": [begin]}},
            },
        ],
    }


def document(tokens, vocabulary, merges, begin, id):
    """A whole tokenizer.json."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": tokens,
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                SPLIT, {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
            ],
        },
        "post_processor": processing(begin, id),
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
            "fuse_unk": False, "byte_fallback": False, "ignore_merges": True, "vocab": vocabulary, "merges": merges,
        },
    }


def made_up():
    """The files of a small tokenizer."""
    tiny = json.loads((TINY / "tokenizer.json").read_text())["model"]["vocab"]
    vocabulary = {text: id for text, id in tiny.items() if id < 256}
    pairs = [["Ġ", "t"], ["h", "e"], ["Ġt", "he"], ["ł", "Ģ"], ["Ġthe", "Ġ"]]
    for pair in pairs:
        vocabulary["".join(pair)] = len(vocabulary)
    tokens = [
        added(261, "<|begin_of_text|>"), added(262, "<|end_of_text|>"), added(263, "<|eot_id|>"), added(264, "<|tool|>", False),
        added(265, "hello world", False), added(266, "<｜User｜>", False), added(268, "<pad>"),
    ]
    # Without this, tokenizers would number them through and give "<pad>" the id 267.
    vocabulary |= {token["content"]: token["id"] for token in tokens}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|begin_of_text|>",
        "eos_token": "<|eot_id|>",
        "pad_token": "<pad>",
        "chat_template": [
            {"name": "tool_use", "template": "{{ tools }}"}, {"name": "default", "template": "{{ bos_token }}\n\"é\""},
        ],
    }
    whole = document(tokens, vocabulary, pairs, "<|begin_of_text|>", 261)
    return {"tokenizer.json": json.dumps(whole, ensure_ascii=False), "tokenizer_config.json": json.dumps(config)}


def keys(folder, rows, tokenizer):
    """What llama.cpp's converter would put into a GGUF."""
    texts = {id: text for text, id in tokenizer.get_vocab().items()}
    described = tokenizer.added_tokens_decoder
    tokens, types = [], []
    for id in range(rows):
        text = texts.get(id, f"[PAD{id}]")
        kind = TokenType.NORMAL if id in texts else TokenType.UNUSED
        if id in described:
            # The converter's rule for names: looks special, is special.
            named = text.startswith(("<|", "<｜")) and text.endswith(("|>", "｜>"))
            kind = TokenType.CONTROL if described[id].special or named else TokenType.USER_DEFINED
        tokens.append(text)
        types.append(int(kind))
    special = SpecialVocab(folder, load_merges=True, n_vocab=rows)
    return {
        "tokens": tokens, "types": types, "merges": special.merges, "special": special.special_token_ids,
        "add": special.add_special_token, "templates": special.chat_template,
    }


def rebuilt(values):
    """The tokenizer.json that must be made of keys."""
    ordinary = {text: id for id, (text, type) in enumerate(zip(values["tokens"], values["types"], strict=True)) if type == 1}
    others = [
        added(id, text, type == TokenType.CONTROL)
        for id, (text, type) in enumerate(zip(values["tokens"], values["types"], strict=True))
        if type in (TokenType.CONTROL, TokenType.USER_DEFINED)
    ]
    if [token["id"] for token in others] != list(range(len(ordinary), len(ordinary) + len(others))):
        ordinary |= {token["content"]: token["id"] for token in others}
        ordinary = dict(sorted(ordinary.items(), key=lambda entry: entry[1]))
    begin = values["special"]["bos"]
    return dumps(document(others, ordinary, values["merges"], values["tokens"][begin], begin))


def check(text, folder):
    """The library loads `text` and gives the ids of the original."""
    original, ours = Tokenizer.from_file(str(folder / "tokenizer.json")), Tokenizer.from_str(text)
    strings = [*Generator(SEED).strings(2_000), "hello world<|eot_id|>the the hello worlds <pad><｜User｜><|tool|>"]
    for string in strings:
        if ours.encode(string).ids != original.encode(string).ids:
            raise AssertionError(f"ids differ for {string!r}")
    # Other marks on a token of the same name do not matter here.
    if ours.get_vocab() != original.get_vocab():
        raise AssertionError("the vocabularies differ")


def entry(folder, rows):
    # AutoTokenizer may put settings of its own in; the class reads what is there.
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    values = keys(folder, rows, tokenizer)
    text = rebuilt(values)
    check(text, folder)
    with tempfile.TemporaryDirectory() as name:
        copy = pathlib.Path(name)
        (copy / "tokenizer.json").write_text(text)
        (copy / "tokenizer_config.json").write_text((folder / "tokenizer_config.json").read_text())
        again = keys(copy, rows, AutoTokenizer.from_pretrained(copy))
    if again != values:
        raise AssertionError("the keys of the file that was made of the keys are others")
    return {"rows": rows, **values, "json_sha256": sha256(text.encode())}


def digests(values):
    """The long lists as SHA-256, their texts ended by a zero byte."""
    for name in ("tokens", "merges"):
        values[f"{name}_sha256"] = sha256(b"".join(text.encode() + b"\0" for text in values.pop(name)))
    types = values.pop("types")
    return values | {"types_sha256": sha256(struct.pack(f"<{len(types)}i", *types))}


def generate():
    files = made_up()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for file, text in files.items():
            (folder / file).write_text(text)
        small = {"files": files, **entry(folder, 272)}
    return json.dumps({"tiny": digests(entry(TINY, 2056)), "small": small}, ensure_ascii=False, indent=1) + "\n"


def main():
    text = generate()
    if "--check" in sys.argv[1:]:
        sys.exit(0 if TARGET.read_text() == text else f"{TARGET.name} differs from what the libraries say")
    TARGET.write_text(text)
    print(f"{TARGET.name}: {len(text)} characters")


if __name__ == "__main__":
    main()
