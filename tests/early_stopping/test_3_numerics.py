"""Stage 3. Tensors as values, exact numbers, plain floats."""

import gc
import warnings
import weakref

import numpy as np
import pytest
import torch
from torch import nn

from dojo.testing import FLOATS, expect, expect_equal, expect_unchanged
from dojo.testing.modules import Traced
from katas.early_stopping import EarlyStopping, step_lr, warmup_cosine_lr

from .helpers import expect_stop


def test_a_tensor_is_read_at_once():
    """A running loss is often one tensor that every epoch zeroes and fills again. A stopper that keeps the tensor as
    its best value then compares it with itself, and keeps its graph and its device memory alive besides."""
    stopper, running = EarlyStopping(patience=2), torch.zeros(())
    answers = []
    for value in (3.0, 2.0, 1.0, 2.0, 2.0):
        running.fill_(value)
        with expect_unchanged(running, what="the value"):
            answers.append(bool(stopper.step(running)))
    hint = "keep float(value), not the tensor"
    what = "what it says to one tensor that is 3, 2, 1, 2 and 2 in turn"
    expect_equal(answers, [False] * 4 + [True], what=what, hint=hint)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_graph_of_a_loss_is_not_kept(mode):
    """The loss of the last batch holds all its activations: as the best value it would hold them for many epochs."""
    stopper, token = EarlyStopping(patience=2, mode=mode), nn.Identity()
    with warnings.catch_warnings(action="ignore"):  # torch would rather see a detach() before the float()
        stopper.step(Traced.apply(torch.ones((), requires_grad=True), token))
    alive = weakref.ref(token)
    del token
    gc.collect()
    expect(alive() is None, "the loss's graph should be freed, but the stopper holds it", hint="keep float(value)")


@pytest.mark.parametrize(("mode", "values"), [("min", (3, 2, 1, 2, 2)), ("max", (1, 2, 3, 2, 2))])
def test_gains_of_any_size_count(mode, values):
    """With min_delta=0 every gain is one. A tolerance of one's own, or an accuracy turned into an error by 1 - value,
    does not see what happens at 1e-20."""
    hint = "compare value with best and min_delta alone: no epsilon, no isclose; in mode 'max' negate, or turn < round"
    expect_stop([value * 1e-20 for value in values], 5, hint, patience=2, mode=mode)


def tensor_of(dtype):
    return lambda value: torch.tensor(value, dtype=dtype)


KINDS = {"int": int, "numpy": np.float32, "int tensor": torch.tensor, **{str(d): tensor_of(d) for d in FLOATS}}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_numbers_of_any_kind_are_understood(kind):
    """What metrics return differs from library to library; the answer is a plain bool for all of them."""
    stopper = EarlyStopping(patience=2, mode="max")
    answers = [stopper.step(kind(value)) for value in (2, 1, 3, 3, 1)]
    expect_equal(answers, [False, False, False, False, True], what="what it says to 2, 1, 3, 3, 1 in mode 'max'")
    for answer in answers:
        expect(isinstance(answer, bool), f"step() should return a bool, but returned a {type(answer).__name__}")


def test_rates_are_python_floats():
    """They go into param_groups, logs and JSON; a float32 tensor rounds 1e-4 and drags a device along."""
    options = {"base_lr": 0.5, "warmup_steps": 2, "total_steps": 6, "min_lr": 0.125}
    rates = {f"warmup_cosine_lr at step {s}": warmup_cosine_lr(s, **options) for s in (0, 1, 2, 4, 6, 7)}
    for what, rate in {"step_lr": step_lr(0.5, 3, 2, 0.1), **rates}.items():
        expect(isinstance(rate, float), f"{what} should be a float, but is a {type(rate).__name__}", hint="math.cos")
