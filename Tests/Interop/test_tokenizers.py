"""Our token ids are those of tiktoken (tokenizer.model) and tokenizers (tokenizer.json)."""

import pytest
from tokenizer_parity import Generator, tiktoken_encoder, tokenizers_encoder
from tokenizer_vectors import HAND_MADE
from transformers import AutoTokenizer

SEED = 1
ENCODERS = {"tokenizer.model": tiktoken_encoder, "tokenizer.json": tokenizers_encoder}


def ordinary(text):
    """The fixture's text by paragraphs and as a whole, and what was written by hand to go wrong."""
    return [*text.read_text().split("\n\n"), text.read_text(), *HAND_MADE.values()]


@pytest.mark.parametrize("file", ENCODERS)
@pytest.mark.parametrize("name", ["tiny", "small3"])
def test_ids_equal_the_librarys(programs, request, text, figure, name, file):
    print("seed", SEED)
    path = request.getfixturevalue(name) / file
    texts = ordinary(text) + Generator(SEED).strings(16_000)
    encode = ENCODERS[file](path)
    for string, ours in zip(texts, programs.tokenize(path, texts), strict=True):
        assert ours == encode(string), repr(string[:200])
    figure("texts with equal ids", len(texts))


def test_converted_directory_has_the_tokenizer_of_its_base(programs, converted, text):
    """As transformers loads it, and as we find it in the directory."""
    tokenizer = AutoTokenizer.from_pretrained(converted("fp8"))
    texts = ordinary(text)
    assert programs.tokenize(converted("fp8"), texts) == [
        tokenizer(string, add_special_tokens=False, split_special_tokens=True).input_ids for string in texts
    ]


def test_ids_are_the_same_after_every_conversion(programs, tiny, small3, tmp_path, figure):
    """Each layout from the one before; what is compared is what tiktoken makes of the original ranks."""
    texts = Generator(11).strings(16000)
    for model in (tiny, small3):
        encode = tiktoken_encoder(model / "tokenizer.model")
        expected = [encode(text) for text in texts]
        current = model
        for number, (kind, options) in enumerate(
            [
                ("gguf", ()), ("safetensors", ()), ("pth", ("--tp", "2")), ("gguf", ()), ("pth", ()), ("compact", ("--compress",)),
                ("safetensors", ()), ("compact", ()), ("gguf", ()),
            ]
        ):
            name = f"{model.name}-{number}" + (".gguf" if kind in ("gguf", "compact") else "")
            current = programs.convert(current, tmp_path / name, "--format", kind, "--no-file-sums", *options)
            assert programs.tokenize(current, texts) == expected, (current.name, kind)
    figure("texts with equal ids at each of 9 stations", len(texts))
