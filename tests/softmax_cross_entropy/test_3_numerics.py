"""Stage 3. Huge logits, banned tokens, dtypes, gradients."""

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
    expect_unchanged,
    numbers,
    randn,
    roundings,
)
from katas.softmax_cross_entropy import cross_entropy, cross_entropy_grad, log_sum_exp

from .helpers import OPTIONS, one_by_one, targets_of, tokens

INF = float("inf")
HUGE = 8192.0  # a power of two: exact in every dtype
EACH = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
EVERY = pytest.mark.parametrize("dtype", FLOATS, ids=str)


@EVERY
def test_huge_logits_stay_finite(dtype):
    """exp(8192) overflows in any dtype, and exp(-8192) is 0: subtract each row's maximum first. A token that is right
    by 8192 loses 0, one that is wrong by 8192 loses 8192. Tolerance: 3 roundings of 8192."""
    close, hint = roundings(3, dtype, HUGE), "subtract the row's maximum before exp; never take the log of a softmax"
    for sign in (1, -1):
        row = torch.tensor([sign * HUGE, sign * HUGE], dtype=dtype)
        want = numbers(sign * HUGE + math.log(2), dtype=dtype)[0]
        expect_close(log_sum_exp(row), want, what=f"log_sum_exp({row.tolist()}) in {dtype}", hint=hint, **close)
    row = torch.tensor([[0.0, HUGE, 0.0]], dtype=dtype)
    for target, loss in ((1, 0.0), (2, HUGE)):
        want, what = torch.tensor(loss, dtype=dtype), f"cross_entropy([[0, 8192, 0]], [{target}]) in {dtype}"
        expect_close(cross_entropy(row, targets_of(target)), want, what=what, hint=hint, **close)


@EVERY
def test_only_differences_between_logits_count(dtype):
    """A row that is shifted by 8192 has the same loss. Tolerance: 3 roundings of 8192, which subtracting z_target from
    the whole lse takes. (Subtracting the maximum from both first is exact.)"""
    row = torch.tensor([[0.0, 64.0, 64.0]], dtype=dtype)
    want = numbers(math.log(2), dtype=dtype)[0]
    for shift in (HUGE, -HUGE):
        got, what = cross_entropy(row + shift, targets_of(1)), f"the loss of [0, 64, 64] + {shift:g} in {dtype}"
        expect_close(got, want, what=what, hint="each row's own maximum", **roundings(3, dtype, HUGE))


def test_a_loud_token_leaves_the_others_alone(rng):
    """With the maximum of the whole batch, the exponentials of quiet rows would all be 0, and their losses infinite."""
    logits, targets = tokens(rng, 5, 6)
    logits[2] += 3000
    hint = "amax(-1, keepdim=True): each row has its own maximum"
    want = log_sum_exp(logits[0])
    expect_close(log_sum_exp(logits)[0], want, what="log_sum_exp of a row beside one at 3000", hint=hint)
    want = one_by_one(logits, targets).mean()
    expect_close(cross_entropy(logits, targets), want, what="the loss of 5 tokens, one around 3000", hint=hint)


@pytest.mark.parametrize("options", [{}, {"z_loss": 0.1, "ignore_index": 1}], ids=["plain", "with options"])
def test_banned_tokens_have_probability_zero(rng, options):
    """A logit of -inf: the loss is that of the other classes, finite, and its gradient is zero there. 0 * -inf is NaN,
    in a product with a one-hot matrix, and in a smoothing term of weight 0."""
    logits, targets = randn(rng, 4, 5), targets_of(1, 2, 0, 2)
    logits[:, 3:] = -INF
    leaf, hint = logits.clone().requires_grad_(), "pick the target's logit by its index; no product with zeros"
    loss = cross_entropy(leaf, targets, **options)
    want = cross_entropy(logits[:, :3], targets, **options)
    expect_close(loss, want, what="the loss with two banned classes, against the loss without them", hint=hint)
    backward(loss, what="the loss")
    for name, grad in (
        ("autograd's", leaf.grad),
        ("cross_entropy_grad's", cross_entropy_grad(logits, targets, **options)),
    ):
        want = torch.cat([cross_entropy_grad(logits[:, :3], targets, **options), torch.zeros(4, 2)], -1)
        expect_close(grad, want, what=f"{name} gradient with two banned classes", hint=hint)
    got = cross_entropy(logits, targets_of(1, 4, 0, 2), **options)
    expect_equal(got, numbers(INF)[0], what="the loss where a target is banned", hint="minus the log of 0")


