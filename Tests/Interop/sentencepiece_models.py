"""Small SentencePiece models of every kind that makes a difference, trained here with fixed settings, and edited ones that
the trainer does not make."""

import io
import random

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as protobuf
from tokenizer_parity import Generator

USER_DEFINED = ["<tool>", "the", "th", "▁▁", "é", "👍", "<|eot_id|>", "[INST]", "ab", "abc"]
TRAINED = {
    "plain": {},
    "extra spaces removed": {"remove_extra_whitespaces": True},
    "no dummy prefix": {"add_dummy_prefix": False},
    "no dummy prefix, extra spaces removed": {"add_dummy_prefix": False, "remove_extra_whitespaces": True},
    "no byte fallback": {"byte_fallback": False},
    "user-defined": {"user_defined_symbols": USER_DEFINED},
    "user-defined, extra spaces removed": {
        "user_defined_symbols": USER_DEFINED, "remove_extra_whitespaces": True, "byte_fallback": False,
    },
    "pieces across spaces": {"split_by_whitespace": False, "allow_whitespace_only_pieces": True, "control_symbols": ["<sys>", "<pad>"]},
}
# What a reader here refuses: kind and normalizer.
REFUSED = {
    "unigram": {"model_type": "unigram"},
    "word": {"model_type": "word"},
    "char": {"model_type": "char"},
    "nmt_nfkc": {"normalization_rule_name": "nmt_nfkc"},
    "spaces behind words": {"treat_whitespace_as_suffix": True},
}


def ties(model):
    """Few distinct scores, so that the leftmost merge is the one that counts."""
    choose = random.Random(3)
    for piece in normal(model):
        if len(piece.piece) > 1:
            piece.score = -choose.randrange(4)


def any_order(model):
    choose = random.Random(4)
    for piece in normal(model):
        piece.score = -choose.random()


def unused(model):
    choose = random.Random(5)
    for piece in normal(model):
        if choose.random() < 0.3:
            piece.type = piece.UNUSED


def without_characters(model):
    """Pieces are made of characters that are none themselves."""
    kept = [piece for index, piece in enumerate(model.pieces) if piece.type != piece.NORMAL or len(piece.piece) > 1 or index % 3]
    rest = protobuf.ModelProto()
    rest.CopyFrom(model)
    del rest.pieces[:]
    rest.pieces.extend(kept)
    model.CopyFrom(rest)


def normal(model):
    return [piece for piece in model.pieces if piece.type == piece.NORMAL]


EDITED = {
    "ties": ("pieces across spaces", ties),
    "any order": ("pieces across spaces", any_order),
    "unused": ("pieces across spaces", unused),
    "unused, user-defined": ("user-defined", unused),
    "unused, no byte fallback": ("no byte fallback", unused),
    "characters missing": ("pieces across spaces", without_characters),
    "characters missing, no byte fallback": ("no byte fallback", without_characters),
}


def train(lines, size, **settings):
    """The bytes of a model of `size` pieces or, where the text does not give as many, fewer."""
    output = io.BytesIO()
    common = {
        "model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity", "remove_extra_whitespaces": False,
        "hard_vocab_limit": False, "num_threads": 1, "minloglevel": 2, "vocab_size": size,
    }
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=output, **common | settings)
    return output.getvalue()


def models(lines, size, **settings):
    """Every model by its name."""
    made = {name: train(lines, size, **settings | own) for name, own in TRAINED.items()}
    for name, (base, edit) in EDITED.items():
        model = protobuf.ModelProto.FromString(made[base])
        edit(model)
        made[name] = model.SerializeToString()
    return made


def lines_of(text, seed, count):
    """Lines to train on: a text's, and some of every script."""
    strings = (string.replace("\n", " ").replace("\0", "") for string in Generator(seed).strings(count))
    return [line for line in text.splitlines() if line.strip()] + [string[:200] for string in strings]


def processor(model):
    return sentencepiece.SentencePieceProcessor(model_proto=model)
