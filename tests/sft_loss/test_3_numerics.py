"""Stage 3. Logits up to +-1e4, banned tokens, every floating dtype, gradients."""

import math

import pytest
import torch

from dojo.testing import (
    FLOATS,
    backward,
    expect,
    expect_close,
    expect_equal,
    expect_gradients,
    numbers,
    roundings,
)
from katas.sft_loss import causal_lm_loss

from .helpers import SHIFT, labelled, table

INF = float("inf")
HUGE = 8192.0  # a power of two: exact in every dtype
WIDEN = "convert to torch.promote_types(dtype, torch.float32) first, and stay there"
STABLE = "cross_entropy, log_softmax, or logsumexp minus the logit: never the logarithm of a softmax"
EVERY = pytest.mark.parametrize("dtype", FLOATS, ids=str)


def wide(dtype):
    """The dtype of the loss."""
    return torch.promote_types(dtype, torch.float32)


@EVERY
@pytest.mark.parametrize("items", [None, 7, torch.tensor(7)], ids=str)
def test_the_loss_is_float32_at_least(rng, dtype, items):
    """Logits are multiples of 1/8, exact in every dtype. Tolerance: 16 roundings of the largest logit."""
    logits, labels = labelled(rng, 3, 5, 4)
    logits = (8 * logits).round() / 8
    got = causal_lm_loss(logits.to(dtype), labels, num_items=items)
    what, want = f"the loss of {dtype} logits with num_items={items}", causal_lm_loss(logits, labels, num_items=items)
    expect_equal(getattr(got, "dtype", None), wide(dtype), what=f"the dtype of {what}", hint=WIDEN)
    close = roundings(16, wide(dtype), logits)
    expect_close(got.double(), want, what=f"{what}, beside float64", hint=WIDEN, **close)


@EVERY
def test_a_thousand_labels_lose_no_digits(dtype):
    """Labels of probability 1/34: the loss is log 34, and its sum with num_items=1 a thousand times that. Rounded to
    bfloat16, log 34 is off by 0.005. Tolerance: as many roundings as a running sum of 1024 numbers makes in float32."""
    logits, labels = torch.zeros(1, 1025, 34, dtype=dtype), torch.full((1, 1025), 3)
    for items, want in ((None, math.log(34)), (1, 1024 * math.log(34))):
        got, what = (
            causal_lm_loss(logits, labels, num_items=items),
            f"the loss of 1024 labels, num_items={items}, {dtype}",
        )
        close = roundings(260, wide(dtype), want)
        expect_close(got, numbers(want, dtype=wide(dtype))[0], what=what, hint=WIDEN, **close)


@EVERY
def test_huge_logits_stay_finite(dtype):
    """Right by 8192 costs nothing, wrong by 8192 costs 8192, at any height of the logits. Tolerance: 3 roundings of 16384."""
    for shift in (0.0, HUGE, -HUGE):
        logits = torch.tensor([[[0.0, HUGE], [HUGE, 0.0], [0.0, 0.0]]], dtype=dtype) + shift
        for labels, want in (((0, 1, 0), 0.0), ((0, 0, 1), HUGE), ((0, 1, 1), HUGE / 2)):
            leaf = logits.clone().requires_grad_()
            got = causal_lm_loss(leaf, table(labels))
            what, close = (
                f"the loss of logits [0, 8192] + {shift:g}, labels {list(labels)}, {dtype}",
                roundings(3, wide(dtype), 2 * HUGE),
            )
            expect_close(got, numbers(want, dtype=wide(dtype))[0], what=what, hint=STABLE, **close)
            backward(got, what="the loss")
            expect(leaf.grad.isfinite().all(), f"the gradient of {what} should be finite, but is not", hint=STABLE)


def test_positions_of_different_heights(rng):
    """A number that is added to all logits of a position changes nothing. The largest logit of the batch, or of a row,
    is thousands above those of most positions. Tolerance: 4 roundings of 8192."""
    logits, labels = labelled(rng, 2, 5, 4)
    want = causal_lm_loss(logits, labels)
    heights = HUGE * torch.tensor([[0, 1, -1, 0, 1], [-1, -1, 0, -1, 0]])[..., None]
    got = causal_lm_loss(logits + heights, labels)
    what, hint = "the loss with positions 8192 apart", "each position's logits are compared with its own largest one. "
    expect_close(got, want, what=what, hint=hint + STABLE, **roundings(4, torch.float64, HUGE))


