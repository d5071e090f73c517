"""Stage 3. Which token gets a gradient, NaN under the mask, every floating dtype."""

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
    expect_graph,
    numbers,
    randn,
    roundings,
)
from katas.grpo_loss import group_advantages, grpo_loss, kl_estimate

from .helpers import MIN, REDUCTIONS, masks, prefixes, rollout

INF, NAN = float("inf"), float("nan")
EVERY = pytest.mark.parametrize("dtype", FLOATS, ids=str)
EACH = pytest.mark.parametrize("options", REDUCTIONS.values(), ids=REDUCTIONS)
WIDEN = "convert to torch.promote_types(dtype, torch.float32) first, and stay there"
FILL = "fill where the mask is False before the exp, and not only the costs after it"
ONE = torch.ones(1, 1).bool()


def wide(dtype):
    """The dtype of the results."""
    return torch.promote_types(dtype, torch.float32)


@EVERY
def test_advantages_are_float32_at_least(rng, dtype):
    """Rewards that are exact in every dtype, beside float64. Tolerance: 16 roundings of the largest advantage."""
    rewards = (8 * randn(rng, 12)).round().clamp(-31, 31) / 8
    rewards[::3] = numbers(4, 5, 6, 7)
    for scale in (True, False):
        got, want = (group_advantages(each, 3, scale=scale) for each in (rewards.to(dtype), rewards))
        what = f"the advantages of {dtype} rewards with scale={scale}"
        expect_equal(getattr(got, "dtype", None), wide(dtype), what=f"the dtype of {what}", hint=WIDEN)
        close = roundings(16, wide(dtype), 8.0)
        expect_close(got.double(), want, what=f"{what}, beside float64", hint=WIDEN, **close)


@EVERY
def test_large_rewards_do_not_overflow(dtype):
    """Rewards about 30 000 are finite in float16, and so is their mean, but not their sum. Tolerance: 64 roundings of
    the mean over the std."""
    rewards = numbers(29952, 30720, 30720, 29952, dtype=dtype)
    got = group_advantages(rewards, 4)
    want = numbers(-384, 384, 384, -384) / (384 * (4 / 3) ** 0.5 + 1e-4)
    what = f"the advantages of [29952, 30720, 30720, 29952] in {dtype}"
    expect_close(got.double(), want, what=what, hint=WIDEN, **roundings(64, wide(dtype), 30720 / 443))


def test_small_spreads_about_a_large_mean():
    """1 about 8192 in float32: E[x^2] - E[x]^2 has no digit left. Tolerance: a rounding of 8192 over the std."""
    got = group_advantages(numbers(8193, 8191, 8193, 8191, dtype=torch.float32), 4)
    want = numbers(1, -1, 1, -1, dtype=torch.float32) / ((4 / 3) ** 0.5 + 1e-4)
    hint = "the mean of (x - mean)^2, not a difference of squares"
    what = "the advantages of [8193, 8191, 8193, 8191] in float32"
    expect_close(got, want, what=what, hint=hint, **roundings(1, torch.float32, 8192 / 1.15))


def test_advantages_carry_no_graph(rng):
    """A reward model's rewards may carry one. The policy's gradient treats them as numbers."""
    rewards = randn(rng, 6).requires_grad_()
    for scale in (True, False):
        got = group_advantages(rewards, 3, scale=scale)
        expect(not got.requires_grad, f"the advantages with scale={scale} should carry no graph", hint="detach()")


@EVERY
@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
def test_estimates_are_float32_at_least(dtype, kind):
    """-8 and -1/512 are exact in every dtype, and their difference is not in half precision. Tolerance: 16 roundings of
    the result, in which exp has the largest share."""
    for a, b in ((-8.0, -(2.0**-9)), (-(2.0**-9), -8.0), (-1.5, -1.75)):
        k1 = a - b
        want = {"k1": k1, "k2": k1 * k1 / 2, "k3": math.exp(-k1) - 1 + k1}[kind]
        got = kl_estimate(numbers(a, dtype=dtype), numbers(b, dtype=dtype), kind)
        close, what = roundings(16, wide(dtype), abs(want) + 1), f"{kind} of {a} against {b} in {dtype}"
        expect_equal(getattr(got, "dtype", None), wide(dtype), what=f"the dtype of {what}", hint=WIDEN)
        expect_close(got.double(), numbers(want), what=what, hint=WIDEN, **close)


@pytest.mark.parametrize("apart", [12.0, 25.0, 60.0])
def test_estimates_are_not_clamped(apart):
    """Some libraries clamp the log-ratio, or k3, at 10 or 20. Then a token that the policy has all but lost no longer
    pulls it back. Tolerance: 100 roundings in float64."""
    got = kl_estimate(numbers(-apart - 1, apart), numbers(-1, 0), "k3")
    want = numbers(math.exp(apart) - 1 - apart, math.exp(-apart) - 1 + apart)
    what = f"k3 where log_probs - reference is {-apart:g} and {apart:g}"
    expect_close(got, want, what=what, hint="no clamp", rtol=100 * 2.0**-52, atol=0.0)
    got = kl_estimate(numbers(-apart - 1), numbers(-1), "k1")
    expect_close(got, numbers(-apart), what=f"k1 where log_probs - reference is {-apart:g}", hint="no clamp")


