"""Stage 3. Every floating dtype, gradients."""

import pytest
import torch

from dojo.testing import (
    FLOATS,
    HALVES,
    backward,
    expect_close,
    expect_equal,
    expect_gradients,
    expect_graph,
    randint,
    randn,
    roundings,
)
from dojo.testing.modules import fill
from katas.vit_patches import patchify, resize_positions, unpatchify

from .helpers import embedding, grid_of, of_grid

EVERY = pytest.mark.parametrize("dtype", FLOATS, ids=str)
WIDEN = "convert to torch.promote_types(dtype, torch.float32), interpolate, convert back"
JOIN = "the parameters themselves take part: no .data, no detach(), no torch.no_grad()"


@EVERY
def test_pixels_are_moved_and_not_computed(rng, dtype):
    """The largest and the smallest number and infinity arrive as they were, in the dtype of the pictures. A convolution
    with a kernel of zeros and ones would make NaN of infinity."""
    info, images = torch.finfo(dtype), randn(rng, 2, 3, 4, 6, dtype=dtype)
    images[0, 0, 0, :4] = torch.tensor([info.max, info.min, info.tiny, float("inf")], dtype=dtype)
    patches = patchify(images, 2)
    expect_equal(patches.dtype, dtype, what=f"the dtype of the patches of {dtype}")
    want = torch.tensor([info.max, info.min, info.tiny, float("inf")], dtype=dtype)
    expect_equal(patches[0, :2, :2].flatten(), want, what=f"large and small pixels as {dtype}", hint="move the numbers")
    got = unpatchify(patches, 2, 4, 6)
    expect_equal(got, images, what=f"pictures of {dtype} after patchify and unpatchify", hint="move the numbers")


@EVERY
def test_the_embedding_in_every_dtype(rng, dtype):
    """Whole numbers that are exact in every dtype, up to 24 in all."""
    layer, images = embedding(rng, (4, 4), 2, 3, 5), randint(rng, -1, 2, 3, 3, 4, 4).double()
    for parameter in layer.parameters():
        fill(parameter, randint(rng, -1, 2, *parameter.shape))
    want = layer(images).detach().to(dtype)
    got = layer.to(dtype)(images.to(dtype))
    expect_equal(got.dtype, dtype, what=f"the dtype of the tokens of an embedding in {dtype}")
    expect_equal(got, want, what=f"the tokens of an embedding in {dtype}, beside float64")


@EVERY
def test_another_resolution_in_every_dtype(rng, dtype):
    """Tolerance: 4 roundings of the largest number."""
    layer, images = embedding(rng, (4, 4), 2, 3, 5).to(dtype), randint(rng, -1, 2, 2, 3, 8, 6).to(dtype)
    got = layer(images)
    want = layer.double()(images.double())
    close = roundings(4, dtype, want.abs().max() + 10)
    expect_equal(got.dtype, dtype, what=f"the dtype of the tokens at another resolution in {dtype}", hint=WIDEN)
    expect_close(got.double(), want, what=f"the tokens at another resolution in {dtype}", hint=WIDEN, **close)


@EVERY
def test_positions_keep_their_dtype(rng, dtype):
    """Tolerance: 4 roundings of the largest number."""
    positions = randn(rng, 1, 7, 4, dtype=dtype)
    got, want = resize_positions(positions, (2, 3), (5, 4)), resize_positions(positions.double(), (2, 3), (5, 4))
    expect_equal(got.dtype, dtype, what=f"the dtype of resized positions of {dtype}", hint=WIDEN)
    close = roundings(4, dtype, want)
    expect_close(got.double(), want, what=f"resized positions of {dtype}, beside float64", hint=WIDEN, **close)
    same = resize_positions(positions, (2, 3), (2, 3))
    expect_equal(same, positions, what=f"positions of {dtype} of the same grid")


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_halves_are_resized_in_float32(rng, dtype):
    """Positions between 80 and 112, where the dtype's numbers are 64 eps apart: rounded once, at the end, a result is off
    by half of that. In half precision sums are rounded on the way, and every third result is off by more."""
    positions = (96 + 16 * (2 * torch.rand(1, 37, 8, generator=rng) - 1)).to(dtype)
    want = resize_positions(positions.double(), (6, 6), (11, 13))
    got, apart = resize_positions(positions, (6, 6), (11, 13)), 64 * torch.finfo(dtype).eps
    what = f"resized positions of {dtype}, rounded once"
    expect_close(got.double(), want, what=what, hint=WIDEN, rtol=0.0, atol=0.6 * apart)


