"""The table of 4-bit and 8-bit types in README: what each costs in bits, and what it does to perplexity on unseen text.

    .venv/bin/python Tests/Interop/int4_table.py [--models tiny small3] [--out FILE.json]

Methods that calibrate, and importance matrices, see the first 60 % of eval.txt, cut at the end of a line; ratio and mean KLD
are llama-verify's on the rest. The programs are those of `make build` (or LLAMA_BIN); models that are not in the repository
are looked for in LLAMA_FIXTURES. Prints Markdown; the file has every figure unrounded.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import gguf
import integer_layouts as layouts
from conftest import FIXTURES, LARGE, ROOT
from programs import Programs

# Tokens of a window, in calibration and in what is measured.
CONTEXT = 512
# What the vectors of a quantized linear are called in the layouts of safetensors.
PARTS = ("weight", "weight_packed", "weight_scale", "weight_zero_point", "weight_shape", "qweight", "qzeros", "scales", "g_idx")
KEPT = ("token_embd.weight", "output.weight")


def rows():
    """(name, options, needs: nothing, "text" or "imatrix")"""
    yield "q4_0", ["--to", "q4_0"], None
    yield "q4_k_m", ["--to", "q4_k_m"], None
    yield "q4_k_m, importance matrix", ["--to", "q4_k_m"], "imatrix"
    yield "q4_k_m, embedding and head BF16", ["--to", "q4_k_m", "keep"], None
    yield "q4_k_m, importance matrix, embedding and head BF16", ["--to", "q4_k_m", "keep"], "imatrix"
    yield "fp8", ["--to", "fp8"], None
    yield "int8", ["--to", "int8"], None
    for group in (32, 128):
        for method in ("rtn", "mse", "hqq", "imse", "gptq", "awq", "awq+gptq"):
            needs = None if method in ("rtn", "mse", "hqq") else "text"
            kinds = {"hqq": [True], "rtn": [False, True], "awq": [False, True]}.get(method, [False])
            for asymmetric in kinds:
                name = f"int4 {method}, group {group}" + (", asymmetric" if asymmetric else "")
                options = ["--to", "int4", "--method", method, "--group-size", group]
                yield name, options + (["--asymmetric"] if asymmetric else []), needs


def halves(text):
    """The first 60 % up to the end of a line, and the rest."""
    content = text.read_bytes()
    cut = content.rfind(b"\n", 0, len(content) * 6 // 10) + 1
    assert cut > 0
    return content[:cut], content[cut:]


def kept(model):
    """The embedding and, where there is one, the head stay in BF16, as they do in safetensors."""
    names = KEPT[:1] if json.loads((model / "config.json").read_text()).get("tie_word_embeddings") else KEPT
    return [option for name in names for option in ("--tensor-type", f"{name}=bf16")]


def linear_bits(base, output):
    """Stored bits for each weight of the layers' linears, scales and all; and of the whole model."""
    weights = {name: tensor.numel() for name, tensor in layouts.load(base).items()}
    linears = sum(count for name, count in weights.items() if name.startswith("model.layers.") and "_proj." in name)
    if output.is_file():
        tensors = gguf.GGUFReader(output).tensors
        stored = {tensor.name: int(tensor.n_bytes) for tensor in tensors}
        own = sum(size for name, size in stored.items() if name.startswith("blk.") and "norm" not in name)
    else:
        stored = {name: tensor.nbytes for name, tensor in layouts.load(output).items()}
        own = sum(size for name, size in stored.items() if "_proj." in name and name.rsplit(".", 1)[1] in PARTS)
    return 8 * own / linears, 8 * sum(stored.values()) / sum(weights.values())


def measure(programs, model, folder, text, matrix, unseen, name, options, needs):
    is_gguf = options[1].startswith("q")
    output = folder / ("out.gguf" if is_gguf else "out")
    options = [option for option in options if option != "keep"] + (kept(model) if "keep" in options else [])
    options += {"text": ["--calibrate", text, "--calibrate-context", CONTEXT], "imatrix": ["--imatrix", matrix], None: []}[needs]
    programs.convert(model, output, *options, "--force")
    verdict = programs.run("llama-verify", model, output, "--text", unseen, "--context", CONTEXT, "--json", expected=(0, 1, 2))
    report = json.loads(verdict.stdout)
    bits, whole = linear_bits(model, output)
    low, high = report["perplexity"]["ratio_ci95"]
    return {
        "name": name, "options": [str(option) for option in options if not isinstance(option, Path)],
        "bits_per_weight_of_linears": bits, "bits_per_weight_of_model": whole,
        "ratio": report["perplexity"]["ratio"], "ratio_ci95": [low, high],
        "kld_mean": report["kld"]["mean"], "kld_se": report["kld"]["se"], "top1": report["agreement"]["top1"],
        "tokens": report["tokens"]["scored"], "base_perplexity": report["perplexity"]["base"],
    }


def table(model, results):
    lines = [
        f"**{model}**, perplexity {results[0]['base_perplexity']:.2f} on {results[0]['tokens']:,} tokens in BF16",
        "",
        "| | bits, linears | bits, model | perplexity ratio | 95 % interval | mean KLD |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for row in results:
        low, high = row["ratio_ci95"]
        lines.append(
            f"| {row['name']} | {row['bits_per_weight_of_linears']:.2f} | {row['bits_per_weight_of_model']:.2f} "
            f"| {row['ratio']:.4f} | {low:.4f} … {high:.4f} | {row['kld_mean']:.5f} |"
        )
    return "\n".join(lines)


NOTE = """\
*bits, linears*: stored bits for each weight of the layers' linears, with scales, zero points and shapes. *bits, model*: all
tensors. The two kinds of files differ in more than the linears: GGUF types also quantize the token embedding and the head
(q4_k_m keeps the head, or a tied embedding, at 6 bits) and mix types between layers; int4, int8 and fp8 leave both in the model's
own type. The rows with embedding and head in BF16 are those to lay beside int4. fp8 and int8 are measured with
unrounded activations. Calibrated on text of the same kind that perplexity is measured on; no text is in both parts."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=["tiny", "small3"], help="names of fixtures, or directories")
    parser.add_argument("--only", help="measure only rows whose name contains this")
    parser.add_argument("--out", type=Path, help="write all figures into this file")
    arguments = parser.parse_args()
    programs = Programs(Path(os.environ.get("LLAMA_BIN", ROOT / ".build/release")).resolve())
    figures = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        text, unseen = folder / "calibration.txt", folder / "unseen.txt"
        for path, content in zip((text, unseen), halves(FIXTURES / "eval.txt")):
            path.write_bytes(content)
        for name in arguments.models:
            places = [FIXTURES / name, LARGE / name, Path(name)]
            model = next((place for place in places if (place / "model.safetensors").exists()), None)
            if model is None:
                parser.error(f"there is no model {name} in {', '.join(map(str, places))}")
            matrix = folder / f"{model.name}-imatrix.gguf"
            programs.run("llama-verify", model, "--text", text, "--context", CONTEXT, "--imatrix", matrix)
            results = figures[model.name] = []
            for row in rows():
                if arguments.only is None or arguments.only in row[0]:
                    results.append(measure(programs, model, folder, text, matrix, unseen, *row))
            if results:
                print(table(model.name, results), end="\n\n", flush=True)
    print(NOTE)
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
