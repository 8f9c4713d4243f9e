#!/usr/bin/env python3
"""Writes the seed corpus of the fuzz targets: `seeds.py FOLDER` makes FOLDER/TARGET/NAME.

Seeds are the fixtures of the tests, the vectors of the format pages and a few documents that no fixture is one of. Inputs
above 16 kB are left out: mutations of small ones find more in the same time. Python's standard library is enough.
"""

import base64
import json
import re
import struct
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "Tests/Fixtures"
LARGEST = 16_384


def vectors(page):
    """The rows of a format page's ```vectors block."""
    text = (ROOT / "formats" / page).read_text(encoding="utf-8")
    return [row for block in re.findall(r"^```vectors\n(.*?)^```$", text, re.M | re.S) for row in block.splitlines()]


def hexadecimal(path):
    return [bytes.fromhex(line) for line in path.read_text().split()]


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def header_of(path):
    data = path.read_bytes()
    return data[8 : 8 + struct.unpack("<Q", data[:8])[0]]


def of_safetensors():
    for path in sorted(FIXTURES.rglob("*.safetensors")):
        yield path.read_bytes()
    for row in vectors("safetensors.md"):
        parts = row.split(None, 2)
        if len(parts) == 3 and parts[1].isdigit():
            yield safetensors(parts[2].encode(), bytes(int(parts[1])))


def of_shards():
    one = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    for index in [
        {"metadata": {"total_size": 4}, "weight_map": {"a": "a.safetensors"}},
        {"metadata": {"total_size": 8.0, "total_parameters": 2}, "weight_map": {"a": "a.safetensors", "b": "b.safetensors"}},
        {"weight_map": {"b": "a.safetensors"}},
    ]:
        yield json.dumps(index).encode() + b"\0" + safetensors(one, bytes(4))


def of_torch():
    yield from hexadecimal(FIXTURES / "torch/corpus.txt")
    for path in sorted((FIXTURES / "torch").glob("*.pth")):
        yield b"\0" + path.read_bytes()


def of_gguf():
    yield from hexadecimal(FIXTURES / "gguf/corpus.txt")
    for path in sorted((FIXTURES / "gguf").glob("*.gguf")):
        yield path.read_bytes()


def of_compact():
    yield from hexadecimal(FIXTURES / "gguf/compact-corpus.txt")
    for row in vectors("compact.md"):
        yield bytes.fromhex(row.split()[1])


def of_tokenizer():
    document = json.loads((FIXTURES / "sentencepiece.json").read_text(encoding="utf-8"))
    for model in [*document["models"].values(), *document["refused"].values()]:
        text = model["model"] if isinstance(model, dict) else model
        if isinstance(text, str):
            yield base64.b64decode(text)
    keys = json.loads((FIXTURES / "tokenizer_keys.json").read_text(encoding="utf-8"))
    yield keys["small"]["files"]["tokenizer.json"].encode()
    alphabet = [bytes([i]) for i in range(256)]
    for more in [[], [b"ab", b"abc", b" the", b"\xe6\x97\xa5"]]:
        lines = [f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(alphabet + more)]
        yield "".join(lines).encode()


def of_sidecars():
    for name in ["tokenizer_config.json", "generation_config.json"]:
        for path in sorted(FIXTURES.rglob(name)):
            yield path.read_bytes()
    token = {"content": "<|end_of_text|>", "special": True, "lstrip": False, "rstrip": False}
    yield json.dumps({
        "bos_token": "<|begin_of_text|>", "eos_token": token, "unk_token": None, "pad_token": "x",
        "add_bos_token": True, "add_eos_token": False, "add_prefix_space": False,
        "added_tokens_decoder": {"256": {"content": "<|begin_of_text|>", "special": True}},
        "chat_template": [{"name": "default", "template": "{{ a }}"}, {"name": "tool_use", "template": "b"}],
    }).encode()
    yield b'{"bos_token_id": 256, "eos_token_id": [257, 258], "pad_token_id": -1}'


