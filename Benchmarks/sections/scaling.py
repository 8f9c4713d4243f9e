"""The forward pass on more threads and over longer windows."""

from math import log2

from options import TEXT
from results import Samples, Table
from sections.forward import MODES, measure

CONTEXTS = (128, 512, 2048, 4096)


def thread_counts(most):
    """Powers of two, and all."""
    return sorted({2**power for power in range(int(log2(most)) + 1)} | {most})


def longest(bench):
    """Tokens of the longest window that the model has positions for, and the text tokens."""
    line = bench.workspace.folder / "text.hex"
    line.write_text(TEXT.read_bytes().hex() + "\n")
    ids = bench.programs.verify("tokenize", bench.workspace.model, stdin=line).output.split()
    line.unlink()
    return min(len(ids) + 1, bench.positions)


def run(bench):
    counts = thread_counts(bench.programs.threads)
    base, most = bench.context, longest(bench)
    contexts = sorted({context for context in CONTEXTS if context <= most} | {base})
    points = [(threads, base) for threads in counts] + [(counts[-1], context) for context in contexts if context != base]
    samples = Samples("tokens/s", bench.say)

    def name(compute, threads, context):
        return f"{compute}, {threads} thread{'s' if threads > 1 else ''}, {context} tokens"

    bench.workspace.warm()
    for _ in bench.rounds("scaling"):
        for compute in MODES:
            for threads, context in points:
                point = (compute, threads, context)
                samples.take(name(*point), lambda point=point: measure(bench, point[0], point[2], point[1]))

    def rows(points, first, against):
        found = []
        for compute in MODES:
            for point in points:
                row = samples.copy(name(compute, *point))
                row.compare(samples.row(name(compute, *first)), against)
                found.append(row)
        return found

    one, all = (counts[0], base), (counts[-1], base)
    threads = rows([(count, base) for count in counts], one, "1 thread")
    tokens = rows([(counts[-1], context) for context in contexts], all, f"{base} tokens")
    return [
        Table("scaling", "Scaling with threads", "Tokens per second as a multiple of one thread's.", threads),
        Table("scaling", "Scaling with tokens", f"Tokens per second as a multiple of those in a window of {base}.", tokens),
    ]
