"""Stage 3. Random weights, huge logits, float32, views, and the way to logistic regression."""

import numpy as np
import pytest
import torch

from dojo.testing import expect, roundings
from katas.mlp_backprop import gradient_check

from .helpers import (
    LOSS,
    LOSS_GRAD,
    PASS,
    array,
    backward,
    both_passes,
    by_autograd,
    checked,
    expect_array,
    expect_layers,
    expect_number,
    forward,
    labels,
    layers,
    loss_of,
    normal,
    step,
)

DTYPE = pytest.mark.parametrize("dtype", ["float32", "float64"])
STABLE = "subtract the largest logit of each row before exp, and use log-softmax: z - log(sum(exp(z)))"


def within(count, dtype):
    return roundings(count, getattr(torch, dtype))["atol"]


@DTYPE
@pytest.mark.parametrize("level", [50.0, 1e3, 1e4, -1e3, -1e4])
def test_only_differences_of_logits_count(dtype, level):
    """Probabilities 0.12 and 0.88 at any level: exp(1000) overflows, exp(-1000) is 0. Logits of 1e4 have fewer digits
    behind the point, which log-sum-exp loses, and so the tolerance grows with the level."""
    logits = (level + array([0, 2], [2, 0])).astype(dtype)
    loss, grad = loss_of(logits, np.array([0, 0]))
    high, low = np.log1p(np.exp(2.0)), np.log1p(np.exp(-2.0))
    p, tolerance = 1 / (1 + np.exp(2.0)), within(4, dtype) * abs(level)
    expect_number(
        loss, (high + low) / 2, what=f"the loss of {dtype} logits near {level:g}", hint=STABLE, within=tolerance
    )
    wanted = array([p - 1, 1 - p], [-p, p]) / 2
    expect_array(grad, wanted, what=f"the gradient of {dtype} logits near {level:g}", hint=STABLE, within=tolerance)


@DTYPE
def test_every_row_has_its_own_level(dtype):
    """One maximum for the batch would leave nothing of the other rows."""
    logits = (array([1e4], [0], [-1e4]) + array([0, 1, 0])).astype(dtype)
    loss, grad = loss_of(logits, np.array([1, 1, 1]))
    tolerance = within(4, dtype) * 1e4
    expect_number(
        loss, np.log(1 + 2 / np.e), what="the loss of rows near 1e4, 0 and -1e4", hint=STABLE, within=tolerance
    )
    p = 1 / (2 + np.e)
    wanted = array(*3 * [[p, -2 * p, p]]) / 3
    expect_array(grad, wanted, what="the gradient of rows near 1e4, 0 and -1e4", hint=STABLE, within=tolerance)


@DTYPE
@pytest.mark.parametrize("gap", [50, 200, 1e3, 1e4])
def test_a_loss_may_be_large(dtype, gap):
    """A sure and wrong prediction costs the whole gap: its probability is 0 in floating point, its logarithm is not."""
    loss, grad = loss_of(np.array([[0, gap], [gap, 0]], dtype), np.array([0, 0]))
    hint = f"{STABLE}; no log of a probability, clipped or not"
    expect_number(loss, gap / 2, what=f"the mean of a loss of {gap:g} and one of 0", hint=hint, within=within(4, dtype))
    expect_array(
        grad, [[-0.5, 0.5], [0, 0]], what=f"the gradient for a gap of {gap:g}", hint=hint, within=within(4, dtype)
    )


@DTYPE
def test_a_loss_may_be_small(dtype):
    """-log(1 - p) for p = e^-10: nothing is added inside the logarithm, nothing is clipped."""
    loss, grad = loss_of(np.array([[10, 0]], dtype), np.array([0]))
    p = np.exp(-10.0) / (1 + np.exp(-10.0))
    what = "the loss of a probability of 1 - e^-10"
    expect_number(loss, np.log1p(np.exp(-10.0)), what=what, hint=LOSS, within=within(4, dtype))
    expect_array(grad, [[-p, p]], what="its gradient", hint=LOSS_GRAD, within=within(4, dtype))