def quantizations():
    weights = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel", "group_size": None, "dynamic": False}
    groups = {"group_0": {"targets": ["Linear", "re:.*down_proj$"], "weights": weights, "input_activations": None}}
    yield {"quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["lm_head"], "config_groups": groups}
    for bits, strategy, extra in [(4, "group", {"group_size": 32}), (8, "block", {"block_structure": [128, 128]}), (8, "tensor", {})]:
        other = dict(weights, num_bits=bits, type="int" if bits == 4 else "float", strategy=strategy, **extra)
        yield {
            "quant_method": "compressed-tensors", "format": "pack-quantized" if bits == 4 else "float-quantized",
            "ignore": ["re:model.layers.[01]..*"], "config_groups": {"g": {"targets": ["Linear"], "weights": other}},
        }
    yield {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["lm_head"]}
    yield {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128], "ignored_layers": ["lm_head"]}
    yield {"quant_method": "fp8", "activation_scheme": "static", "modules_to_not_convert": None}
    yield {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": True, "sym": True, "checkpoint_format": "gptq", "lm_head": False}
    yield {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm", "modules_to_not_convert": ["lm_head"]}


def of_configuration():
    for name in ["config.json", "params.json"]:
        for path in sorted(FIXTURES.rglob(name)):
            yield path.read_bytes()
    for quantization in quantizations():
        yield json.dumps(quantization).encode()
    yield json.dumps({
        "dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 8, "head_dim": 4, "sliding_window": [4096], "norm_eps": 1e-5,
        "rope_theta": 1e4, "use_scaled_rope": False, "rope_scaling_type": "linear", "rope_scaling_factor": 2.0,
        "vocab_size": -1, "bos_token_id": -1, "eos_token_id": [1, 2], "tied_embeddings": True, "model_type": "mistral",
    }).encode()
    yield json.dumps({
        "model_type": "mistral", "architectures": ["MistralForCausalLM"], "hidden_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 8, "vocab_size": 4, "sliding_window": None,
        "rope_scaling": {"type": "linear", "factor": 2.0}, "torch_dtype": "float16", "tie_word_embeddings": True,
    }).encode()


def of_policy():
    yield (
        b"---\n# limits\nname: fp8-strict\nmaximum_ratio: 1.005  # candidate / base\nmaximum_kld_mean: 2e-3\n"
        b"maximum_kld_p99: 0.05\nminimum_top1_agreement: 0.97\nminimum_tokens: 20000\n"
    )
    yield b'{"name":"a","exact":true,"maximum_ratio":1.01,"minimum_tokens":1}'
    yield b"name: 'b'\r\nexact: false\r\nmaximum_ratio: 1\r\n"


def of_sensitivity():
    drift = {"type": "fp8", "group_sizes": [], "bits_per_weight": 8.1, "kld": 1e-4, "ln_ratio": -1e-5, "ln_ratio_se": None}
    four = dict(drift, type="int4", group_sizes=[128, None], bits_per_weight=4.2, ln_ratio_se=1e-4)
    unit = {
        "name": "model.layers.0", "layer": 0, "modules": ["model.layers.0.mlp.up_proj"], "weights": 64,
        "bits_per_weight": 16.0, "drift": [drift, four],
    }
    for by in ["layer", "group", "tensor"]:
        yield json.dumps({
            "schema": "llama-sensitivity/1", "tool": {"name": "x", "version": "1"}, "model": {"name": "m", "digest": None},
            "text": {"name": "t", "sha256": "00"}, "tokens": {"scored": 10, "windows": 2, "context": 6}, "by": by,
            "types": ["fp8", "int4"], "method": "gptq", "group_size": 128, "units": [unit, dict(unit, name="b")], "totals": [],
        }).encode()


def of_importance():
    entries = [(b"blk.0.ffn_up.weight", 3, [1.0, 2.0]), (b"blk.0.ffn_down.weight", 1, [0.0])]
    old = struct.pack("<i", len(entries))
    for name, calls, values in entries:
        old += struct.pack("<i", len(name)) + name + struct.pack("<ii", calls, len(values))
        old += struct.pack(f"<{len(values)}f", *values)
    yield old
    yield imatrix({"blk.0.ffn_up.weight": [1.0, 2.0, 3.0], "output.weight": [0.5]})


def imatrix(sums):
    """llama.cpp's current form: a GGUF of tensors NAME.in_sum2 and NAME.counts."""

    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    keys = text("general.type") + struct.pack("<I", 8) + text("imatrix")
    keys += text("imatrix.datasets") + struct.pack("<IIQ", 9, 8, 1) + text("eval.txt")
    for key, value in [("imatrix.chunk_count", 2), ("imatrix.chunk_size", 512)]:
        keys += text(key) + struct.pack("<II", 4, value)
    infos, data = b"", b""
    for name, values in sums.items():
        for suffix, numbers in [(".in_sum2", values), (".counts", [4.0])]:
            data += bytes(-len(data) % 32)
            infos += text(name + suffix) + struct.pack("<IQIQ", 1, len(numbers), 0, len(data))
            data += struct.pack(f"<{len(numbers)}f", *numbers)
    start = b"GGUF" + struct.pack("<IQQ", 3, 2 * len(sums), 4) + keys + infos
    return start + bytes(-len(start) % 32) + data + bytes(-len(data) % 32)


def of_evidence():
    for candidate, layers, facts in [(0, 0, b""), (1, 0, b'{"a":[1,"b"]}'), (1, 2, b"")]:
        # The last two entries are parts of one window.
        table = [(0, 1, 2), (3, 1, 1), (3, 4, 1)]
        tokens = sum(entry[2] for entry in table)
        data = b"LLMTOKEN" + struct.pack("<IIQQIIQ", 2, candidate, tokens, len(table), layers, layers, len(facts))
        data += b"".join(struct.pack("<III", *entry) for entry in table)
        for _ in range(3 if candidate else 1):
            data += struct.pack(f"<{tokens}f", *range(1, tokens + 1))
        data += bytes([7, 0x51, 1, 0] if candidate else [1, 0, 1, 0])
        sums = 2 * 2 * layers * layers
        yield data + struct.pack(f"<{sums}d", *range(sums)) + facts


def of_checkpoint():
    folders = sorted((FIXTURES / "golden/model").iterdir()) + [FIXTURES / "tiny_meta/hf"]
    for folder in folders:
        if (folder / "config.json").exists():
            document = json.loads((folder / "config.json").read_text())
            header = header_of(folder / "model.safetensors")
            yield json.dumps(document, separators=(",", ":")).encode() + b"\0" + header.rstrip()
    for quantization in [None, *quantizations()]:
        yield small_checkpoint(quantization)


def small_checkpoint(quantization):
    """A Llama of width 8 and one layer; its linears are of the kind that the method has, if they are small enough."""
    method = (quantization or {}).get("quant_method")
    configuration = {
        "architectures": ["LlamaForCausalLM"], "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "intermediate_size": 8, "vocab_size": 4, "rms_norm_eps": 1e-5, "bos_token_id": 1,
        "tie_word_embeddings": method == "fp8",
    }
    if quantization:
        configuration["quantization_config"] = quantization
    layer = "model.layers.0."
    tensors = [("model.embed_tokens.weight", "BF16", [4, 8]), ("model.norm.weight", "BF16", [8])]
    if not configuration["tie_word_embeddings"]:
        tensors.append(("lm_head.weight", "BF16", [4, 8]))
    tensors += [(layer + f"{norm}_layernorm.weight", "BF16", [8]) for norm in ["input", "post_attention"]]
    rows = {"self_attn.q_proj": 8, "self_attn.k_proj": 4, "self_attn.v_proj": 4, "self_attn.o_proj": 8}
    for name, count in [*rows.items(), ("mlp.gate_proj", 8), ("mlp.up_proj", 8), ("mlp.down_proj", 8)]:
        tensors.append((layer + name + ".weight", "F8_E4M3" if method else "BF16", [count, 8]))
        if method in ["compressed-tensors", "fbgemm_fp8"]:
            tensors.append((layer + name + ".weight_scale", "BF16", [count, 1]))
        elif method:
            tensors.append((layer + name + ".weight_scale", "F32", []))
    header, end = {}, 0
    for name, kind, shape in tensors:
        size = {"BF16": 2, "F8_E4M3": 1, "F32": 4}[kind]
        for extent in shape:
            size *= extent
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    return b"\0".join(json.dumps(part, separators=(",", ":")).encode() for part in [configuration, header])


def gguf(keys, tensors):
    """A GGUF file: `keys` are (name, type, value bytes), `tensors` (name, dimensions); all F32, ones."""

    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    start = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    start += b"".join(text(name) + struct.pack("<I", kind) + value for name, kind, value in keys)
    offset, data = 0, b""
    for name, shape in tensors:
        count = 1
        for extent in shape:
            count *= extent
        data += bytes(-len(data) % 32)
        start += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(data))
        data += struct.pack(f"<{count}f", *([1.0] * count))
    return start + bytes(-len(start) % 32) + data + bytes(-len(data) % 32)


def of_model():
    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    def number(name, value):
        return (f"llama.{name}", 4, struct.pack("<I", value))

    for tied in [False, True]:
        keys = [("general.architecture", 8, text("llama"))]
        keys += [number("block_count", 1), number("context_length", 16), number("embedding_length", 8)]
        keys += [number("feed_forward_length", 8), number("attention.head_count", 2), number("attention.head_count_kv", 1)]
        keys += [number("rope.dimension_count", 4), number("vocab_size", 4)]
        keys += [("llama.attention.layer_norm_rms_epsilon", 6, struct.pack("<f", 1e-5))]
        keys += [("llama.rope.freq_base", 6, struct.pack("<f", 1e4)), ("tokenizer.ggml.model", 8, text("gpt2"))]
        tokens = ["<s>", "a", "b", "ab"]
        keys += [("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 4) + b"".join(map(text, tokens)))]
        keys += [("tokenizer.ggml.token_type", 9, struct.pack("<IQ4i", 5, 4, 3, 1, 1, 1))]
        keys += [("tokenizer.ggml.merges", 9, struct.pack("<IQ", 8, 1) + text("a b"))]
        keys += [("tokenizer.ggml.pre", 8, text("llama-bpe")), ("tokenizer.ggml.bos_token_id", 4, struct.pack("<I", 0))]
        tensors = [("token_embd.weight", [8, 4]), ("output_norm.weight", [8])]
        tensors += [] if tied else [("output.weight", [8, 4])]
        for name, rows in [("attn_q", 8), ("attn_k", 4), ("attn_v", 4), ("attn_output", 8)]:
            tensors.append((f"blk.0.{name}.weight", [8, rows]))
        tensors += [(f"blk.0.{name}.weight", [8, 8]) for name in ["ffn_gate", "ffn_up", "ffn_down"]]
        tensors += [(f"blk.0.{name}.weight", [8]) for name in ["attn_norm", "ffn_norm"]]
        yield gguf(keys, tensors)
    yield from of_compact()
    yield (FIXTURES / "gguf/llama.gguf").read_bytes()


def state_dictionary(tensors):
    """The pickle (protocol 2) that torch.save writes of tensors (name, storage, elements of it, shape), all BF16."""

    def text(value):
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def integer(value):
        return b"K" + bytes([value])

    def tuple_of(values):
        return b"(" + b"".join(values) + b"t"

    data = b"\x80\x02ccollections\nOrderedDict\n)R("
    for name, storage, elements, shape in tensors:
        strides, step = [], 1
        for extent in reversed(shape):
            strides.insert(0, step)
            step *= extent
        persistent = tuple_of([
            text("storage"), b"ctorch\nBFloat16Storage\n", text(storage), text("cpu"), integer(elements)]) + b"Q"
        arguments = [
            persistent, integer(0), tuple_of(map(integer, shape)), tuple_of(map(integer, strides)), b"\x89",
            b"ccollections\nOrderedDict\n)R"]
        data += text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n" + tuple_of(arguments) + b"R"
    return data + b"u."


def of_meta():
    parameters = {"dim": 4, "n_layers": 1, "n_heads": 2, "n_kv_heads": 1, "vocab_size": 4, "norm_eps": 1e-5, "multiple_of": 4, "hidden_dim": 4}
    tensors = [("tok_embeddings.weight", [4, 4]), ("norm.weight", [4]), ("output.weight", [4, 4])]
    layer = "layers.0."
    for name, rows in [("wq", 4), ("wk", 2), ("wv", 2), ("wo", 4)]:
        tensors.append((f"{layer}attention.{name}.weight", [rows, 4]))
    tensors += [(f"{layer}feed_forward.{name}.weight", [4, 4]) for name in ["w1", "w2", "w3"]]
    tensors += [(f"{layer}{name}.weight", [4]) for name in ["attention_norm", "ffn_norm"]]
    pickle = state_dictionary([(name, str(number % 2), 32, shape) for number, (name, shape) in enumerate(tensors)])
    for more in [{}, {"rope_theta": 5e5, "use_scaled_rope": True}, {"ffn_dim_multiplier": 1.3, "tied_embeddings": True}]:
        yield json.dumps(parameters | more).encode() + b"\0" + pickle
    for path in sorted(FIXTURES.rglob("params.json")):
        yield path.read_bytes() + b"\0" + pickle


def of_chat():
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]
    yield json.dumps({"messages": messages}).encode() + b"\n" + json.dumps({"messages": messages[1:], "id": 7}).encode()
    yield json.dumps({"messages": [{"role": "user", "content": [{"type": "text", "text": "a <|eot_id|> b"}]}]}).encode()


def of_sums():
    for digits in ["0" * 32, "0123456789abcdef" * 4]:
        yield f"{digits}  a.safetensors\n{digits} *./SHA256SUMS\n".encode()
        yield f"{digits}  ../x\n{digits}  sub/b.bin\r\n".encode()


def main(folder):
    for name, make in sorted(globals().items()):
        if name.startswith("of_"):
            target = Path(folder) / name.removeprefix("of_")
            target.mkdir(parents=True, exist_ok=True)
            seeds = [seed for seed in make() if len(seed) <= LARGEST]
            for number, seed in enumerate(seeds):
                (target / f"seed-{number:03}").write_bytes(seed)
            print(f"{target.name}: {len(seeds)} seeds")


if __name__ == "__main__":
    main(*sys.argv[1:])
