"""SentencePiece tokenizers: ids are the library's for models of every kind, and in every file form that we write, in the
hands of sentencepiece, tokenizers, transformers and llama.cpp."""

import itertools
import json
import os
import pathlib
import random
import string

import llama_cpp
import numpy
import pytest
import sentencepiece_models
from safetensors.numpy import save_file
from sentencepiece_models import protobuf
from sentencepiece_vectors import tokenizer_json
from tokenizer_parity import Generator
from tokenizers import Tokenizer
from transformers import AutoTokenizer

SEED = 2


@pytest.fixture(scope="module")
def texts(text):
    return [text.read_text(), *text.read_text().split("\n\n"), *Generator(SEED).strings(12_000)]


@pytest.fixture(scope="module")
def library(tiny2):
    return sentencepiece_models.processor((tiny2 / "tokenizer.model").read_bytes())


@pytest.fixture(scope="module")
def ids(library, texts):
    return [library.encode(string) for string in texts]


@pytest.fixture(scope="module")
def chain(programs, tiny2, tmp_path_factory):
    """tiny2 in every layout, one made of the other."""
    folder = tmp_path_factory.mktemp("chain")
    made = {"tiny2": tiny2}
    for name, source, layout in [
        ("1.gguf", "tiny2", "gguf"), ("hf", "1.gguf", "safetensors"), ("meta", "1.gguf", "pth"), ("meta of hf", "tiny2", "pth"),
        ("hf of meta", "meta of hf", "safetensors"), ("2.gguf", "meta", "gguf"), ("3.gguf", "hf", "gguf"),
    ]:
        made[name] = programs.convert(made[source], folder / name, "--format", layout)
    return made


def equal(ours, theirs, texts):
    for mine, other, string in zip(ours, theirs, texts, strict=True):
        assert mine == other, repr(string[:200])


def test_ids_are_the_same_in_every_layout(programs, chain, texts, ids, figure):
    for name, path in chain.items():
        equal(programs.tokenize(path, texts), ids, texts)
        figure(f"{name}, texts with equal ids", len(texts))


def test_the_digest_is_the_same_in_every_layout(programs, chain):
    digests = {name: json.loads(programs.run("llama-convert", "digest", path, "--json").stdout) for name, path in chain.items()}
    assert len({document["tokenizer"] for document in digests.values()}) == 1
    assert len({document["model"] for document in digests.values()}) == 1


def test_the_files_of_a_gguf_in_the_libraries_hands(chain, library, texts, ids):
    hf, meta = chain["hf"], chain["meta"]
    assert (hf / "tokenizer.model").read_bytes() == (meta / "tokenizer.model").read_bytes()
    written = sentencepiece_models.processor((hf / "tokenizer.model").read_bytes())
    equal([written.encode(string) for string in texts], ids, texts)
    for name in ("bos_id", "eos_id", "pad_id", "unk_id", "get_piece_size"):
        assert getattr(written, name)() == getattr(library, name)()
    json_file = Tokenizer.from_file(str(hf / "tokenizer.json"))
    json_file.encode_special_tokens = True
    equal([json_file.encode(string, add_special_tokens=False).ids for string in texts], ids, texts)
    auto = AutoTokenizer.from_pretrained(hf)
    equal([auto(string, add_special_tokens=False, split_special_tokens=True).input_ids for string in texts], ids, texts)
    assert auto("hello").input_ids == [library.bos_id(), *library.encode("hello")]
    assert (auto.bos_token_id, auto.eos_token_id, auto.unk_token_id) == (1, 2, 0)
    # tokenizers leaves no space in front that the text has not.
    for string in ["hello world", "a  b\n", "漢字 🎉", ""]:
        assert json_file.decode(library.encode(string)) == string == auto.decode(library.encode(string))


@pytest.mark.parametrize("name", ["1.gguf", "2.gguf", "3.gguf"])
def test_llama_cpp_gives_the_ids(chain, texts, ids, name):
    model = llama_cpp.Llama(str(chain[name]), vocab_only=True, verbose=False)
    assert (model.token_bos(), model.token_eos()) == (1, 2)
    # It puts no space in front of an empty text either.
    equal([model.tokenize(string.encode(), add_bos=False, special=False) for string in texts], ids, texts)
    assert model.tokenize(b"hello", add_bos=True, special=True)[0] == 1


def test_llama_cpp_gives_the_logits(programs, chain, texts, ids, tmp_path, figure):
    path = programs.convert(chain["tiny2"], tmp_path / "f32.gguf", "--to", "f32", "--format", "gguf")
    model = llama_cpp.Llama(str(path), logits_all=True, n_ctx=128, n_batch=128, n_threads=2, verbose=False)
    window = [1, *ids[0][:63]]
    model.eval(window)
    theirs = numpy.array(model.scores[: len(window)], dtype=numpy.float64)
    off = numpy.linalg.norm(programs.logits(path, window) - theirs) / numpy.linalg.norm(theirs)
    figure("‖Δ‖/‖logits‖", off)
    assert off < 3e-4


