"""GGUF files that llama-convert writes, in the hands of the gguf package."""

import hashlib
import json

import gguf
import numpy
import pytest
import reference
from conftest import LARGE
from safetensors.numpy import load_file
from transformers import AutoTokenizer



def tensors(path):
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


@pytest.fixture(scope="session")
def files(programs, tiny, tmp_path_factory):
    """files("q8_0") is `tiny` as a GGUF of that type, made once."""
    made = {}

    def convert(kind):
        if kind not in made:
            path = tmp_path_factory.mktemp("gguf") / f"{kind}.gguf"
            made[kind] = programs.convert(tiny, path, "--to", kind, "--format", "gguf")
        return made[kind]

    return convert


def hashes():
    path = LARGE / "small3.gguf-hashes.json"
    return json.loads(path.read_text()) if path.is_file() else {}


@pytest.mark.parametrize("kind", hashes() or ["absent"])
def test_every_tensor_is_llama_quantizes(programs, small3, tmp_path, kind):
    """Origin of the sums: llama-quantize's own files of the same model."""
    path = programs.convert(small3, tmp_path / "x.gguf", "--to", kind, "--format", "gguf")
    found = tensors(path)
    assert found.keys() - hashes()[kind].keys() == {"rope_freqs.weight"}
    for name, (kind, expected) in hashes()[kind].items():
        assert found[name].tensor_type.name.lower() == kind.lower()
        assert hashlib.sha256(found[name].data.tobytes()).hexdigest() == expected, name


@pytest.mark.parametrize("kind", ["q8_0", "q4_0", "q5_1", "iq4_nl", "q4_k_m", "q5_k_s", "q6_k"])
def test_blocks_mean_the_same_to_both(programs, files, tmp_path, kind):
    """Our dequantized float32 values against the package's."""
    plain = load_file(programs.convert(files(kind), tmp_path / "hf", "--to", "f32", "--format", "safetensors") / "model.safetensors")
    found = tensors(files(kind))
    assert len(found) == 39
    for name, hf in [
        ("token_embd.weight", "model.embed_tokens.weight"), ("blk.1.ffn_down.weight", "model.layers.1.mlp.down_proj.weight"),
        ("blk.2.attn_v.weight", "model.layers.2.self_attn.v_proj.weight"), ("output_norm.weight", "model.norm.weight"),
    ]:
        values = gguf.quants.dequantize(found[name].data, found[name].tensor_type)
        assert numpy.array_equal(values.reshape(plain[hf].shape), plain[hf])


def test_keys_are_what_the_package_expects(files, tiny):
    reader = gguf.GGUFReader(files("q4_k_m"))
    config = json.loads((tiny / "config.json").read_text())

    def value(key):
        return reader.fields[key].contents()

    assert value(gguf.Keys.General.ARCHITECTURE) == "llama"
    assert value(gguf.Keys.General.FILE_TYPE) == gguf.LlamaFileType.MOSTLY_Q4_K_M
    assert value(gguf.Keys.General.QUANTIZATION_VERSION) == gguf.GGML_QUANT_VERSION
    for key, name in [
        (gguf.Keys.LLM.BLOCK_COUNT, "num_hidden_layers"), (gguf.Keys.LLM.EMBEDDING_LENGTH, "hidden_size"),
        (gguf.Keys.LLM.FEED_FORWARD_LENGTH, "intermediate_size"), (gguf.Keys.Attention.HEAD_COUNT, "num_attention_heads"),
        (gguf.Keys.Attention.HEAD_COUNT_KV, "num_key_value_heads"), (gguf.Keys.LLM.VOCAB_SIZE, "vocab_size"),
        (gguf.Keys.LLM.CONTEXT_LENGTH, "max_position_embeddings"),
    ]:
        field = reader.fields[key.format(arch="llama")]
        assert field.contents() == config[name] and field.types == [gguf.GGUFValueType.UINT32]
    assert numpy.float32(value("llama.attention.layer_norm_rms_epsilon")) == numpy.float32(config["rms_norm_eps"])
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokens, types = value(gguf.Keys.Tokenizer.LIST), value(gguf.Keys.Tokenizer.TOKEN_TYPE)
    assert tokens == tokenizer.convert_ids_to_tokens(range(config["vocab_size"])) and len(types) == len(tokens)
    assert value(gguf.Keys.Tokenizer.MODEL) == "gpt2" and value(gguf.Keys.Tokenizer.PRE) == "llama-bpe"
    special = gguf.SpecialVocab(tiny, load_merges=True)
    assert value(gguf.Keys.Tokenizer.MERGES) == special.merges
    assert value(gguf.Keys.Tokenizer.BOS_ID) == special.special_token_ids["bos"]
    assert value(gguf.Keys.Tokenizer.EOS_ID) == special.special_token_ids["eos"]


def test_rope_factors_are_the_divisors_of_transformers_frequencies(files, tiny):
    found = tensors(files("bf16"))["rope_freqs.weight"].data
    scaled = reference.load(tiny).model.rotary_emb.inv_freq.double().numpy()
    plain = 500000.0 ** -(numpy.arange(0, 32, 2) / 32)
    # Powers in float32 on both sides.
    assert numpy.allclose(found, plain / scaled, rtol=1e-5) and found.max() == 8


def test_tokenizer_files_made_of_keys_give_the_same_ids(programs, files, tiny, text, tmp_path):
    back = programs.convert(files("bf16"), tmp_path / "hf", "--format", "safetensors")
    ours, theirs = AutoTokenizer.from_pretrained(back), AutoTokenizer.from_pretrained(tiny)
    for string in [text.read_text(), "  two\tspaces\n\n123456 Ünïcödé 漢字 🎉", "<|begin_of_text|>x"]:
        assert ours(string).input_ids == theirs(string).input_ids
    assert ours.bos_token == theirs.bos_token and ours.eos_token == theirs.eos_token