@EVERY
@EACH
def test_every_floating_dtype_works(rng, dtype, options):
    """Results keep the dtype of the logits. Logits are multiples of 1/8 below 4, exact in every dtype. Tolerance: 4
    roundings of the largest value."""
    logits, targets = randn(rng, 6, 5).clamp(-4, 4).mul(8).round() / 8, targets_of(0, 4, 2, 2, 3, 0)
    hint = "widen inside, and convert the result back"
    loss, grad = cross_entropy(logits, targets, **options), cross_entropy_grad(logits, targets, **options)
    for name, got, want in (
        ("log_sum_exp", log_sum_exp(logits.to(dtype)), log_sum_exp(logits)),
        ("the loss", cross_entropy(logits.to(dtype), targets, **options), loss),
        ("cross_entropy_grad", cross_entropy_grad(logits.to(dtype), targets, **options), grad),
    ):
        expect_equal(got.dtype, dtype, what=f"{name}'s dtype for {dtype} logits", hint="convert back")
        what = f"{name} in {dtype} with {options}, beside float64"
        expect_close(got.double(), want, what=what, hint=hint, **roundings(4, dtype, want))


def test_sums_do_not_run_in_half_precision():
    """float16 ends at 65504. The sum of 70 000 exponentials, of 16 losses of 5000, and the square of lse = 300 are all
    larger, although each result is small."""
    hint = "convert the logits to float32 first, the result back at the end"
    row, zero = torch.zeros(1, 70_000, dtype=torch.float16), targets_of(0)
    want = torch.tensor(math.log(70_000)).half()
    expect_close(log_sum_exp(row[0]), want, what="log_sum_exp of 70 000 zeros in float16", hint=hint)
    expect_close(cross_entropy(row, zero), want, what="the loss of 70 000 equal logits in float16", hint=hint)
    wrong = torch.tensor([[0.0, -5000.0]]).half().expand(16, -1)
    got, want = cross_entropy(wrong, zero.expand(16) + 1), torch.tensor(5000.0).half()
    expect_close(got, want, what="the loss of 16 tokens that lose 5000 each, in float16", hint=hint)
    got, want = cross_entropy(torch.tensor([[300.0, 0.0]]).half(), zero, z_loss=1e-3), torch.tensor(90.0).half()
    expect_close(got, want, what="the loss of [[300, 0]] with z_loss=1e-3 in float16", hint=hint)
    got = cross_entropy_grad(torch.tensor([[300.0, 0.0]]).half(), zero, z_loss=1e-3)
    want = torch.tensor([[0.6, 0.0]]).half()  # p = (1, 0): (1 + 2 * 1e-3 * 300) * p - (1, 0)
    expect_close(got, want, what="cross_entropy_grad of [[300, 0]] with z_loss=1e-3 in float16", hint=hint)
    got = cross_entropy_grad(row, zero)
    what = "the target's gradient among 70 000 equal logits in float16"
    expect_close(got[0, 0], torch.tensor(-1.0).half(), what=what, hint=hint)


def test_float64_keeps_its_digits():
    """float32 has 7 of them. Tolerance: 16 roundings in float64 of a number of size 3."""
    row, close = numbers(1, 2, 5).log()[None], roundings(16, torch.float64, 3.0)
    hint = "torch.promote_types(x.dtype, torch.float32), not .float()"
    expect_close(log_sum_exp(row[0]), numbers(8).log()[0], what="log_sum_exp(log [1, 2, 5])", hint=hint, **close)
    got, want = cross_entropy(row, targets_of(1)), numbers(4).log()[0]
    expect_close(got, want, what="cross_entropy([log [1, 2, 5]], [1])", hint=hint, **close)
    got, want = cross_entropy_grad(row, targets_of(1)), numbers(1 / 8, -3 / 4, 5 / 8)[None]
    expect_close(got, want, what="cross_entropy_grad([log [1, 2, 5]], [1])", hint=hint, **close)


@EACH
def test_the_loss_has_the_gradient_of_the_function(rng, options):
    """Finite differences in float64, with a target that is ignored."""
    logits, targets = tokens(rng, 4, 3)
    targets[1] = options.get("ignore_index", -100)
    hint = "no detach() but of the maximum, no .data, no torch.no_grad(); a backward of your own multiplies by what comes in"
    expect_gradients(lambda z: cross_entropy(z, targets, **options), [logits], what="cross_entropy", hint=hint)