@DTYPE
@pytest.mark.parametrize("sizes", [(4, 3), (4, 6, 5, 3)])
def test_results_have_the_dtype_of_the_arguments(rng, dtype, sizes):
    """And the values of float64, within its roundings. The loss is a Python float."""
    params, x = layers(rng, *sizes, dtype=dtype), normal(rng, 5, 4, dtype=dtype)
    targets = labels(rng, 5, 3)
    loss, wanted, wanted_x = by_autograd(params, x, targets)
    hint = "np.zeros, np.eye and NumPy scalars are float64, and make float32 arrays wide: pass the dtype on"
    options = {"hint": hint, "dtype": dtype, "within": within(64, dtype)}
    logits, cache = forward(params, x)
    expect_array(logits, logits, what=f"the logits of {dtype} params", **options)
    got, grad_logits = loss_of(logits, targets)
    expect(
        isinstance(got, float), f"the loss should be a Python float, but is a {type(got).__name__}", hint="float(...)"
    )
    expect_number(got, loss, what=f"the loss of {dtype} params", within=within(64, dtype))
    expect_array(grad_logits, grad_logits, what=f"the gradient of the loss of {dtype} logits", **options)
    gradients, grad_x = backward(params, cache, grad_logits)
    expect_layers(gradients, wanted, what=f"of {dtype} params, the gradient", **options)
    expect_array(grad_x, wanted_x, what=f"grad_x of {dtype} params", **options)
    lowered = [(w - 0.5 * grad_w, b - 0.5 * grad_b) for (w, b), (grad_w, grad_b) in zip(params, wanted, strict=True)]
    got, new = step(params, x, targets, lr=0.5)
    expect(isinstance(got, float), f"train_step's loss should be a Python float, but is a {type(got).__name__}")
    expect_layers(new, lowered, what=f"after a step of {dtype} params, the value", **options)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_targets_of_every_integer_dtype(rng, dtype):
    """200 classes: more than int8 holds, and where one counts in the targets' dtype, uint8 wraps."""
    logits, targets = normal(rng, 4, 200), np.array([3, 0, 127, 64])
    (loss, grad), (same, grads) = loss_of(logits, targets), loss_of(logits, targets.astype(dtype))
    hint = "targets are indices: no arithmetic with them"
    expect_number(same, loss, what=f"the loss with {dtype} targets", hint=hint)
    expect_array(grads, grad, what=f"the gradient with {dtype} targets", hint=hint)


def test_views_give_the_same(rng):
    """Arrays backwards, every second column, and transposed."""
    params, x, grad = layers(rng, 4, 5, 3), normal(rng, 6, 4), normal(rng, 6, 3)
    targets = labels(rng, 6, 3)
    wanted, wanted_x = both_passes(params, x, grad)
    views = [(np.repeat(w, 2, 1)[:, ::2], b[::-1].copy()[::-1]) for w, b in params]
    x_view, grad_view = np.asfortranarray(x), grad[::-1].copy()[::-1]
    for each in (x_view, grad_view, *[each for pair in views for each in pair]):
        each.flags.writeable = False
    gradients, grad_x = both_passes(views, x_view, grad_view)
    expect_layers(gradients, wanted, what="of views, the gradient", hint=PASS)
    expect_array(grad_x, wanted_x, what="grad_x of views", hint=PASS)
    loss, grad_logits = loss_of(grad, targets)
    same, grads = loss_of(np.repeat(grad, 2, 0)[::2], np.repeat(targets, 3)[::3])
    expect_number(same, loss, what="the loss of views", hint=LOSS)
    expect_array(grads, grad_logits, what="the gradient of the loss of views", hint=LOSS_GRAD)