def test_a_small_loss_keeps_its_digits():
    """Right by 15, 20 and 25: log(1 + exp(-15)) is 3e-7. An epsilon inside the logarithm, or in the divisor, would show."""
    for gap in (15.0, 20.0, 25.0):
        got = causal_lm_loss(numbers(0, gap).expand(1, 2, 2), table((0, 1)))
        want = numbers(math.log1p(math.exp(-gap)))[0]
        # the logit minus log-sum-exp rounds at the size of the logits
        what = f"the loss of a label that is right by {gap:g}"
        expect_close(got, want, what=what, hint="no epsilon. " + STABLE, **roundings(2, torch.float64, 25))


def test_float64_keeps_its_digits():
    """float32 has 7 of them. Tolerance: 4 roundings of log 5 in float64."""
    got = causal_lm_loss(numbers(1, 2, 5).log().expand(1, 2, 3), table((0, 1)), num_items=3)
    want, close = numbers(math.log(4) / 3)[0], roundings(4, torch.float64, math.log(5))
    expect_close(got, want, what="a third of log 4 in float64", hint=WIDEN, **close)


def test_banned_tokens(rng):
    """A logit of -inf has probability 0, and the other classes share what is left. Here class 0 is banned, which also
    stands in for -100 in many answers: 0 times its infinite loss would be NaN. All logits are near -1e4, where a floor of
    -1e4 in place of -inf shows. Tolerance: 4 roundings of 1e4."""
    logits, labels = labelled(rng, 3, 6, 5)
    labels = labels.where(labels < 0, 1 + labels % 4)
    labels[:, 4] = -100
    want = causal_lm_loss(logits[..., 1:], (labels - 1).where(labels >= 0, -100))
    logits -= 9990
    logits[..., 0] = -INF
    leaf, hint = logits.requires_grad_(), "losses.where(counted, 0): a selection, not a product with the mask"
    got = causal_lm_loss(leaf, labels)
    expect_close(
        got,
        want,
        what="the loss with class 0 banned, against the other classes alone",
        hint=hint,
        **roundings(4, torch.float64, 1e4),
    )
    backward(got, what="the loss")
    expect(
        leaf.grad.isfinite().all(), "the gradient with class 0 banned should be finite, but has NaN or inf", hint=hint
    )
    expect_equal(leaf.grad[..., 0].abs(), torch.zeros(3, 6).double(), what="the gradient of a banned class", hint=hint)


def test_the_gradient_of_one_label():
    """Softmax minus one-hot at the position before the label, divided by the number of labels; exactly 0 elsewhere."""
    logits = torch.tensor([[[1.0, 2, 5], [2, 2, 4], [5, 2, 1], [1, 6, 1]]]).double().log().requires_grad_()
    backward(causal_lm_loss(logits, table((-100, -100, 1, -100)), num_items=2), what="the loss")
    want = torch.zeros(1, 4, 3).double()
    want[0, 1] = numbers(2, -6, 4) / 16
    what = "the gradient of the loss of label 2 alone, with num_items=2"
    expect_close(logits.grad, want, what=what, hint="no detach(). " + SHIFT)


@pytest.mark.parametrize("items", [None, 11], ids=str)
def test_gradients(rng, items):
    """Finite differences in float64, and zeros wherever the next label does not count."""
    logits, labels = labelled(rng, 2, 4, 3)
    labels[:, 2] = -100
    expect_gradients(lambda z: causal_lm_loss(z, labels, num_items=items), [logits], what="causal_lm_loss")
    leaf = logits.clone().requires_grad_()
    causal_lm_loss(leaf, labels, num_items=items).backward()
    idle = torch.cat([labels[:, 1:] == -100, torch.ones(2, 1).bool()], 1)
    got = leaf.grad[idle].abs()
    what = "the gradient of logits whose next label does not count"
    expect_equal(got, torch.zeros_like(got), what=what, hint=SHIFT)


@EVERY
@pytest.mark.parametrize("items", [None, 0, 3], ids=str)
def test_where_nothing_counts_there_is_a_graph(rng, dtype, items):
    """A constant 0.0 would stop the training with an error at backward(), and other devices would wait for this one.
    Class 0 is banned: 0 times the sum of the logits is NaN then."""
    logits, labels = labelled(rng, 2, 4, 3, dtype=dtype)
    labels[:, 1:], logits[..., 0] = -100, -INF
    for length in (4, 1):
        leaf = logits[:, :length].clone().requires_grad_()
        got = causal_lm_loss(leaf, labels[:, :length], num_items=items)
        what = f"the loss where nothing counts, with length {length} and num_items={items}, in {dtype}"
        backward(got, what=what, hint="the sum over nothing, not a new tensor of 0")
        expect_close(got, torch.zeros((), dtype=wide(dtype)), what=what)
        grad = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        expect_equal(grad.abs(), torch.zeros_like(leaf), what=f"the gradient of {what}")