def test_float64_keeps_its_digits(rng):
    """Rows that are alike in float32 and differ in float64. Tolerance: 8 roundings of 1."""
    grid, cls = 1 + 1e-9 * torch.arange(4.0).double()[:, None, None], torch.ones(1).double()
    got = resize_positions(of_grid(cls, grid), (4, 1), (2, 1))
    inner = (19 * 1 + 16 * 0 - 3 * 2) / 32  # of 0, 1, 2, 3, whose weights are 16, 19 and -3 of 32
    want = of_grid(cls, 1 + 1e-9 * torch.tensor([inner, 3 - inner]).double()[:, None, None])
    expect_close(got, want, what="positions 1 + 1e-9 * [0, 1, 2, 3], halved", hint=WIDEN, rtol=0.0, atol=2e-15)


def test_gradients_of_patches_and_pictures(rng):
    """Each pixel gets what its place in the patches gets."""
    images, weights = randn(rng, 2, 3, 4, 6).requires_grad_(), randn(rng, 2, 6, 12)
    backward((patchify(images, 2) * weights).sum(), what="the patches")
    want = unpatchify(weights, 2, 4, 6)
    expect_close(images.grad, want, what="the gradient of the pictures, against unpatchify of that of the patches")
    patches = weights.clone().requires_grad_()
    backward((unpatchify(patches, 2, 4, 6) * images.detach()).sum(), what="the pictures")
    want = patchify(images.detach(), 2)
    expect_close(patches.grad, want, what="the gradient of the patches, against patchify of that of the pictures")


@pytest.mark.parametrize("new", [(3, 4), (2, 2), (2, 3)], ids=str)
def test_gradients_of_resized_positions(rng, new):
    """Fine-tuning at another resolution trains the positions."""
    positions = randn(rng, 1, 7, 2)
    what = f"positions from (2, 3) to {new}"
    expect_graph(resize_positions(positions.clone().requires_grad_(), (2, 3), new), what=what)
    expect_gradients(lambda given: resize_positions(given, (2, 3), new), [positions], what=what)


@pytest.mark.parametrize("size", [(4, 6), (6, 4)], ids=str)
def test_gradients_of_the_embedding(rng, size):
    """A class token gets the sum over the pictures, and so do all positions where the grid is that of image_size."""
    layer, images = embedding(rng, (4, 6), 2, 3, 5), randn(rng, 3, 3, *size).requires_grad_()
    weights = randn(rng, 3, 7, 5)
    backward((layer(images) * weights).sum(), what="the tokens")
    for name, parameter in layer.named_parameters():
        expect_equal(parameter.grad is None, False, what=f"that {name} has no gradient", hint=JOIN)
    want = weights.sum(0)
    what = f"with pictures of {size} in an embedding for (4, 6)"
    expect_close(layer.cls_token.grad, want[None, :1], what=f"the gradient of the class token {what}", hint=JOIN)
    got = layer.projection.bias.grad
    expect_close(got, want[1:].sum(0), what=f"the gradient of the projection's bias {what}", hint=JOIN)
    got = layer.projection.weight.grad.flatten(1)
    patches = patchify(images.detach(), 2)
    flat = torch.einsum("bnd,bnv->dv", weights[:, 1:], patches)
    expect_close(got, flat, what=f"the gradient of the projection's weight {what}", hint=JOIN)
    flat = unpatchify(weights[:, 1:] @ layer.projection.weight.detach().flatten(1), 2, *size)
    expect_close(images.grad, flat, what=f"the gradient of the pictures {what}", hint=JOIN)
    leaf = layer.positions.detach().clone().requires_grad_()
    backward((resize_positions(leaf, (2, 3), (size[0] // 2, size[1] // 2)) * want).sum(), what="the positions")
    expect_close(layer.positions.grad, leaf.grad, what=f"the gradient of the positions {what}", hint=JOIN)


def test_a_step_of_training_moves_every_parameter(rng):
    """Each token's position is its own: gradients of other tokens do not reach it."""
    layer = embedding(rng, (4, 4), 2, 3, 5)
    backward(grid_of(layer(randn(rng, 2, 3, 4, 4)), 2, 2)[:, 1, 0].sum(), what="the token of row 1, column 0")
    want = torch.zeros(1, 5, 5).double()
    want[0, 3] = 2
    expect_close(layer.positions.grad, want, what="the gradient of the positions, of that token", hint="row by row")
