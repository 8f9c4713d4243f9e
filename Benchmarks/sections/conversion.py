"""Conversions against cp of the same model on the same disk."""

import json

from results import Samples, Table


def shards_of(model):
    """Four, or what divides the heads."""
    configuration = json.loads((model / "config.json").read_text())
    heads = configuration.get("num_key_value_heads") or configuration["num_attention_heads"]
    return next(count for count in (4, 2, 1) if heads % count == 0)


def run(bench):
    workspace, programs = bench.workspace, bench.programs
    shards = shards_of(workspace.model)
    pth = ["--format", "pth", "--tp", shards]
    bare = "--no-file-sums"
    samples = Samples("s", bench.say)

    def measure(name, source, *arguments):
        samples.take(name, lambda: workspace.measure(*programs.convert_line(*arguments, source, workspace.out)))

    workspace.warm()
    model = workspace.model
    for _ in bench.rounds("conversion"):
        samples.take("cp, and sync", workspace.measure_copy)
        measure("--to fp8", model, "--to", "fp8")
        measure("--to fp8, no file sums", model, "--to", "fp8", bare)
        measure(f"safetensors to {shards} .pth shards", model, *pth)
        measure(f"safetensors to {shards} .pth shards, no file sums", model, *pth, bare)
        with workspace.converted(programs, "pth", *pth) as sharded:
            if shards > 1:
                measure(f"{shards} shards to {shards // 2}, no file sums", sharded, "--tp", shards // 2, bare)
            measure(f"{shards} shards to safetensors", sharded, "--format", "safetensors")
            measure(f"{shards} shards to safetensors, no file sums", sharded, "--format", "safetensors", bare)
        measure("safetensors to compact, no file sums", model, "--format", "compact", bare)
        measure("the same with --compress", model, "--format", "compact", "--compress", bare)
        with workspace.converted(programs, "z.gguf", "--format", "compact", "--compress") as compressed:
            share = workspace.bytes_of(compressed) / workspace.bytes_of(model)
            measure("compressed back to safetensors", compressed, "--format", "safetensors", bare)
    rows = list(samples.rows.values())
    for row in rows[1:]:
        row.compare(rows[0], "cp")
    samples.row("the same with --compress").facts["size_share"] = share
    meaning = f"Seconds as a multiple of cp's: less is better. The compressed file has {share:.2f} of the model's size."
    return [Table("conversion", "Conversion", meaning, rows)]