@pytest.mark.parametrize("view", ["transposed", "every second", "backwards"])
def test_a_view_is_checked_in_place(view):
    """ravel() and reshape(-1) copy it, and the loss would never see a change. The gradient is a view of another kind."""
    base = np.zeros((4, 6))
    x = {"transposed": base.T, "every second": base[::2, ::3], "backwards": base[::-1, :3]}[view]
    slopes = np.arange(1.0, 1 + x.size).reshape(x.shape)
    hint = "array[place] with np.ndindex changes a view in place; flat copies do not"
    for gradient, error in ((slopes, 0), (3 * slopes, 2 / 3)):
        got = checked(lambda: float((slopes * x).sum()), x, np.asfortranarray(gradient), 0.25)
        expect_number(got, error, what=f"gradient_check of an array that is {view}", hint=hint)


def test_a_float32_array_is_checked():
    """With a step that float32 can take. The errors are Python floats."""
    x = np.array([1, 2, -3], dtype=np.float32)
    before = x.copy()
    for gradient, error in ((array(2, 4, -6), 0), (array(2, 3, -6), 0.25)):
        got = checked(lambda: float((x.astype(float) ** 2).sum()), x, gradient.astype(np.float32), 2.0**-6)
        expect_number(got, error, what="gradient_check of a float32 array", hint="no float64 copy of it")
    kind = type(gradient_check(lambda: 0.0, x, 0 * x))
    expect(issubclass(kind, float), f"gradient_check should return a Python float, but gave a {kind.__name__}")
    expect(
        x.tobytes() == before.tobytes() and x.dtype == "float32", "gradient_check should leave a float32 array alone"
    )


def test_the_step_is_1e_5_if_none_is_given():
    """Seen by the loss."""
    x, seen = array(0), []
    checked(lambda: seen.append(float(x[0])) or 0.0, x, array(0))
    sentence = f"gradient_check should move an element by 1e-5 each way, but moved it to {sorted({*seen})}"
    expect(np.allclose(sorted({*seen} - {0.0}), [-1e-5, 1e-5], rtol=1e-9, atol=0), sentence, hint="eps=1e-5")


def test_a_single_layer_learns_frequencies():
    """Logistic regression with one feature, 0 or 1: its probabilities become the frequencies, 1/6, 2/6, 3/6 at 0 and 1/2, 1/4,
    1/4 at 1. This takes 100 steps."""
    x = array(*6 * [[0]], *4 * [[1]])
    targets = np.array([0, 1, 1, 2, 2, 2, 0, 0, 1, 2])
    params = [(np.zeros((1, 3)), np.zeros(3))]
    for _ in range(100):
        loss, params = step(params, x, targets, lr=4.0)
    odds = np.log(array([1, 2, 3], [6, 3, 3]))
    logits = forward(params, array([0], [1]))[0]
    what = "after 100 steps, the logits less their mean"
    centred = [each - each.mean(axis=1, keepdims=True) for each in (logits, odds)]
    expect_array(*centred, what=what, within=1e-6, hint="no hidden layer is logistic regression")
    entropies = 6 * np.log(6) - 2 * np.log(2) - 3 * np.log(3) + 4 * np.log(4) - 2 * np.log(2)
    expect_number(loss, entropies / 10, what="the loss after 100 steps", within=1e-9)


def test_weight_decay_ends_where_both_forces_are_equal():
    """One feature that is 1 or -1 and two classes, each right in 3 of 4: with weights (-w, w), w = (3/4 - sigmoid(2 w)) / decay."""
    x, targets = array(*4 * [[1]], *4 * [[-1]]), np.array([1, 1, 1, 0, 0, 0, 0, 1])
    w = 0.25
    decay = 0.75 - 1 / (1 + np.exp(-2 * w))
    params = [(np.zeros((1, 2)), np.zeros(2))]
    for _ in range(50):
        _, params = step(params, x, targets, lr=1.0, weight_decay=decay / w)
    hint = "the gradient of weight_decay / 2 * |W|^2 is weight_decay * W, without 1/n"
    expect_array(params[0][0], [[-w, w]], what="W after 50 steps with weight decay", hint=hint, within=1e-6)
