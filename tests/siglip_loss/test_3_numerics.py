"""Stage 3. Logits of 1e4, every floating dtype, gradients."""

import math

import pytest
import torch

from dojo.testing import (
    FLOATS,
    HALVES,
    called_for,
    expect,
    expect_close,
    expect_equal,
    expect_gradients,
    numbers,
    roundings,
)
from katas.siglip_loss import match_probabilities, siglip_loss, siglip_loss_blocks

from .helpers import NAMES, STABLE, both_losses, features, leaves, number, orthonormal, slopes, softplus

EVERY = pytest.mark.parametrize("dtype", FLOATS, ids=str)


def wide(dtype):
    return torch.promote_types(dtype, torch.float32)


@EVERY
@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_huge_logits_stay_finite(dtype, scale):
    """exp(1e4) overflows, and sigmoid(-1e4) is 0. Captions moved on by one: one pair in each row is wrong by `scale`.
    Tolerance: 4 roundings of 1e4."""
    rows = torch.eye(4, dtype=dtype)
    for name, loss in both_losses(3):
        for moved, of_scale in ((0, softplus(-scale)), (1, softplus(scale))):
            got = loss(rows, rows.roll(moved, 0), scale, 0.0)
            want = of_scale + 3 * math.log(2)  # the other logits are 0
            what = f"{name} of 4 orthogonal pairs, texts moved by {moved}, at scale {scale:g} in {dtype}"
            expect_close(got, number(want, wide(dtype)), what=what, hint=STABLE, **roundings(4, wide(dtype), 1e4))
        for bias in (1e4, -1e4):
            got = loss(rows, rows, 0.0, bias)
            want = softplus(-bias) + 3 * softplus(bias)
            what = f"{name} of 4 pairs at scale 0 and bias {bias:g} in {dtype}"
            expect_close(got, number(want, wide(dtype)), what=what, hint=STABLE, **roundings(8, wide(dtype), 1e4))


@EVERY
def test_probabilities_of_huge_logits(dtype):
    """0 and 1, exactly: exp(1e4) / (1 + exp(1e4)) is inf / inf."""
    rows = torch.eye(3, dtype=dtype)
    for sign in (1.0, -1.0):
        got = match_probabilities(rows, rows, 2e4 * sign, -1e4 * sign)
        want = torch.eye(3, dtype=wide(dtype))
        want = want if sign > 0 else 1 - want
        what = f"the probabilities at scale {2e4 * sign:g} and bias {-1e4 * sign:g} in {dtype}"
        expect_close(got, want, what=what, hint="torch.sigmoid has both limits")


@EVERY
def test_small_probabilities_are_precise(dtype):
    """At bias -10 most pairs have some 1e-5, by which they are ranked. (1 + tanh(l / 2)) / 2 and 1 - sigmoid(-l) round such
    numbers to 1e-7. Tolerance: a logit of 60 has a rounding error of 4e-6 in float32, and so has its exp."""
    one, other = torch.ones(1, 1, dtype=dtype), -torch.ones(1, 1, dtype=dtype)
    for bias in (-5.0, -15.0, -30.0, -55.0):
        got = match_probabilities(one, torch.cat([one, other]), 3.0, bias)
        want = torch.sigmoid(numbers(bias + 3, bias - 3))[None].to(wide(dtype))
        what = f"the probabilities of logits {bias + 3:g} and {bias - 3:g} in {dtype}"
        hint = "torch.sigmoid(l), not the difference of two numbers near 1"
        expect_close(got, want, what=what, hint=hint, rtol=5e-5, atol=0.0)


@EVERY
def test_every_floating_dtype_works(rng, dtype):
    """As precise as float32 at least, also for features in half precision. Tolerance: 16 roundings of the largest loss."""
    images, texts = features(rng, 9, 16, dtype)
    want = siglip_loss(images.double(), texts.double(), 5.0, -3.0).to(wide(dtype))
    hint = "features.to(torch.promote_types(features.dtype, torch.float32)) before anything else, and return that dtype"
    for name, loss in both_losses(4):
        got = loss(images, texts, 5.0, -3.0)
        expect_close(got, want, what=f"{name} of features in {dtype}", hint=hint, **roundings(16, wide(dtype), want))
    got = match_probabilities(images, texts, 5.0, -3.0)
    want = match_probabilities(images.double(), texts.double(), 5.0, -3.0).to(wide(dtype))
    expect_close(got, want, what=f"the probabilities of features in {dtype}", hint=hint, **roundings(16, wide(dtype)))


