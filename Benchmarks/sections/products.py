"""Products of matrices against the peak of the arithmetic, which the program measures in the same run."""

import json
import statistics

from processes import USAGE, Failed
from results import Row, Samples, Table

MEANING = "Share of the peak that was measured in the same run: more is better."


def run(bench):
    samples = Samples("GFLOP/s", bench.say)
    shares, facts = {}, ""
    for _ in bench.rounds("matrix products"):
        try:
            document = json.loads(bench.programs.verify("speed", "--json", "--threads", bench.programs.threads).output)
        except Failed as failure:
            if failure.status != USAGE:
                raise
            bench.say("matrix products: not measured: llama-verify has no speed")
            rows = [Row("products", "GFLOP/s", reason="llama-verify has no subcommand speed")]
            return [Table("products", "Matrix products", MEANING, rows)]
        facts = f" {document['instruction_set']}, {document['threads']} threads."
        for peak in document["peaks"]:
            samples.take(f"peak of {peak['arithmetic']}", lambda peak=peak: (peak["flops"] / 1e9, {}))
        for product in document["products"]:
            size = " × ".join(str(product[side]) for side in ("tokens", "inputs", "outputs"))
            name = f"{product['compute']}, {product['weights']} weights, {size}"
            samples.take(name, lambda product=product: (product["flops"] / 1e9, {}))
            shares.setdefault(name, []).append(product["share_of_peak"])
    for name, found in shares.items():
        samples.row(name).ratios["peak"] = statistics.median(found)
    return [Table("products", "Matrix products", MEANING + facts, list(samples.rows.values()))]