def test_which_estimate_may_be_differentiated(rng):
    """The gradient of the mean over the policy's own samples, with the samples held fixed: that of k1 is 0 (it learns
    nothing), that of k2 is the gradient of KL(policy || reference), that of k3 of KL(reference || policy)."""
    logits, reference = randn(rng, 6).requires_grad_(), randn(rng, 6).log_softmax(-1)
    policy = logits.log_softmax(-1)
    chances = policy.exp().detach()
    forward = (policy.exp() * (policy - reference)).sum()
    other = (reference.exp() * (reference - policy)).sum()
    for kind, divergence in (("k1", None), ("k2", forward), ("k3", other)):
        mean = (chances * kl_estimate(policy, reference, kind)).sum()
        expect_graph(mean, what=f"the mean of {kind}")
        (got,) = torch.autograd.grad(mean, logits, retain_graph=True)
        want = torch.zeros(6).double()
        if divergence is not None:
            (want,) = torch.autograd.grad(divergence, logits, retain_graph=True)
        expect_close(
            got, want, what=f"the gradient of the mean of {kind}", hint="differentiable in log_probs throughout"
        )


def test_no_gradient_of_an_estimate_reaches_the_reference(rng):
    """It is frozen, even if someone forgot torch.no_grad()."""
    for kind in ("k1", "k2", "k3"):
        log_probs, reference = randn(rng, 4).requires_grad_(), randn(rng, 4).requires_grad_()
        backward(kl_estimate(log_probs, reference, kind).sum(), what=kind)
        idle = reference.grad is None or not reference.grad.any()
        expect(idle, f"reference should get no gradient of {kind}, but gets one", hint="reference.detach()")


@pytest.mark.parametrize(
    ("ratio", "advantage", "want"),
    [(1.5, 2.0, 0.0), (0.5, -2.0, 0.0), (0.5, 2.0, -1.0), (1.5, -2.0, 3.0), (1.1, 2.0, -2.2), (0.9, -2.0, 1.8)],
)
def test_which_tokens_get_a_gradient(ratio, advantage, want):
    """Exactly none where the policy has moved far enough in the right direction; in full where it moved in the wrong one,
    however far. Else -r A."""
    old = numbers(-2).reshape(1, 1)
    leaf = (old + math.log(ratio)).requires_grad_()
    backward(grpo_loss(leaf, old, numbers(advantage), ONE), what="the loss")
    what = f"the gradient at ratio {ratio} and advantage {advantage:g}"
    expect_close(leaf.grad, numbers(want).reshape(1, 1), what=what, hint=MIN)


def test_the_gradient_on_policy_is_that_of_reinforce(rng):
    """-A / n, also where old_log_probs is the very tensor log_probs: the first step after sampling has no other. A ratio
    of a tensor with itself would be a constant."""
    log_probs, _, advantages, _ = rollout(rng, 3, 4)
    mask = prefixes(4, 4, 1, 3)
    for name, share in (("sequence", 1 / (3 * mask.sum(1))), ("token", torch.full((3,), 1 / 8))):
        leaf = log_probs.clone().requires_grad_()
        backward(grpo_loss(leaf, leaf, advantages, mask, reduction=name), what="the loss")
        want = -(advantages * share)[:, None] * mask
        what = f'the gradient where old_log_probs is log_probs, reduction "{name}"'
        expect_close(leaf.grad, want, what=what, hint="old_log_probs.detach()")


@EACH
def test_gradients_are_those_of_the_loss(rng, options):
    """Finite differences in float64, divergence and clips included."""
    log_probs, old, advantages, reference = rollout(rng, 2, 3)
    mask = prefixes(3, 3, 2)

    def loss(x):
        return grpo_loss(x, old, advantages, mask, reference=reference, beta=0.5, **options)

    expect_gradients(loss, [log_probs], what=f"grpo_loss with {options}")


def test_gradients_reach_log_probs_only(rng):
    """The advantages may come from a reward model, and the other log-probabilities from models outside no_grad()."""
    given = [each.requires_grad_() for each in rollout(rng, 3, 4)]
    backward(grpo_loss(*given[:3], prefixes(4, 3, 4, 1), reference=given[3], beta=0.5), what="the loss")
    for name, leaf in zip(("old_log_probs", "advantages", "reference"), given[1:], strict=True):
        idle = leaf.grad is None or not leaf.grad.any()
        expect(idle, f"{name} should get no gradient, but gets one", hint=f"{name}.detach()")


