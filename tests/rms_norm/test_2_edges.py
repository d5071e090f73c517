"""Stage 2. Any leading dimensions, small and missing eps, zeros, the residual, wrong arguments."""

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, expect_raises, expect_unchanged, numbers, randn
from katas.rms_norm import add_rms_norm, layer_norm, layer_norm_backward, rms_norm, rms_norm_backward

from .helpers import EPS, ones, plain_layer_norm, plain_rms_norm, wrong_calls

SHAPES = [(5,), (4, 6), (6, 6), (2, 3, 4), (2, 4, 4, 3), (3, 1)]
LAST = "mean(-1, keepdim=True): along the last dimension, for each row"


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rows_do_not_see_each_other(rng, shape):
    """Any leading dimensions, also none. At batch == dim a mean along the wrong axis has the right shape."""
    x, weight, bias = 3 * randn(rng, *shape) + 1, randn(rng, shape[-1]), randn(rng, shape[-1])
    for function, arguments in ((rms_norm, (weight, EPS)), (layer_norm, (weight, bias, EPS))):
        name = function.__name__
        with expect_unchanged(x, weight, bias, what="an argument"):
            got = function(x, *arguments)
        expect_equal(list(got.shape), list(shape), what=f"the shape of {name}(x)", hint="the shape of x")
        want = torch.stack([function(row, *arguments) for row in x.reshape(-1, shape[-1])]).reshape(shape)
        expect_close(got, want, what=f"{name} of {list(shape)}, against its rows alone", hint=LAST)
        turned = x.movedim(-1, 0).contiguous().movedim(0, -1)
        expect_close(function(turned, *arguments), want, what=f"{name} of x in another memory layout", hint=LAST)


def test_without_eps_the_scale_of_a_row_does_not_matter(rng):
    """rms_norm(c x) = sign(c) rms_norm(x), and layer_norm(a x + b) = layer_norm(x) for a > 0."""
    x = randn(rng, 5, 6)
    factors = numbers(0.01, 0.5, -1, 3, -200)[:, None]
    got, want = plain_rms_norm(factors * x, 0.0), factors.sign() * plain_rms_norm(x, 0.0)
    expect_close(got, want, what="rms_norm(c * x) with eps=0", hint="nothing is added to the root but eps")
    got, want = plain_layer_norm(factors.abs() * x + 7, 0.0), plain_layer_norm(x, 0.0)
    expect_close(got, want, what="layer_norm(a * x + 7) with eps=0", hint="nothing is added to the root but eps")
    far = plain_rms_norm(x + 5, 0.0)
    expect((far - plain_rms_norm(x, 0.0)).abs().max() > 0.1, "rms_norm(x + 5) should differ from rms_norm(x)")


def test_the_default_eps():
    """1e-6 for rms_norm, 1e-5 for layer_norm: where the mean square is as small as that, the result is 1 / sqrt(2)."""
    pair, want = numbers(1, -1), numbers(1, -1) / 2**0.5
    hint = "the defaults stand in the signatures"
    expect_close(rms_norm(1e-3 * pair, ones(2)), want, what="rms_norm([0.001, -0.001])", hint=hint)
    got = layer_norm(1e-5**0.5 * pair, ones(2), 0 * ones(2))
    expect_close(got, want, what="layer_norm of +-sqrt(1e-5)", hint=hint)


def test_a_row_of_zeros_stays_finite(rng):
    """Padding, or a layer that has died: zeros, and for layer_norm the bias. A constant row has no variance either."""
    x, weight, bias = randn(rng, 3, 4), randn(rng, 4), randn(rng, 4)
    x[1] = 0.0
    hint = "eps is what keeps 0 / 0 away"
    got = rms_norm(x, weight, 1e-6)[1]
    expect_equal(got.abs(), torch.zeros(4).double(), what="rms_norm of a row of zeros", hint=hint)
    for constant in (0.0, 4.0):
        x[1] = constant
        got = layer_norm(x, weight, bias, 1e-5)[1]
        expect_close(got, bias, what=f"layer_norm of a row of {constant}", hint="the bias")


@pytest.mark.parametrize("shape", [(5,), (4, 6), (2, 3, 4)], ids=str)
def test_the_residual_is_added_before_the_norm(rng, shape):
    """A pre-norm block needs both: the norm feeds the next layer, the sum goes on as the residual stream."""
    x, residual, weight = randn(rng, *shape), randn(rng, *shape), randn(rng, shape[-1])
    with expect_unchanged(x, residual, weight, what="an argument"):
        got = add_rms_norm(x, residual, weight, EPS)
    kind, hint = type(got).__name__, "return rms_norm(x + residual), x + residual"
    expect(
        isinstance(got, tuple) and len(got) == 2,
        f"add_rms_norm should return two tensors, but gave a {kind}",
        hint=hint,
    )
    expect_close(got[1], x + residual, what="the new residual, the second result of add_rms_norm", hint=hint)
    expect_close(got[0], rms_norm(x + residual, weight, EPS), what="the first result of add_rms_norm", hint=hint)
    small = [1e-3 * torch.ones(shape).double() / 2] * 2
    got, want = add_rms_norm(*small, weight)[0], rms_norm(sum(small), weight)
    expect_close(got, want, what="add_rms_norm with its default eps", hint="1e-6, as in rms_norm")


def test_wrong_arguments_are_errors():
    """A weight of one number, or of a row for each token, would broadcast, and nothing would seem wrong."""
    x = torch.ones(4, 3)
    for function, inputs, vectors in ((rms_norm, [x], 1), (layer_norm, [x], 2), (add_rms_norm, [x, x], 1)):
        for words, arguments in wrong_calls(function, *inputs, vectors=vectors):
            with expect_raises(ValueError, what=words, hint="compare weight.shape with x.shape[-1:], and check eps"):
                function(*arguments)


def test_wrong_arguments_of_the_backward_passes_are_errors():
    """The same checks as in the forward passes."""
    x = torch.ones(4, 3)
    for function in (rms_norm_backward, layer_norm_backward):
        for words, arguments in wrong_calls(function, x, x):
            with expect_raises(ValueError, what=words, hint="the same checks in both"):
                function(*arguments)
