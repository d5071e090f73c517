"""Stage 3. Huge logits and margins, banned tokens, dtypes, gradients, references that carry a graph."""

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
    roundings,
)
from katas.dpo_loss import sequence_log_probs

from .helpers import FIELDS, dpo, masks, of_margin, pairs, responses, table

INF = float("inf")
HUGE = 8192.0  # a power of two: exact in every dtype
WIDEN = "convert to torch.promote_types(dtype, torch.float32) first, and stay there"
EVERY = pytest.mark.parametrize("dtype", FLOATS, ids=str)


def wide(dtype):
    """The dtype of the results."""
    return torch.promote_types(dtype, torch.float32)


@EVERY
def test_results_are_float32_at_least(rng, dtype):
    """A loss of 0.6931 is 0.6914 in bfloat16, and a log-probability of -1001 is -1000. Inputs are multiples of 1/8,
    exact in every dtype. Tolerance: 16 roundings of the largest number."""
    logits, tokens, mask = responses(rng, 3, 5, 4)
    logits, given = (8 * logits).round() / 8, [(4 * each).round().clamp(-255) / 4 for each in pairs(rng, 4)]
    got, want = sequence_log_probs(logits.to(dtype), tokens, mask), sequence_log_probs(logits, tokens, mask)
    close, what = roundings(16, wide(dtype), want), f"sequence_log_probs of {dtype} logits"
    expect_equal(getattr(got, "dtype", None), wide(dtype), what=f"the dtype of {what}", hint=WIDEN)
    expect_close(got.double(), want, what=f"{what}, beside float64", hint=WIDEN, **close)
    single, double = dpo(*(each.to(dtype) for each in given), beta=1.0), dpo(*given, beta=1.0)
    for name in FIELDS:
        got, want, what = getattr(single, name), getattr(double, name), f"{name} of {dtype} log-probabilities"
        expect_equal(got.dtype, wide(dtype), what=f"the dtype of {what}", hint=WIDEN)
        expect_close(got.double(), want, what=f"{what}, beside float64", hint=WIDEN, **roundings(16, wide(dtype), 80))


@EVERY
@pytest.mark.parametrize("smoothing", [0.0, 0.25])
def test_huge_margins_stay_finite(dtype, smoothing):
    """In float32 the sigmoid of -104 is 0, whose logarithm is -inf, where the loss is 104. Tolerance: 3 roundings of 8192."""
    hint = "logsigmoid(m), or softplus(-m): never exponentiate a margin, never clamp it"
    for margin, want in ((HUGE, smoothing * HUGE), (-HUGE, (1 - smoothing) * HUGE)):
        given = numbers(min(margin, 0), dtype=dtype), numbers(-1024, dtype=dtype), numbers(min(-margin, 0), dtype=dtype)
        policy = [each.requires_grad_() for each in given[:2]]
        got = dpo(*policy, given[2], given[1].detach(), beta=1.0, label_smoothing=smoothing)
        what, close = f"margin {margin:g} with label_smoothing={smoothing} in {dtype}", roundings(3, wide(dtype), HUGE)
        expect_close(got.loss, numbers(want, dtype=wide(dtype))[0], what=f"the loss of {what}", hint=hint, **close)
        backward(got.loss, what="the loss")
        slope = smoothing if margin > 0 else smoothing - 1
        for name, leaf, sign in (("policy_chosen", policy[0], 1), ("policy_rejected", policy[1], -1)):
            want_slope = numbers(sign * slope, dtype=dtype)
            expect_close(leaf.grad, want_slope, what=f"the gradient of {name} at {what}", hint=hint)


def test_moderate_margins_keep_their_digits():
    """At a margin of 25 the loss is exp(-25), 1.4e-11, and at -25 as much more than 25. An epsilon inside a logarithm,
    or a clamp, would change both. Tolerance: 4 roundings of 50 in float64."""
    hint = "logsigmoid(m): no epsilon, no clamp"
    for margin in (15.0, 25.0, -15.0, -25.0):
        want = numbers(max(-margin, 0.0) + math.log1p(math.exp(-abs(margin))))[0]
        # softplus leaves out what is below exp(-20)
        got = dpo(*of_margin(margin, beta=1.0), beta=1.0).loss
        expect_close(got, want, what=f"the loss of margin {margin:g}", hint=hint, rtol=0.0, atol=3e-9)