def test_report_counts_the_texts_own_characters(programs, tiny2, text, tmp_path):
    """Not the space that the tokenizer puts in front."""
    recorded = json.loads(tiny2.with_name("tiny2.ref.json").read_text())["eval.txt"]
    nll = numpy.load(tiny2.with_name("tiny2.ref.eval.txt.nll.npy")).sum(dtype="f8")
    programs.run("llama-verify", tiny2, "--text", text, "--context", 512, "--report", tmp_path / "report")
    report = json.loads((tmp_path / "report/report.json").read_text())["nll"]
    assert report["base_per_character"] == pytest.approx(nll / recorded["characters"], rel=1e-6)
    assert report["base_bits_per_byte"] == pytest.approx(nll / recorded["utf8_bytes"] / numpy.log(2), rel=1e-6)


@pytest.fixture(scope="module")
def models(text):
    return sentencepiece_models.models(sentencepiece_models.lines_of(text.read_text(), 5, 800), 3000, character_coverage=0.985)


@pytest.mark.parametrize("name", [*sentencepiece_models.TRAINED, *sentencepiece_models.EDITED])
def test_ids_of_models_of_every_kind(programs, models, tmp_path, text, name, figure):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(models[name])
    library = sentencepiece_models.processor(models[name])
    spaces = [f"  the  {line}  " for line in text.read_text().splitlines()[:200]]
    strings = Generator(SEED + 1).strings(4_000) + spaces + ["▁", " ▁ ", "x▁▁", "  x  x   x ", "abab abcab", "  <tool> é é"]
    equal(programs.tokenize(path, strings), [library.encode(string) for string in strings], strings)
    figure("texts with equal ids", len(strings))


@pytest.mark.parametrize("name", sentencepiece_models.REFUSED)
def test_models_of_other_kinds_are_refused(programs, text, tmp_path, name):
    lines = text.read_text().splitlines()[:200]
    settings = sentencepiece_models.REFUSED[name] | {"byte_fallback": False}
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_models.train(lines, 300, **settings))
    done = programs.run("llama-verify", "tokenize", tmp_path / "tokenizer.model", expected=(65,), stdin="61\n")
    assert "supported are BPE models" in done.stderr


def checkpoint(folder, model, **files):
    """A model of few random weights with this tokenizer."""
    rows, hidden = len(protobuf.ModelProto.FromString(model).pieces), 32
    choose = numpy.random.default_rng(1)
    shapes = {
        "model.embed_tokens": (rows, hidden), "lm_head": (rows, hidden), "model.norm": (hidden,),
        "model.layers.0.input_layernorm": (hidden,), "model.layers.0.post_attention_layernorm": (hidden,),
        "model.layers.0.mlp.down_proj": (hidden, 64),
    }
    shapes |= {f"model.layers.0.self_attn.{name}_proj": (hidden, hidden) for name in "qkvo"}
    shapes |= {f"model.layers.0.mlp.{name}_proj": (64, hidden) for name in ("gate", "up")}
    folder.mkdir()
    save_file({f"{name}.weight": choose.normal(size=shape).astype("f4") for name, shape in shapes.items()}, folder / "model.safetensors")
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "intermediate_size": 64,
        "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": rows, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "max_position_embeddings": 512, "hidden_act": "silu", "tie_word_embeddings": False,
        "torch_dtype": "float32", "bos_token_id": 1, "eos_token_id": 2,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.model").write_bytes(model)
    return folder


def random_model(seed):
    """Pieces over few letters, scores in any order: many of them overlap themselves."""
    choose = random.Random(seed)
    letters = "ab▁"
    texts = {"".join(choose.choice(letters) for _ in range(choose.randint(2, 7))) for _ in range(choose.randint(10, 120))}
    model = protobuf.ModelProto()
    model.trainer_spec.model_type, model.trainer_spec.byte_fallback = 2, True
    model.normalizer_spec.remove_extra_whitespaces = False
    for text, kind in [("<unk>", 2), ("<s>", 3), ("</s>", 3), *((f"<0x{byte:02X}>", 6) for byte in range(256))]:
        model.pieces.add(piece=text, score=0, type=kind)
    scores = [-float(index) for index in range(len(texts))]
    choose.shuffle(scores)
    for text, score in zip(sorted(texts), scores):
        model.pieces.add(piece=text, score=score)
    for letter in letters:
        model.pieces.add(piece=letter, score=-1000)
    return model.SerializeToString()