@EVERY
@pytest.mark.parametrize("other", FLOATS, ids=str)
def test_the_dtype_of_scale_and_bias_has_no_influence(dtype, other):
    """A model in bfloat16 has a scale in bfloat16, one under autocast has it in float32. Both are exact here."""
    rows = torch.eye(3, dtype=dtype)
    scale, bias = torch.tensor(3.0, dtype=other), torch.tensor(-1.25, dtype=other)
    hint = "0-d tensors don't decide the dtype of a product with a matrix"
    for name, loss in both_losses(2):
        got, want = loss(rows, rows, scale, bias), loss(rows, rows, 3.0, -1.25)
        what = f"{name} of {dtype} features with scale and bias in {other}"
        expect_equal(got.dtype, wide(dtype), what=f"the dtype of {what}", hint=hint)
        expect_close(got, want, what=what, hint=hint, **roundings(4, wide(dtype), 4.0))
    got, want = match_probabilities(rows, rows, scale, bias), match_probabilities(rows, rows, 3.0, -1.25)
    what = f"the probabilities of {dtype} features with scale and bias in {other}"
    expect_close(got, want, what=what, hint=hint, **roundings(4, wide(dtype)))


@EVERY
@pytest.mark.parametrize("length", [0.01, 100.0])
def test_lengths_do_not_matter_in_any_dtype(dtype, length):
    """In float16 the square of 300 is infinite and that of 1e-4 is 0. Tolerance: an epsilon beside the length."""
    rows = torch.eye(4, 700).to(dtype) + torch.ones(700, dtype=dtype)
    long, short = (rows.double() * length).to(dtype), (rows.double() / length).to(dtype)
    want = siglip_loss(long.double(), short.double(), 5.0, -3.0).to(wide(dtype))
    hint = "widen before the length is formed, and divide by it"
    for name, loss in both_losses(3):
        got = loss(long, short, 5.0, -3.0)
        what = f"{name} of features {length:g} and {1 / length:g} times as long, in {dtype}"
        expect_close(got, want, what=what, hint=hint, rtol=0.0, atol=3e-5)


def test_the_result_stays_on_the_features_device(rng):
    """Labels that are made on the CPU fail only once the model is elsewhere (here on 'meta')."""
    images, texts = (each.to("meta") for each in features(rng, 3, 4))
    hint = "torch.eye(n, device=logits.device)"
    for name, loss in both_losses(2):
        with_device = loss(images, texts, 2.0, -1.0).device.type
        expect_equal(with_device, "meta", what=f"the device of {name} for features on 'meta'", hint=hint)
    device = match_probabilities(images, texts, 2.0, -1.0).device.type
    expect_equal(device, "meta", what="the device of the probabilities for features on 'meta'", hint=hint)


@pytest.mark.parametrize("n", [1, 5])
def test_scale_and_bias_learn(rng, n):
    """dloss/db is the sum over a row of sigmoid(l) - [match], in the mean of all rows; dloss/ds is the same, weighted by the
    cosines, of which orthogonal pairs have only the matches'. With frozen encoders they still learn."""
    rows, scale, bias = orthonormal(rng, n, 6), 1.5, -2.0
    of_match, of_other = (1 / (1 + math.exp(-logit)) for logit in (scale + bias, bias))
    want = {"logit_scale": of_match - 1, "logit_bias": of_match - 1 + (n - 1) * of_other}
    for name, loss in both_losses(2):
        for only in (("logit_scale", "logit_bias"), ("logit_bias",), ("logit_scale",), NAMES):
            got = slopes(loss, leaves(rows, rows, scale, bias, only=only), what=name)
            for leaf in {*only} & {*want}:
                hint = "use the tensors as they are: no .item(), float() or detach()"
                what = f"d {name} / d {leaf} for {n} orthogonal pairs, where {' and '.join(only)} require a gradient"
                expect_close(got[leaf], number(want[leaf]), what=what, hint=hint)


def test_gradients_are_those_of_the_function(rng):
    """Finite differences in float64, for both encoders, scale and bias."""
    given = (*features(rng, 3, 4), number(3.0), number(-1.0))
    hint = "no detach(), no .data, no torch.no_grad(): normalising is part of the function"
    expect_gradients(siglip_loss, given, what="the loss", hint=hint)


@pytest.mark.parametrize(("n", "block"), [(5, 2), (4, 2), (3, 3), (3, 7), (4, 1)])
def test_blocks_have_the_gradients_of_the_loss(rng, n, block):
    """In sum over all blocks: each adds to all texts, and to its own images. One encoder may be frozen."""
    given = (*features(rng, n, 4), 3.0, -1.0)
    for only in (NAMES, NAMES[:1], NAMES[1:2], NAMES[:2]):
        want = slopes(siglip_loss, leaves(*given, only=only), what="siglip_loss")
        got = slopes(siglip_loss_blocks, leaves(*given, only=only), block, what="siglip_loss_blocks")
        for name in only:
            what = (
                f"d loss / d {name} for {n} pairs in blocks of {block}, where {' and '.join(only)} require a gradient"
            )
            hint = "every block needs its graph, or its share of the gradients, for images and texts"
            expect_close(got[name], want[name], what=what, hint=hint)