@EVERY
def test_differences_are_taken_in_float32(dtype):
    """-130 and -1.0078125 are exact in every dtype, and their difference is not in half precision: bfloat16 has steps
    of 1 there, float16 of 1/8."""
    policy, reference = numbers(-130, dtype=dtype), numbers(-1.0078125, dtype=dtype)
    got = dpo(policy, reference, reference, policy, beta=1.0)
    want, close = numbers(-128.9921875, dtype=wide(dtype)), roundings(2, wide(dtype), 130)
    expect_close(got.chosen_rewards, want, what=f"-130 - (-1.0078125) in {dtype}", hint=WIDEN, **close)
    expect_close(got.rejected_rewards, -want, what=f"-1.0078125 - (-130) in {dtype}", hint=WIDEN, **close)
    want = numbers(257.984375, dtype=wide(dtype))[0]
    expect_close(got.loss, want, what=f"the loss of margin -257.984375 in {dtype}", hint=WIDEN, **close)


def test_float64_keeps_its_digits():
    """float32 has 7 of them. Tolerance: 4 roundings of the largest number in float64."""
    close = roundings(4, torch.float64, 80)
    got = dpo(*(numbers(-value / 7) for value in (100, 300, 200, 500)), beta=1.0)
    for name, sevenths in (("chosen_rewards", 100), ("rejected_rewards", 200)):
        what = f"{name}, {sevenths}/7 in float64"
        expect_close(getattr(got, name), numbers(sevenths / 7), what=what, hint=WIDEN, **close)
    want = numbers(100 / 7 + math.log1p(math.exp(-100 / 7)))[0]
    expect_close(got.loss, want, what="the loss of margin -100/7 in float64", hint=WIDEN, **close)
    logits = numbers(1, 2, 5).log().expand(1, 2, 3)
    got = sequence_log_probs(logits, table((0, 1)), masks((0, 1)))
    expect_close(got, numbers(math.log(2 / 8)), what="log 2/8 in float64", hint=WIDEN, **close)


@EVERY
def test_a_thousand_tokens_lose_no_digits(dtype):
    """1024 tokens of probability 1/34. Rounded to bfloat16, log 34 is off by 0.005, to float16 by 0.001, and their sum
    by a thousand times that; a sum that runs in half precision stops growing. Tolerance: as many roundings as a running
    sum of 1024 numbers makes in float32."""
    logits, tokens = torch.zeros(1, 1025, 34, dtype=dtype), torch.full((1, 1025), 3)
    got = sequence_log_probs(logits, tokens, torch.ones(1, 1025).bool())
    want, hint = 1024 * math.log(34), "logits.float() before the log-softmax, and a sum of logarithms in float32"
    what, close = f"the log-probability of 1024 tokens in {dtype}", roundings(260, wide(dtype), want)
    expect_close(got, numbers(-want, dtype=wide(dtype)), what=what, hint=hint, **close)


@EVERY
def test_huge_logits_stay_finite(dtype):
    """Right by 8192: log-probability 0. Wrong by 8192: -8192. A constant added to one position's logits changes nothing,
    so these rows may lie at any height. Tolerance: 3 roundings of 16384."""
    hint = "the logit minus logsumexp, or log_softmax; never the logarithm of a softmax"
    for shift in (0.0, HUGE, -HUGE):
        logits = torch.tensor([[[0.0, HUGE], [HUGE, 0.0], [0.0, 0.0]]], dtype=dtype) + shift
        for tokens, want in (((0, 1, 0), 0.0), ((0, 0, 1), -2 * HUGE)):
            got = sequence_log_probs(logits, table(tokens), masks((0, 1, 1)))
            what = f"the log-probability with logits [0, 8192] + {shift:g} and tokens {list(tokens)} in {dtype}"
            close = roundings(3, wide(dtype), 2 * HUGE)
            expect_close(got, numbers(want, dtype=wide(dtype)), what=what, hint=hint, **close)


def test_banned_tokens(rng):
    """Logits of -inf have probability 0, and the others share what is left. A banned token has no influence where it is
    not scored: 0 * -inf would be NaN. Here class 0 is banned, which also stands in for -100 in many answers."""
    logits, tokens, mask = responses(rng, 3, 6, 5)
    tokens, mask[:, 4] = 1 + tokens % 4, False
    want = sequence_log_probs(logits[..., 1:], tokens - 1, mask)
    logits[..., 0] = -INF
    hint = "log_probs.where(mask, 0): a selection, not a product with the mask"
    for number in (-100, 0, 2):
        leaf = logits.clone().requires_grad_()
        got = sequence_log_probs(leaf, tokens.where(mask, number), mask)
        what = f"with class 0 banned, and {number} where nothing is scored"
        expect_close(got, want, what=f"the log-probability {what}", hint=hint)
        backward(got.sum(), what="the log-probability")
        expect(leaf.grad.isfinite().all(), f"the gradient {what} should be finite, but has NaN or inf", hint=hint)
        nothing = torch.zeros(3, 6).double()
        expect_equal(leaf.grad[..., 0].abs(), nothing, what=f"the gradient of class 0 {what}", hint=hint)
    tokens[1, 3] = 0
    want[1] = -INF
    got = sequence_log_probs(logits, tokens, mask)
    expect_close(got, want, what="the log-probability of a response that holds a banned token", hint="log 0 is -inf")