@pytest.mark.parametrize("seed", range(6))
def test_our_tokenizer_json_of_random_models(programs, tmp_path, seed):
    """Merge rules with the library's tokenizer.json against scores with the library's tokenizer.model."""
    model = random_model(seed)
    gguf = programs.convert(checkpoint(tmp_path / "model", model), tmp_path / "model.gguf", "--format", "gguf")
    hf = programs.convert(gguf, tmp_path / "hf", "--format", "safetensors")
    library, written = sentencepiece_models.processor(model), Tokenizer.from_file(str(hf / "tokenizer.json"))
    choose = random.Random(seed)
    strings = ["".join(parts) for length in range(1, 9) for parts in itertools.product("ab ", repeat=length)]
    strings += ["".join(choose.choice("ab ") for _ in range(choose.randint(9, 60))) for _ in range(4000)]
    ids = [library.encode(string) for string in strings]
    equal([written.encode(string, add_special_tokens=False).ids for string in strings], ids, strings)
    equal(programs.tokenize(hf / "tokenizer.json", strings), ids, strings)
    equal(programs.tokenize(gguf, strings), ids, strings)


@pytest.mark.parametrize("spelling", ["Prepend", "Metaspace"])
def test_a_tokenizer_json_alone(programs, tiny2, texts, tmp_path, spelling):
    """As Hugging Face's converter makes it; then the GGUF made of it in llama.cpp, which knows one spelling."""
    model = (tiny2 / "tokenizer.model").read_bytes()
    made = tokenizer_json(model, spelling)
    folder = checkpoint(tmp_path / "model", model)
    (folder / "tokenizer.model").unlink()
    made.save(str(folder / "tokenizer.json"))
    theirs = [made.encode(string).ids for string in texts]
    equal(programs.tokenize(folder, texts), theirs, texts)
    gguf = programs.convert(folder, tmp_path / "model.gguf", "--format", "gguf")
    llama = llama_cpp.Llama(str(gguf), vocab_only=True, verbose=False)
    same = [(string, ids) for string, ids in zip(texts, theirs) if spelling == "Prepend" or not string.startswith((" ", "▁"))]
    assert len(same) > 10_000
    for string, ids in same:
        assert llama.tokenize(string.encode(), add_bos=False, special=False) == ids, repr(string[:200])


# Mistral's own are in the wheel of mistral-common (data/*.model.v*), which asks for another NumPy than the pinned one.
REAL = sorted(pathlib.Path(os.environ["LLAMA_TOKENIZERS"]).glob("*.model*")) if "LLAMA_TOKENIZERS" in os.environ else []


@pytest.mark.skipif(not REAL, reason="set LLAMA_TOKENIZERS to a folder with tokenizer.model files")
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_tokenizers_in_every_form(programs, texts, tmp_path, path, figure):
    model = path.read_bytes()
    library = sentencepiece_models.processor(model)
    user_defined = [piece.piece for piece in protobuf.ModelProto.FromString(model).pieces if piece.type == 4]
    runs = [" " * length + rest for length in range(300) for rest in ("", "x", "\nx")]
    strings = [entry for entry in texts + runs if not any(text in entry for text in user_defined)]
    ids = [library.encode(entry) for entry in strings]
    gguf = programs.convert(checkpoint(tmp_path / "model", model), tmp_path / "model.gguf", "--format", "gguf")
    hf = programs.convert(gguf, tmp_path / "hf", "--format", "safetensors")
    for form in (path, gguf, hf, hf / "tokenizer.json"):
        equal(programs.tokenize(form, strings), ids, strings)
    written = sentencepiece_models.processor((hf / "tokenizer.model").read_bytes())
    equal([written.encode(entry) for entry in strings], ids, strings)
    rules = Tokenizer.from_file(str(hf / "tokenizer.json"))
    rules.encode_special_tokens = True
    equal([rules.encode(entry, add_special_tokens=False).ids for entry in strings], ids, strings)
    llama = llama_cpp.Llama(str(gguf), vocab_only=True, verbose=False)
    equal([llama.tokenize(entry.encode(), add_bos=False, special=False) for entry in strings], ids, strings)
    marked = [f"a{text} b {text}{text}\n" for text in user_defined]
    equal(programs.tokenize(gguf, marked), [library.encode(entry) for entry in marked], marked)
    figure("texts with equal ids", len(strings))


def test_added_and_user_defined_tokens(programs, text, tmp_path):
    """Found in text by llama.cpp and by us, at places where no space matters; control tokens by neither."""
    model = sentencepiece_models.train(text.read_text().splitlines(), 600, user_defined_symbols=["<tool>", "é"], character_coverage=0.99)
    folder = checkpoint(tmp_path / "model", model)
    gguf = programs.convert(folder, tmp_path / "model.gguf", "--format", "gguf")
    library = sentencepiece_models.processor(model)
    llama = llama_cpp.Llama(str(gguf), vocab_only=True, verbose=False)
    strings = ["x<tool>", "the é", "a<s>b</s>", *string.ascii_letters]
    ids = [library.encode(entry) for entry in strings]
    equal(programs.tokenize(gguf, strings), ids, strings)
    equal([llama.tokenize(entry.encode(), add_bos=False, special=False) for entry in strings], ids, strings)