def test_encoders_learn_beside_constants(rng):
    """A fixed scale and bias are numbers, and the features have the gradients that they have beside tensors."""
    images, texts = features(rng, 5, 4)
    for name, loss in both_losses(2):
        want = slopes(loss, leaves(images, texts, 3.0, -1.0, only=NAMES[:2]), what=name)
        given = [images.clone().requires_grad_(), texts.clone().requires_grad_()]
        with called_for(f"{name} with numbers for scale and bias, and features that require a gradient"):
            got = slopes(lambda *pair, f=loss: f(*pair[:2], 3.0, -1.0), [*given, number(0.0), number(0.0)], what=name)
        for leaf in NAMES[:2]:
            expect_close(got[leaf], want[leaf], what=f"d {name} / d {leaf} with numbers for scale and bias")


def test_the_gradient_is_that_of_what_the_loss_is_used_for(rng):
    """Halved, it has half the gradients. A loss that sets .grad by itself, or gradients that ignore what comes back, do not.
    Two losses add up."""
    given = (*features(rng, 3, 4), 3.0, -1.0)
    want = slopes(siglip_loss, leaves(*given), what="siglip_loss")
    for name, loss in both_losses(2):
        got = slopes(lambda *a, f=loss: f(*a) / 2 + f(*a) / 4, leaves(*given), what=name)
        for leaf in NAMES:
            hint = "leave .grad to the caller's backward pass, and multiply by the gradient that it brings"
            expect_close(got[leaf], 0.75 * want[leaf], what=f"d (3/4 {name}) / d {leaf}", hint=hint)


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32], ids=str)
def test_gradients_reach_features_of_every_dtype(rng, dtype):
    """Tolerance: 4 roundings of the largest gradient in the features' dtype, which is theirs."""
    images, texts = features(rng, 4, 6, dtype)
    want = slopes(siglip_loss, leaves(images, texts, 3.0, -1.0), what="siglip_loss")
    for name, loss in both_losses(3):
        pair = [images.clone().requires_grad_(), texts.clone().requires_grad_()]
        got = slopes(loss, [*pair, number(3.0), number(-1.0)], what=name)
        for leaf in NAMES[:2]:
            close = roundings(4, dtype, want[leaf])
            expect_close(got[leaf], want[leaf].to(dtype), what=f"d {name} / d {leaf} in {dtype}", **close)


def test_gradients_of_huge_logits_are_finite():
    """A match at -1e4 and another pair at +1e4 pull with the whole weight 1 and no more: here dloss/db is 1 for each other
    pair at 1e4, 0 for each match there. The logarithm of a sigmoid of 0 has the gradient 0 / 0."""
    rows = torch.eye(3, 4)
    for name, loss in both_losses(2):
        for bias, want in ((1e4, 2.0), (-1e4, -1.0)):
            given = [*(rows.clone().requires_grad_() for _ in "xy"), torch.tensor(10.0), torch.tensor(bias)]
            given[3].requires_grad_()
            got = slopes(loss, given, what=name)
            for leaf, grad in got.items():
                expect(grad.isfinite().all(), f"d {name} / d {leaf} at bias {bias:g} should be finite", hint=STABLE)
            expect_close(got["logit_bias"], torch.tensor(want), what=f"d {name} / d bias at bias {bias:g}", hint=STABLE)


def test_a_gradient_turns_a_feature_and_does_not_stretch_it(rng):
    """Lengths do not matter, so a gradient is perpendicular to its feature."""
    for name, loss in both_losses(2):
        given = leaves(*features(rng, 5, 6), 8.0, -2.0, only=NAMES[:2])
        for leaf, grad in slopes(loss, given, what=name).items():
            along = (grad * given[NAMES.index(leaf)]).sum(-1).detach()
            what = f"the gradient of {name} along each row of {leaf}"
            expect_close(along, torch.zeros(5).double(), what=what, hint="normalise inside the graph")


def test_numbers_are_not_rounded(rng):
    """torch.as_tensor(0.1) has the dtype float32, whose 0.1 differs from that of float64 in the ninth digit."""
    rows = torch.eye(3).double()
    for name, loss in both_losses(2):
        got, want = loss(rows, rows, -9876.54321, 0.1), loss(rows, rows, number(-9876.54321), number(0.1))
        hint = "torch.as_tensor(logit_scale, dtype=images.dtype)"
        expect_close(got, want, what=f"{name} in float64 with numbers, beside tensors", hint=hint, rtol=1e-12, atol=0.0)


def test_without_gradients_the_loss_is_the_same(rng):
    """Under torch.no_grad() and torch.inference_mode(), for evaluation."""
    given = leaves(*features(rng, 5, 4), 3.0, -1.0)
    for name, loss in both_losses(2):
        want = loss(*given)
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                got = loss(*given).clone()
            expect_close(got, want, what=f"{name} under torch.{mode.__name__}()")