def test_the_gradient_is_softmax_minus_target():
    """Probabilities 1/8, 2/8, 5/8: the target's is reduced by 1, and each token has its share of the mean."""
    logits = numbers(1, 2, 5).log().expand(2, 3)
    want = torch.tensor([[1 / 16, -3 / 8, 5 / 16], [1 / 16, 1 / 8, -3 / 16]], dtype=torch.float64)
    with expect_unchanged(logits):
        got = cross_entropy_grad(logits, targets_of(1, 2))
    expect_close(got, want, what="cross_entropy_grad([log [1, 2, 5]] * 2, [1, 2])", hint="(softmax - one-hot) / count")


@EACH
def test_the_gradient_by_hand_is_the_slope_of_the_loss(rng, options):
    """Central differences of your own loss, along each logit: off by 1e-8 or so. The ignored token's row is 0."""
    logits, targets = tokens(rng, 5, 4)
    targets[3] = index = options.get("ignore_index", -100)
    with expect_unchanged(logits, targets, what="an argument"):
        got = cross_entropy_grad(logits, targets, **options)
    want = torch.zeros_like(logits)
    for place in range(logits.numel()):
        step = torch.zeros(logits.numel()).double().index_fill(0, torch.tensor(place), 1e-5).view_as(logits)
        ahead, behind = (cross_entropy(logits + sign * step, targets, **options) for sign in (1, -1))
        want.view(-1)[place] = (ahead - behind) / 2e-5
    hint = "(p * (1 + 2 * z_loss * lse) - (1 - e) * one-hot - e / vocab) / count; ignored rows are 0"
    what = f"cross_entropy_grad with {options}"
    expect_close(got, want, what=f"{what}, against the slope of cross_entropy", hint=hint, rtol=1e-6, atol=1e-8)
    expect_equal(
        got[targets == index].abs().max(), numbers(0)[0], what=f"{what} where the target is ignored", hint=hint
    )
    if not options.get("z_loss"):
        expect_close(got.sum(-1), torch.zeros(5).double(), what=f"the sum of each row of {what}", hint=hint)


@EVERY
def test_gradients_survive_huge_logits(dtype):
    """Rows at +-8192 and a row that is wrong by 8192: probabilities of 1/2, 1/2 and 1, 0, at all heights. Tolerance: 4
    roundings of 1, and 3 of an lse of 8192 in float32 or better, which exp(z - lse) takes."""
    logits = torch.tensor([[HUGE, HUGE], [-HUGE, -HUGE], [HUGE, -HUGE]], dtype=dtype)
    want = torch.tensor([[-0.5, 0.5], [0.5, -0.5], [1, -1]], dtype=dtype) / 4
    leaf, targets = logits.clone().requires_grad_(), targets_of(0, 1, 1)
    hint = "a softmax that subtracts each row's maximum"
    inner = torch.promote_types(dtype, torch.float32)
    close = {"rtol": 0.0, "atol": roundings(4, dtype)["atol"] + roundings(3, inner, HUGE)["atol"]}
    got = cross_entropy_grad(logits, targets, total=4)
    expect_close(got, want, what=f"cross_entropy_grad in {dtype}", hint=hint, **close)
    backward(cross_entropy(leaf, targets, total=4), what="the loss")
    expect_close(leaf.grad, want, what=f"autograd's gradient in {dtype}", hint=hint, **close)


@EACH
def test_nothing_to_count_has_zero_gradients(rng, options):
    """Also by autograd: a NaN there would reach every weight of the model."""
    index = options.get("ignore_index", -100)
    leaf, targets = randn(rng, 3, 5).requires_grad_(), targets_of(index, index, index)
    backward(cross_entropy(leaf, targets, **options), what="the loss where all targets are ignored")
    got = cross_entropy_grad(leaf.detach(), targets, **options)
    for name, grad in (("autograd's", leaf.grad), ("cross_entropy_grad's", got)):
        what, hint = f"{name} gradient where all targets are ignored", "divide by at least 1"
        expect_equal((grad + 0.0).abs(), torch.zeros(3, 5).double(), what=what, hint=hint)


def test_the_gradient_is_made_by_hand(rng):
    """No graph: under torch.inference_mode() autograd records nothing, and the formula works as before."""
    logits, targets = tokens(rng, 4, 5)
    want = cross_entropy_grad(logits, targets)
    try:
        with torch.inference_mode():
            got = cross_entropy_grad(logits.clone(), targets)
    except RuntimeError as error:
        expect(False, f"cross_entropy_grad should do without autograd, but needs it: {error}", hint="softmax - one-hot")
    expect_close(got.clone(), want, what="cross_entropy_grad under torch.inference_mode()", hint="softmax - one-hot")
