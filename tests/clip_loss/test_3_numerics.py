"""Stage 3. Large scales, dtypes, gradients."""

import math

import pytest
import torch

from dojo.testing import FLOATS, backward, expect, expect_close, expect_equal, expect_gradients, randn, roundings
from katas.clip_loss import clip_loss

from .helpers import number, orthonormal


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_large_scale_stays_finite(rng, dtype):
    """exp(1e4) overflows. Matched pairs lose nothing, mixed-up ones the scale itself. Tolerance: rounding of 1e4."""
    features = orthonormal(rng, 4, 4).to(dtype)
    hint = "log_softmax or cross_entropy on the logits, not the logarithm of a softmax"
    got = clip_loss(features, features, 1e4)
    expect_close(got, torch.zeros((), dtype=dtype), what="the loss of matched pairs at scale 1e4", hint=hint)
    got = clip_loss(features, features.roll(1, 0), 1e4)
    want = torch.tensor(1e4, dtype=dtype)
    expect_close(got, want, what="the loss of mixed-up pairs at scale 1e4", hint=hint, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_floating_dtype_works(rng, dtype):
    """The loss keeps the dtype, with the scale as a float32 parameter, too. Tolerance: 10 roundings of logits of 5."""
    images, texts = randn(rng, 6, 8, dtype=dtype), randn(rng, 6, 8, dtype=dtype)
    want = clip_loss(images.double(), texts.double(), 5.0).to(dtype)
    close = roundings(10, dtype, 5.0)
    for scale in (5.0, torch.tensor(5.0)):
        hint = "create nothing in another dtype on the way"
        expect_close(clip_loss(images, texts, scale), want, what=f"the loss in {dtype}", hint=hint, **close)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("length", [0.01, 100.0])
def test_lengths_do_not_matter_in_any_dtype(rng, length, dtype):
    """In float16 a square of 300 is infinite and one of 1e-4 is 0; lengths between 0.01 and 100 are safe either way.
    Tolerance: 10 roundings of logits of 5, and no less than 1e-5, for an epsilon beside the length."""
    images, texts = randn(rng, 6, 8), randn(rng, 6, 8)
    images, texts = (t / t.norm(dim=-1, keepdim=True) for t in (images, texts))
    want = clip_loss(images, texts, 5.0).to(dtype)
    got = clip_loss((length * images).to(dtype), (texts / length).to(dtype), 5.0)
    close = {"rtol": 0.0, "atol": max(1e-5, roundings(10, dtype, 5.0)["atol"])}
    what, hint = f"the loss of features of length {length:g} and {1 / length:g} in {dtype}", "divide by the length"
    expect_close(got, want, what=what, hint=hint, **close)


def test_the_loss_stays_on_the_features_device(rng):
    """Labels that are made on the CPU fail only once the model is elsewhere (here on 'meta'): device=logits.device."""
    images, texts = randn(rng, 3, 4).to("meta"), randn(rng, 3, 4).to("meta")
    device = clip_loss(images, texts, 2.0).device.type
    expect_equal(device, "meta", what="the loss's device for features on 'meta'", hint="device=logits.device")


def test_the_scale_learns(rng):
    """For orthogonal pairs dloss/ds = -(n - 1) / (exp(s) + n - 1): confident and right, the model turns it up."""
    features, scale = orthonormal(rng, 5, 6), number(1.5).requires_grad_()
    loss = clip_loss(features, features, scale)
    hint = "multiply by the tensor as it is: no .item(), float() or detach()"
    backward(loss, what="the loss", hint=hint)
    want = number(-4 / (math.exp(1.5) + 4))
    expect_close(scale.grad, want, what="dloss / dlogit_scale for 5 orthogonal pairs", hint=hint)


def test_gradients_are_those_of_the_function(rng):
    """Finite differences in float64, for both encoders and the scale: nothing on the way may be detached."""
    hint = "no detach(), no .data, no torch.no_grad(): normalising is part of the function"
    expect_gradients(clip_loss, (randn(rng, 3, 4), randn(rng, 3, 4), number(3.0)), what="the loss", hint=hint)


def test_a_gradient_turns_a_feature_and_does_not_stretch_it(rng):
    """Lengths do not matter, so a gradient is perpendicular to its feature. Normalising without a gradient (the norm
    detached) leaves a part along it."""
    images, texts = randn(rng, 5, 6).requires_grad_(), randn(rng, 5, 6).requires_grad_()
    backward(clip_loss(images, texts, 8.0), what="the loss")
    for name, leaf in (("image", images), ("text", texts)):
        expect(leaf.grad is not None, f"{name} features should get a gradient, but get none", hint="detach nothing")
        along = (leaf.grad * leaf).sum(-1).detach()
        hint = "normalise inside the graph"
        expect_close(along, torch.zeros(5).double(), what=f"{name} gradients along their features", hint=hint)
        expect((leaf.grad != 0).any(-1).all(), f"each row of the {name} features should get a gradient", hint=hint)