@EACH
@pytest.mark.parametrize("number", [NAN, INF, -INF, 1e4, -1e4])
def test_what_stands_under_a_false_has_no_influence(rng, number, options):
    """In any of the three tensors: padding has no log-probability. 0 times NaN is NaN, in the backward pass too: there a
    torch.where after the exp multiplies 0 by the exponential's infinity."""
    *given, reference = rollout(rng, 3, 4)
    mask, more = prefixes(4, 3, 0, 2), {"beta": 0.5, **options}
    leaf = given[0].clone().requires_grad_()
    want = grpo_loss(leaf, *given[1:], mask, reference=reference, **more)
    backward(want, what="the loss")
    for names in (("log_probs",), ("old_log_probs",), ("reference",), ("log_probs", "old_log_probs", "reference")):
        all_three = {"log_probs": given[0], "old_log_probs": given[1], "reference": reference}
        new = {name: each.where(mask, number) if name in names else each for name, each in all_three.items()}
        other = new["log_probs"].clone().requires_grad_()
        got = grpo_loss(other, new["old_log_probs"], given[2], mask, reference=new["reference"], **more)
        what = f"with {number} under the mask in {' and '.join(names)}"
        expect_close(got, want, what=f"the loss {what}", hint=FILL)
        backward(got, what=f"the loss {what}")
        expect_close(other.grad, leaf.grad, what=f"the gradient {what}", hint=FILL)


@EACH
def test_a_batch_in_which_nothing_counts_has_a_graph(rng, options):
    """A backward pass of it adds zeros, and does not stop the training."""
    *given, reference = rollout(rng, 2, 3)
    leaf = given[0].where(masks((0, 0, 0), (0, 0, 0)), NAN).requires_grad_()
    nothing = torch.zeros(2, 3).bool()
    got = grpo_loss(leaf, *given[1:], nothing, reference=reference, beta=0.5, **options)
    backward(got, what=f"the loss in which nothing counts, {options}", hint="0 times a sum, not a new tensor")
    expect_equal(leaf.grad.abs(), torch.zeros(2, 3).double(), what=f"the gradient in which nothing counts, {options}")


@EVERY
@EACH
def test_losses_are_float32_at_least(dtype, options):
    """Numbers that are exact in every dtype; a ratio of exp(8 - 1/512) beside two of exp(1/4) and 1. The first
    log-ratio needs more digits than half precision has. Advantages are of the same dtype, or of float32 at least, as
    group_advantages returns them. Tolerance: 32 roundings of the largest cost, 2975."""
    log_probs, old = numbers(-(2.0**-9), -1.5, -3).reshape(1, 3), numbers(-8, -1.75, -3).reshape(1, 3)
    mask, more = torch.ones(1, 3).bool(), {"beta": 0.5, **options}
    for advantage in (-1.0, -(1 + 2.0**-12)):
        given = torch.tensor([advantage])
        want = grpo_loss(log_probs, old, given.double(), mask, reference=old, **more)
        given = given.to(dtype if advantage == -1 else wide(dtype))
        got = grpo_loss(log_probs.to(dtype), old.to(dtype), given, mask, reference=old.to(dtype), **more)
        what = f"the loss of {dtype} log-probabilities and advantages [{advantage}], {options}"
        expect_equal(getattr(got, "dtype", None), wide(dtype), what=f"the dtype of {what}", hint=WIDEN)
        expect_close(got.double(), want, what=f"{what}, beside float64", hint=WIDEN, **roundings(32, wide(dtype), 2975))


@EVERY
def test_advantages_keep_their_digits(dtype):
    """1 + 1/4096 in float32, beside log-probabilities of every dtype, of a token with ratio 1. Tolerance: 2 roundings."""
    old = torch.full((1, 1), -2.0, dtype=dtype)
    got = grpo_loss(old.clone(), old, torch.tensor([1 + 2.0**-12]), ONE)
    what = f"the loss at ratio 1 and the float32 advantage 1 + 1/4096, {dtype} log-probabilities"
    want = numbers(-1 - 2.0**-12, dtype=wide(dtype))[0]
    expect_close(got, want, what=what, hint=WIDEN, **roundings(2, wide(dtype)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_far_ratios_are_not_clamped_on_the_bad_side(dtype):
    """A ratio of exp(25) or exp(60) with a negative advantage costs as much; with a positive one it costs -1.2, and its
    gradient is 0. Tolerance: 100 roundings, most of them in the exponent."""
    for apart in (25.0, 60.0):
        for advantage, want, slope in ((-1.0, math.exp(apart), math.exp(apart)), (1.0, -1.2, 0.0)):
            old = torch.full((1, 1), -apart - 1, dtype=dtype)
            leaf = torch.full((1, 1), -1.0, dtype=dtype).requires_grad_()
            got = grpo_loss(leaf, old, numbers(advantage, dtype=dtype), ONE)
            what = f"at ratio exp({apart:g}) and advantage {advantage:g} in {dtype}"
            close = {"rtol": 100 * torch.finfo(dtype).eps, "atol": 0.0}
            expect_close(
                got, numbers(want, dtype=dtype)[0], what=f"the loss {what}", hint="no clamp but the clip", **close
            )
            backward(got, what="the loss")
            want_slope = numbers(slope, dtype=dtype).reshape(1, 1)
            expect_close(leaf.grad, want_slope, what=f"the gradient {what}", hint=MIN, **close)