def test_the_gradient_of_a_log_probability():
    """One-hot minus softmax at the position before each scored token; exactly 0 at all others."""
    logits = torch.tensor([[[1.0, 2, 5], [2, 2, 4], [5, 2, 1], [1, 6, 1]]]).double().log().requires_grad_()
    got = sequence_log_probs(logits, table((-100, -100, 1, -100)), masks((0, 0, 1, 0)))
    backward(3 * got.sum(), what="the log-probability")
    want = torch.zeros(1, 4, 3).double()
    want[0, 1] = 3 * numbers(-2, 6, -4) / 8
    hint = "no detach(); only position 1 speaks about token 2"
    expect_close(logits.grad, want, what="the gradient of 3 times the log-probability of token 2", hint=hint)


def test_gradients_of_responses(rng):
    """Finite differences in float64, and zeros wherever the successor is not scored."""
    logits, tokens, mask = responses(rng, 2, 4, 3)
    mask[:, 2] = False
    tokens = tokens.where(mask, -100)
    expect_gradients(lambda z: sequence_log_probs(z, tokens, mask), [logits], what="sequence_log_probs")
    leaf = logits.clone().requires_grad_()
    sequence_log_probs(leaf, tokens, mask).sum().backward()
    idle = torch.cat([~mask[:, 1:], torch.ones(2, 1).bool()], 1)
    got, hint = leaf.grad[idle].abs(), "select the scored tokens before the sum"
    what = "the gradient of logits whose successor is not scored"
    expect_equal(got, torch.zeros_like(got), what=what, hint=hint)


def test_empty_responses_have_a_graph(rng):
    """A batch in which nothing is scored adds nothing, and does not stop the training with an error or NaN."""
    logits, tokens, mask = responses(rng, 2, 4, 3)
    for length in (4, 1):
        leaf = logits[:, :length].clone().requires_grad_()
        got = sequence_log_probs(leaf, tokens[:, :length], mask[:, :length] & False)
        backward(got.sum(), what=f"the result of length {length} with nothing scored", hint="sum what is selected")
        grad = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        expect_equal(grad.abs(), torch.zeros_like(leaf), what=f"the gradient at length {length} with nothing scored")


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_gradient_weighs_pairs_by_how_wrong_they_are(rng, smoothing):
    """d loss / d policy_chosen = -beta (sigmoid(-m) - s) / n, the opposite for policy_rejected. Where policy and reference
    agree it is -beta / 2n: the first step moves, although all rewards are 0."""
    given = pairs(rng, 5)
    chosen, rejected = (each.requires_grad_() for each in given[:2])
    got = dpo(*given, beta=0.4, label_smoothing=smoothing)
    backward(got.loss, what="the loss")
    margin = 0.4 * ((given[0] - given[2]) - (given[1] - given[3])).detach()
    want = -0.4 * (torch.sigmoid(-margin) - smoothing) / 5
    hint = "detach neither of the policy's log-probabilities"
    for name, leaf, slope in (("policy_chosen", chosen, want), ("policy_rejected", rejected, -want)):
        expect(leaf.grad is not None, f"{name} should get a gradient, but gets none", hint=hint)
        expect_close(leaf.grad, slope, what=f"the gradient of {name}", hint=hint)
    leaf = given[2].clone().requires_grad_()
    backward(dpo(leaf, given[3], given[2], given[3], beta=0.4).loss, what="the loss")
    want = torch.full((5,), -0.4 / 10).double()
    hint = "torch takes the slope of abs and relu at 0 for 0: use logsigmoid or softplus"
    expect_close(leaf.grad, want, what="the gradient of policy_chosen where policy and reference agree", hint=hint)


def test_no_gradient_reaches_the_reference(rng):
    """If someone forgets torch.no_grad() around the reference model, the loss would train it in the opposite direction,
    which lowers the loss as well."""
    given = [each.requires_grad_() for each in pairs(rng, 4)]
    backward(dpo(*given, label_smoothing=0.1).loss, what="the loss")
    for name, leaf in zip(("reference_chosen", "reference_rejected"), given[2:], strict=True):
        idle = leaf.grad is None or not leaf.grad.any()
        expect(idle, f"{name} should get no gradient, but gets one", hint="reference.detach()")


def test_rewards_and_accuracy_carry_no_graph(rng):
    """They are for the log. With a graph, a list of them keeps all activations of every step."""
    given = [each.requires_grad_() for each in pairs(rng, 4)]
    got = dpo(*given)
    expect_graph(got.loss, what="the loss")
    for name in ("chosen_rewards", "rejected_rewards", "accuracy"):
        expect(not getattr(got, name).requires_grad, f"{name} should carry no graph, but does", hint="detach() them")
