"""tokens.bin, read as formats/evidence.md says: report.json follows from it, and its sums are transformers'."""

import json

import numpy
import pytest
import reference
import torch

CONTEXT = 128
TOKENS = ("--tokens", 1000, "--context", CONTEXT)


class Evidence:
    def __init__(self, path):
        data = path.read_bytes()
        assert data[:8] == b"LLMTOKEN"
        version, flags = numpy.frombuffer(data, "<u4", 2, 8)
        assert (version, flags) == (2, 1)
        tokens, entries = map(int, numpy.frombuffer(data, "<u8", 2, 16))
        self.layers, self.stretches = map(int, numpy.frombuffer(data, "<u4", 2, 32))
        (facts,) = map(int, numpy.frombuffer(data, "<u8", 1, 40))
        offset = 48

        def take(kind, count):
            nonlocal offset
            values = numpy.frombuffer(data, kind, count, offset)
            offset += values.nbytes
            return values

        self.windows = take("<u4", 3 * entries).reshape(entries, 3)
        self.base, self.candidate, self.kld = (take("<f4", tokens).astype("f8") for _ in range(3))
        self.flags = take("u1", tokens)
        shape = (len(numpy.unique(self.windows[:, 0])), self.layers, self.stretches)
        self.off, self.whole = (take("<f8", int(numpy.prod(shape))).reshape(shape) for _ in range(2))
        self.facts = json.loads(data[offset : offset + facts])
        assert offset + facts == len(data)


@pytest.fixture(scope="module")
def run(programs, tiny, converted, text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evidence") / "report"
    programs.run("llama-verify", tiny, converted("fp8"), "--text", text, *TOKENS, "--report", folder, expected=(0, 2))
    return Evidence(folder / "tokens.bin"), json.loads((folder / "report.json").read_text())


def test_the_report_follows_from_the_evidence(run):
    evidence, report = run
    drift = evidence.candidate - evidence.base
    counts = evidence.windows[:, 2].astype(int)
    assert len(drift) == counts.sum() == report["tokens"]["scored"]
    starts = numpy.concatenate([[0], counts.cumsum()[:-1]])
    sums = numpy.add.reduceat(drift, starts)
    clusters = len(counts)
    error = numpy.sqrt(clusters / (clusters - 1) * ((sums - drift.mean() * counts) ** 2).sum()) / len(drift)
    close = lambda found, expected: numpy.testing.assert_allclose(found, expected, rtol=1e-9)
    close(report["perplexity"]["ln_ratio"], drift.mean())
    close(report["perplexity"]["ln_ratio_se"], error)
    close(report["kld"]["mean"], evidence.kld.mean())
    for key, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)):
        close(report["kld"][key], numpy.quantile(evidence.kld, share))
    close(report["agreement"]["top1"], (evidence.flags >> 2 & 1).mean())
    close(report["agreement"]["top5"], (evidence.flags >> 4).mean() / 5)
    right, theirs = evidence.flags & 1, evidence.flags >> 1 & 1
    assert report["agreement"]["flips_worse"] == int((right & ~theirs & 1).sum())
    close([layer["relative_error"] for layer in report["layers"]],
          numpy.sqrt(evidence.off.sum((0, 2)) / evidence.whole.sum((0, 2))))
    close([layer["by_position"] for layer in report["layers"]], numpy.sqrt(evidence.off.sum(0) / evidence.whole.sum(0)))
    means = sums / counts
    worst = report["worst_windows"]
    order = [index for index in numpy.argsort(-means, kind="stable") if means[index] > 0][:20]
    assert [window["window"] for window in worst] == [int(evidence.windows[index, 0]) for index in order]
    close([window["ln_ratio"] for window in worst], means[order])
    for key in ("base", "candidate"):
        assert evidence.facts[key] == report[key]


@torch.inference_mode()
def residuals(model, windows):
    """[layers, window, position, hidden] of the residual stream behind each layer, in float64."""
    found = [[] for _ in model.model.layers]
    width = model.config.hidden_size

    def keep(kept):
        return lambda _, __, output: kept.append((output[0] if isinstance(output, tuple) else output).reshape(-1, width))

    hooks = [layer.register_forward_hook(keep(kept)) for layer, kept in zip(model.model.layers, found)]
    for window in windows:
        model(torch.tensor([window]))
    for hook in hooks:
        hook.remove()
    return [numpy.stack([one.double().numpy() for one in layer]) for layer in found]


def test_sums_of_the_residual_stream_equal_transformers(programs, run, tiny, converted, text, figure):
    evidence, _ = run
    every = programs.windows(tiny, text, CONTEXT)
    windows = [every[index] for index in evidence.windows[:, 0]]
    assert all(len(window) == CONTEXT for window in windows)
    ours = reference.load(tiny)
    theirs = reference.without_activation_quantization(reference.load(converted("fp8")))
    bounds = [CONTEXT * stretch // evidence.stretches for stretch in range(evidence.stretches + 1)]
    worst = 0
    for layer, (one, other) in enumerate(zip(residuals(ours, windows), residuals(theirs, windows))):
        squares = {"off": ((one - other) ** 2).sum(-1), "whole": (one**2).sum(-1)}
        for name, rows in squares.items():
            sums = numpy.add.reduceat(rows, bounds[:-1], axis=1)
            # Both run in float32, off by some 1e-6 of a value; a difference of 2 % of it is then off by 1e-4, its square
            # by twice that.
            difference = numpy.abs(getattr(evidence, name)[:, layer] / sums - 1).max()
            worst = max(worst, difference)
            assert difference < 2e-4, (layer, name)
    figure("largest relative difference of a sum", worst)
