#!/usr/bin/env python3
"""Writes Tests/Fixtures/sentencepiece.json: small SentencePiece models, and what the library says about texts and ids with
them; what transformers and llama.cpp's converter make of a tokenizer.model. Needs the packages sentencepiece, protobuf,
tokenizers and transformers.

    python3 Tests/Interop/sentencepiece_vectors.py            writes the file
    python3 Tests/Interop/sentencepiece_vectors.py --check    exits 1 if the file would change

`texts`: in hexadecimal. `models`: the protobuf in base64, the texts' ids, lists of ids with the decoded text, the ids of
begin, end, padding and unknown. `refused`: models of other kinds. `merges`: number and SHA-256 of the merge rules that transformers lists
for the bundled tiny2, lines "left right". `json`: tokenizer.json files in both spellings, with ids by tokenizers. `keys`: a
tokenizer.model with files that add tokens, and the texts, scores and types that the rules of llama.cpp's converter give,
written down here once more.
"""

import base64
import hashlib
import importlib.metadata
import json
import os
import pathlib
import random
import sys

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")

from sentencepiece_models import REFUSED, lines_of, models, processor, protobuf, train  # noqa: E402
from tokenizer_parity import Generator  # noqa: E402
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers  # noqa: E402
from tokenizers.models import BPE  # noqa: E402
from transformers.convert_slow_tokenizer import generate_merges  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = ROOT / "Tests/Fixtures/sentencepiece.json"
TINY2 = ROOT / "Tests/Fixtures/tiny2/tokenizer.model"
HAND_MADE = [
    "", " ", "  ", "▁", " ▁ ", "▁▁▁", "x▁▁", "  x  x   x ", "the▁▁the", "abab abcab abcabc", "  <tool>  <tool> é é",
    "<s>hello</s><unk> <0x41>", "a\tb\nc\r\n", "\0a\x7f", "👍🏽👍 ❤️", "漢字かな", "e\u0301é", "\ufeffthe", "the the theth",
]


def strings(seed, count):
    return HAND_MADE + [string[:50] for string in Generator(seed).strings(count)[13:]]


def described(model, texts):
    library = processor(model)
    choose = random.Random(7)
    lists = [library.encode(text) for text in texts[:40]]
    lists += [[choose.randrange(library.get_piece_size()) for _ in range(choose.randrange(8))] for _ in range(80)]
    # Byte pieces that are no UTF-8 are decoded otherwise here: the library puts U+FFFD.
    decoded = [(ids, library.decode(ids)) for ids in lists]
    return {
        "model": base64.b64encode(model).decode(),
        "encode": [library.encode(text) for text in texts],
        "decode": [[ids, text] for ids, text in decoded if "\ufffd" not in text],
        "special": [library.bos_id(), library.eos_id(), library.pad_id(), library.unk_id()],
    }


def pieces(model):
    return protobuf.ModelProto.FromString(model).pieces


def merges(model):
    """transformers' own list."""
    scores = {piece.piece: piece.score for piece in pieces(model)}
    vocabulary = {piece.piece: id for id, piece in enumerate(pieces(model))}
    return generate_merges(vocabulary, scores)


def tokenizer_json(model, spelling):
    """As Hugging Face's converter puts it together, with the tokenizers library."""
    vocabulary = {piece.piece: id for id, piece in enumerate(pieces(model))}
    made = Tokenizer(BPE(vocabulary, merges(model), unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if spelling == "Prepend":
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    made.add_special_tokens([AddedToken(text, normalized=False) for text in ("<unk>", "<s>", "</s>")])
    made.encode_special_tokens = True
    return made


def keys():
    """Pieces, then what llama.cpp's converter does for added tokens and rows without one."""
    model = train(["the cat sat on the mat"] * 20, 290)
    count = len(pieces(model))
    added = {"<pad>": count, "hello▁world": count + 1, "<|im_start|>": count + 2}
    config = {
        "add_bos_token": True, "add_eos_token": False, "bos_token": "<s>", "eos_token": {"content": "</s>"}, "unk_token": "<unk>",
        "pad_token": "<pad>",
        "added_tokens_decoder": {
            "0": {"content": "<unk>", "special": True}, "1": {"content": "<s>", "special": True},
            str(count): {"content": "<pad>", "special": True}, str(count + 4): {"content": "two words", "special": False},
        },
    }
    rows = count + 7
    tokens, scores, types = [f"[PAD{id}]" for id in range(rows)], [-10000.0] * rows, [5] * rows
    for id, piece in enumerate(pieces(model)):
        tokens[id], scores[id], types[id] = piece.piece, piece.score, piece.type
    for text, id, kind in [
        ("<pad>", count, 3), ("hello world", count + 1, 4), ("<|im_start|>", count + 2, 3), ("two words", count + 4, 4),
    ]:
        tokens[id], scores[id], types[id] = text, -1000.0, kind
    return {
        "model": base64.b64encode(model).decode(), "added_tokens.json": json.dumps(added, ensure_ascii=False),
        "tokenizer_config.json": json.dumps(config), "rows": rows, "tokens": tokens, "scores": scores, "types": types,
        "special": {"bos": 1, "eos": 2, "unknown": 0, "padding": count},
    }


def short(model):
    """Without most of a large table, which is there to be refused."""
    message = protobuf.ModelProto.FromString(model)
    message.normalizer_spec.precompiled_charsmap = message.normalizer_spec.precompiled_charsmap[:64]
    return message.SerializeToString()


def generate():
    lines = lines_of((ROOT / "Tests/Fixtures/eval.txt").read_text()[:20_000], 5, 32)
    made = models(lines, 700, character_coverage=0.98)
    texts = strings(9, 140)
    document = {
        "origin": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("sentencepiece", "tokenizers", "transformers")),
        "texts": [text.encode().hex() for text in texts],
        "models": {name: described(model, texts) for name, model in made.items()},
        "refused": {
            name: base64.b64encode(short(train(lines[:60], 400, character_coverage=0.98, byte_fallback=False, **own))).decode()
            for name, own in REFUSED.items()
        },
    }
    tiny2 = TINY2.read_bytes()
    document["tiny2"] = described(tiny2, texts) | {"model": ""}
    rules = merges(tiny2)
    text = "".join(f"{left} {right}\n" for left, right in rules)
    document["merges"] = {"count": len(rules), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    document["json"] = {}
    for spelling in ("Prepend", "Metaspace"):
        tokenizer = tokenizer_json(made["plain"], spelling)
        document["json"][spelling] = {
            "file": tokenizer.to_str(), "encode": [tokenizer.encode(text).ids for text in texts],
        }
    document["keys"] = keys()
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n"


def main():
    text = generate()
    if "--check" in sys.argv[1:]:
        sys.exit(0 if TARGET.read_text() == text else f"{TARGET.name} differs from what the libraries say")
    TARGET.write_text(text)
    print(f"{TARGET.name}: {len(text)} characters")


if __name__ == "__main__":
    main()
