"""Our forward pass against transformers in float32: logits, and the negative log-likelihood of every token."""

import json

import numpy
import pytest
import reference
from tokenizers import Tokenizer
from transformers import AutoConfig

from test_safetensors import FLOATS

CONTEXT = 512
# Both sides round sums of 256 to 1536 products in float32 in orders of their own, which was seen to change a logit by
# 2e-5, a token's score by 1e-5 and the mean by 5e-8. The limits allow another machine's kernels ten times that.
LOGIT, TOKEN, MEAN = 2e-4, 1e-4, 1e-6


def ids_of(model, text):
    return Tokenizer.from_file(str(model / "tokenizer.json")).encode(text, add_special_tokens=False).ids


def windows(ids):
    """The protocol `windows`, written down once more: BOS and the next 511 tokens; the last window may be shorter."""
    return [ids[start : start + CONTEXT - 1] for start in range(0, len(ids), CONTEXT - 1)]


def compare(ours, theirs, figure):
    difference = numpy.abs(ours - theirs)
    figure("max |Δ| per token", difference.max())
    figure("|Δ| of the mean", abs(ours.mean(dtype="f8") - theirs.mean(dtype="f8")))
    assert difference.max() < TOKEN
    assert abs(ours.mean(dtype="f8") - theirs.mean(dtype="f8")) < MEAN


@pytest.mark.parametrize("kind", ["bf16", "f16", "f32"])
def test_logits_equal_transformers(programs, converted, text, figure, kind):
    folder = converted(kind)
    assert AutoConfig.from_pretrained(folder).dtype == FLOATS[kind]
    model = reference.load(folder)
    ids = [model.config.bos_token_id, *ids_of(folder, text.read_text())[:255]]
    difference = numpy.abs(programs.logits(folder, ids) - reference.logits(model, ids)).max()
    figure("max |Δ|", difference)
    assert difference < LOGIT


def test_every_token_of_a_text_equals_transformers(programs, tiny, text, tmp_path, figure):
    """Eight whole windows and a shorter one."""
    beginning = tmp_path / "beginning.txt"
    beginning.write_text(text.read_text()[:10_500])
    cut = windows(ids_of(tiny, beginning.read_text()))
    assert len(cut) == 9 and 0 < len(cut[-1]) < CONTEXT - 1
    model = reference.load(tiny)
    theirs = numpy.concatenate([reference.nll(model, ids, model.config.bos_token_id) for ids in cut])
    scores = programs.scores(tiny, beginning, "--context", CONTEXT)
    # The begin-of-text token stands at position 0, so the first one that is scored at 1.
    assert scores.windows.tolist() == [[index, 1, len(ids)] for index, ids in enumerate(cut)]
    compare(scores.nll, theirs, figure)


def test_some_windows_of_a_larger_model_equal_transformers(programs, small3, text, figure):
    """--tokens takes windows spread over the text; which ones, the evidence says."""
    cut = windows(ids_of(small3, text.read_text()))
    scores = programs.scores(small3, text, "--tokens", 3 * (CONTEXT - 1))
    assert len(scores.windows) == 3
    model = reference.load(small3)
    chosen = [cut[index] for index in scores.windows[:, 0]]
    theirs = numpy.concatenate([reference.nll(model, ids, model.config.bos_token_id) for ids in chosen])
    compare(scores.nll, theirs, figure)


@pytest.mark.parametrize("name", ["tiny", "small3", "tiny2"])
def test_every_token_of_the_whole_text_equals_the_recorded_run(programs, request, text, figure, name):
    """The fixture's own record of transformers' float32, which takes minutes to make."""
    model = request.getfixturevalue(name)
    theirs = numpy.load(model.with_name(f"{name}.ref.eval.txt.nll.npy"))
    recorded = json.loads(model.with_name(f"{name}.ref.json").read_text())["eval.txt"]
    ours = programs.scores(model, text, "--context", recorded["context"]).nll
    assert len(ours) == recorded["tokens"] == len(theirs)
    assert abs(theirs.mean(dtype="f8") - recorded["mean_nll"]) < MEAN
    compare(ours, theirs, figure)
