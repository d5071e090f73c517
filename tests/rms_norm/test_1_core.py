"""Stage 1. Both forward passes."""

import pytest
import torch

from dojo.testing import expect_close, expect_own_work, numbers, randn
from katas import rms_norm as kata
from katas.rms_norm import layer_norm, rms_norm

from .helpers import EPS, ones, plain_layer_norm, plain_rms_norm
from .probe import FORBIDDEN


def test_rms_norm_of_a_worked_example():
    """[3, -1, 5, 1]: the mean square is 36 / 4 = 9, the root 3."""
    got = rms_norm(numbers(3, -1, 5, 1), numbers(1, 2, 3, 4), 0.0)
    hint = "divide by the root of the mean of the squares, then times the weight; no mean is taken out"
    what = "rms_norm([3, -1, 5, 1], weight=[1, 2, 3, 4], eps=0)"
    expect_close(got, numbers(1, -2 / 3, 5, 4 / 3), what=what, hint=hint)


def test_the_norms_are_your_own():
    """torch has them ready-made; the question is what happens inside."""
    rms_norm(ones(2), ones(2))
    expect_own_work(kata, FORBIDDEN)


def test_layer_norm_of_a_worked_example():
    """[3, -1, 7, 3]: the mean is 3, the deviations 0, -4, 4, 0, their mean square 8, and with eps = 8 the root is 4."""
    got = layer_norm(numbers(3, -1, 7, 3), numbers(1, 2, 3, 4), numbers(10, 20, 30, 40), 8.0)
    hint = "(x - mean) / sqrt(var + eps) * weight + bias, where var is divided by d, not by d - 1"
    what = "layer_norm([3, -1, 7, 3], weight=[1, 2, 3, 4], bias=[10, 20, 30, 40], eps=8)"
    expect_close(got, numbers(10, 18, 33, 40), what=what, hint=hint)


@pytest.mark.parametrize("size", [0.25, 1.0, 3.0])
def test_eps_stands_inside_the_root(size):
    """[c, -c, c, -c] has mean 0 and mean square c^2: with eps = c^2 the result is 1 / sqrt(2), whatever c is. Added to
    the root, eps would give 1 / (1 + c)."""
    x, want = size * numbers(1, -1, 1, -1), numbers(1, -1, 1, -1) / 2**0.5
    hint = "x / sqrt(mean + eps): eps is added to the mean square before the root"
    what = f"[{size}, -{size}, {size}, -{size}] with eps={size**2}"
    expect_close(plain_rms_norm(x, size**2), want, what=f"rms_norm of {what}", hint=hint)
    expect_close(plain_layer_norm(x, size**2), want, what=f"layer_norm of {what}", hint=hint)


def test_the_mean_square_of_the_result(rng):
    """m / (m + eps), for a mean square (or variance) of m; layer_norm's result also has mean 0."""
    x = 2 * randn(rng, 5, 7) + 1
    for name, got, m in (
        ("rms_norm", plain_rms_norm(x, EPS), x.square().mean(-1)),
        ("layer_norm", plain_layer_norm(x, EPS), x.var(-1, correction=0)),
    ):
        what, hint = f"the mean square of each row of {name}(x) with eps={EPS}", "one mean for each row: dim=-1"
        expect_close(got.square().mean(-1), m / (m + EPS), what=what, hint=hint)
    what, hint = "the mean of each row of layer_norm(x)", "subtract the row's mean"
    expect_close(plain_layer_norm(x, EPS).mean(-1), torch.zeros(5).double(), what=what, hint=hint)


def test_the_weight_multiplies_and_the_bias_is_added(rng):
    """As they are, one number for each column."""
    x, weight, bias = randn(rng, 4, 6), randn(rng, 6), randn(rng, 6)
    hint = "normed * weight + bias: not 1 + weight, and both behind the division"
    got = rms_norm(x, weight, EPS)
    expect_close(got, plain_rms_norm(x, EPS) * weight, what="rms_norm(x, weight)", hint=hint)
    got = layer_norm(x, weight, bias, EPS)
    expect_close(got, plain_layer_norm(x, EPS) * weight + bias, what="layer_norm(x, weight, bias)", hint=hint)
