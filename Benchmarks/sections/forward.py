"""The forward pass over one window against PyTorch and llama.cpp."""

import json
from contextlib import nullcontext

import machine
from options import TEXT
from processes import NotMeasured
from results import Samples, Table

MODES = ("exact", "bf16")


def measure(bench, compute, context, threads):
    """One whole window: the begin-of-text token and `context` - 1 tokens that are scored.

    The program's figure is of the forward pass, weights read included and digests of the model not; `process_seconds` is all."""
    if not bench.programs.computes(compute):
        raise NotMeasured(f"llama-verify has no --compute {compute}")
    finished = bench.programs.verify(
        bench.workspace.model, "--text", TEXT, "--context", context, "--tokens", context - 1, "--compute", compute,
        "--threads", threads, "--quiet", "--json",
    )
    report = json.loads(finished.output)
    if report["tokens"]["scored"] != context - 1:
        raise NotMeasured(f"the text has no window of {context} tokens")
    run = report["run"]
    facts = {"peak_rss_bytes": run["peak_rss_bytes"], "forward_seconds": run["seconds"], "process_seconds": finished.seconds}
    return run["tokens_per_second"], facts


def ask(bench, packages, need, script, *arguments):
    bench.peers.need(*packages)
    available = machine.available_memory()
    if need > available:
        raise NotMeasured(f"about {need / 1e9:.0f} GB of memory are needed, {available / 1e9:.0f} are free")
    answer = bench.peers.ask(script, *arguments)
    return answer["tokens_per_second"], {"peak_rss_bytes": answer["peak_rss_bytes"]}


def run(bench):
    context, threads = bench.context, bench.programs.threads
    model = bench.workspace.model
    weights = sum(path.stat().st_size for path in model.glob("*.safetensors"))
    logits = 4 * context * bench.vocabulary
    samples = Samples("tokens/s", bench.say)
    ours = [f"ours, {compute}" for compute in MODES]
    torch, llama = ("torch", "transformers"), ("llama-cpp-python",)
    with bench.workspace.gguf(bench.programs) if bench.peers.have(*llama) else nullcontext() as gguf:
        peers = {
            "PyTorch bfloat16": (torch, weights + 2 * logits, "torch_forward.py", model, context, threads, "bfloat16"),
            "PyTorch float32": (torch, 2 * weights + 2 * logits, "torch_forward.py", model, context, threads, "float32"),
            "llama.cpp": (llama, weights + 2 * logits, "llama_forward.py", gguf, context, threads),
        }
        bench.workspace.warm()
        for _ in bench.rounds("forward"):
            for name, compute in zip(ours, MODES):
                samples.take(name, lambda compute=compute: measure(bench, compute, context, threads))
            for name, peer in peers.items():
                samples.take(name, lambda peer=peer: ask(bench, *peer))
    for name in ours:
        for peer in peers:
            samples.row(name).compare(samples.row(peer))
    meaning = (
        f"One window of {context} tokens, {threads} threads, weights in BF16; ours reads them from the page cache each time, the "
        "peers have them in memory and were run once before. How many times the tokens per second: more is better."
    )
    return [Table("forward", "Forward pass", meaning, list(samples.rows.values()))]
