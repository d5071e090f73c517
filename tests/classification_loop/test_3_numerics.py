"""Stage 3. Graphs and dtypes."""

import gc
import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dojo.testing import FLOATS, expect, expect_close, expect_equal
from dojo.testing.modules import Traced
from katas.classification_loop import evaluate

from .helpers import BOTH, Echo, expect_number, first_logit, loader, one_pass, uneven


def test_evaluation_builds_no_graph(rng):
    """eval() only changes layers; it is no_grad that saves the memory of the activations."""
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    saved, attached = [], []

    def spy(outputs, labels):
        attached.append(outputs.requires_grad)
        return cross_entropy(outputs, labels)

    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.shape) or t, lambda t: t):
        evaluate(model, loader(*uneven(rng)), spy, "cpu")
    hint = "run the passes under torch.no_grad() or torch.inference_mode(); model.eval() does not do that"
    expect(not any(attached), "the logits in evaluate should not require gradients, but do", hint=hint)
    expect_equal(len(saved), 0, what="the number of tensors that evaluate saved for backward", hint=hint)
    expect(torch.is_grad_enabled(), "evaluate should leave gradients enabled, but left them off", hint="use `with`")


@pytest.mark.parametrize("before", [True, False], ids=["gradients on", "gradients off"])
def test_evaluate_gives_the_gradient_mode_back(rng, before):
    """The caller may have switched gradients off for a whole script; switching them on by hand at the end undoes that."""
    with torch.set_grad_enabled(before):
        evaluate(Echo(), loader(*uneven(rng)), cross_entropy, "cpu")
        after = torch.is_grad_enabled()
    hint = "`with torch.no_grad():` restores what was; torch.set_grad_enabled(True) does not"
    expect_equal(after, before, what=f"torch.is_grad_enabled() after evaluate, {before} before,", hint=hint)


class Token:
    """Lives as long as the graph node that holds it."""


def test_no_graph_outlives_its_step(rng):
    """`total += loss` keeps the graph of every batch until the epoch ends: memory grows batch by batch. The previous
    batch may still be alive while the next one runs, nothing older."""
    model, living, counts = Echo(), weakref.WeakSet(), []

    def traced(outputs, labels):
        counts.append(len(living))
        token = Token()
        living.add(token)
        return cross_entropy(Traced.apply(outputs, token), labels)

    result = one_pass("train_one_epoch", model, loader(*uneven(rng), batch_size=1), traced)
    gc.collect(1)
    hint = "add loss.item() or loss.detach() to the running sum, never the loss itself"
    expect(max(counts) <= 1, f"at most 1 older graph should live during a batch, but there were {counts}", hint=hint)
    expect(not living, f"no graph should live after the epoch, but {len(living)} do", hint=hint)
    expect(not isinstance(result.loss, Tensor), "the result should hold no tensor, but its loss is one", hint=hint)


@BOTH
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("sizes", [(4096, 4096), (512, *[1] * 40)], ids=["large", "single rows"])
def test_half_precision_sums_neither_overflow_nor_stall(which, dtype, sizes):
    """The loss is 20 in every row. In float16, 4096 rows sum to 81920 > 65504. After 512 rows, bfloat16 adds nothing for
    a single row, neither its loss nor a right answer, and float16 adds 16 instead of 20: the loss is 7 % or 1.5 % off.
    The loss's tolerance, 1 %, is that of one bfloat16 number."""
    batches = [
        (torch.tensor([[20.0, 0.0]]).repeat(rows, 1).to(dtype), (torch.arange(rows) % 3 == 2).long()) for rows in sizes
    ]
    result = one_pass(which, Echo(dtype), batches, first_logit)
    got, want, what = (
        torch.tensor(float(result.loss)),
        torch.tensor(20.0),
        f"{which}'s loss over {len(batches)} {dtype} batches",
    )
    hint = "leave half precision before you multiply or add: loss.detach().float() * n, or loss.item() * n"
    expect_close(got, want, what=what, hint=hint, rtol=1e-2, atol=0.0)
    right, hint = (
        torch.cat([targets == 0 for _, targets in batches]).double().mean(),
        "count in integers: (logits.argmax(1) == targets).sum()",
    )
    expect_number(result.accuracy, right, f"{which}'s accuracy over {len(batches)} {dtype} batches", hint)
