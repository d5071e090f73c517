"""Stage 3. Every floating dtype, large and small numbers, large means."""

import pytest
import torch

from dojo.testing import FLOATS, expect_close, expect_equal, numbers, randn, roundings
from katas.rms_norm import add_rms_norm, layer_norm, rms_norm

from .helpers import EPS, eighths, ones, plain_layer_norm, plain_rms_norm

EVERY = pytest.mark.parametrize("dtype", FLOATS, ids=str)
WIDE = "square and average in float32 at least (float64 stays float64), and convert back at the end"


def close(dtype):
    """4 roundings of each number itself: the result is rounded, the normed row and the weight may be."""
    return {"rtol": 4 * torch.finfo(dtype).eps, "atol": 4 * torch.finfo(dtype).eps / 16}


@EVERY
@pytest.mark.parametrize("weight_dtype", [torch.float32, None], ids=["float32 weight", "weight like x"])
def test_every_floating_dtype_works(rng, dtype, weight_dtype):
    """The result has the dtype of x, also where the weight is float32, as checkpoints often have it: otherwise the
    residual stream turns into float32 behind the first norm. Inputs are multiples of 1/8, exact in every dtype."""
    x, weight, bias = eighths(rng, 5, 6), eighths(rng, 6), eighths(rng, 6)
    vectors = [v.to(weight_dtype or dtype) for v in (weight, bias)]
    want = {"rms_norm": rms_norm(x, weight, EPS), "layer_norm": layer_norm(x, weight, bias, EPS)}
    half = (x / 2).to(dtype)
    got = {
        "rms_norm": rms_norm(x.to(dtype, copy=True), vectors[0], EPS),
        "layer_norm": layer_norm(x.to(dtype, copy=True), *vectors, EPS),
        "add_rms_norm": add_rms_norm(half, half, vectors[0], EPS)[0],
    }
    want["add_rms_norm"] = want["rms_norm"]
    for name, result in got.items():
        hint = "convert to the dtype of x as the last step"
        expect_equal(result.dtype, dtype, what=f"the dtype of {name} for x in {dtype}", hint=hint)
        tolerance = close(dtype) if name != "layer_norm" else roundings(4, dtype, 16.0)  # the bias may cancel the rest
        expect_close(result.double(), want[name], what=f"{name} in {dtype}, beside float64", hint=WIDE, **tolerance)
    new = add_rms_norm(half, half, vectors[0], EPS)[1]
    expect_equal(new, x.to(dtype), what=f"the new residual in {dtype}", hint="x + residual, in their own dtype")


@EVERY
@pytest.mark.parametrize("scale", [2.0**12, 2.0**-13], ids=["large", "small"])
def test_large_and_small_numbers_are_as_good_as_others(rng, dtype, scale):
    """In float16 the square of 300 is infinite, so the row would come out as 0, and that of 1e-4 is 0. With eps = 0 a
    power of two in front of x changes nothing at all."""
    x = eighths(rng, 4, 6)
    for name, function in (("rms_norm", plain_rms_norm), ("layer_norm", plain_layer_norm)):
        got, want = function((scale * x).to(dtype), 0.0), function(x, 0.0)
        what = f"{name}({scale:g} * x) in {dtype} with eps=0, beside float64"
        expect_close(got.double(), want, what=what, hint=WIDE, **close(dtype))


def test_a_small_eps_does_not_vanish():
    """1e-12 is 0 in float16; so is the square of 1e-4."""
    x = torch.full((4,), 2.0**-13).half()
    expect_close(rms_norm(x, ones(4).half(), 1e-12), ones(4).half(), what="rms_norm of 4 times 2^-13", hint=WIDE)
    zero = torch.zeros(4).half()
    for name, got in (("rms_norm", plain_rms_norm(zero, 1e-12)), ("layer_norm", plain_layer_norm(zero, 1e-12))):
        expect_equal(got.abs(), zero, what=f"{name} of zeros in float16 with eps=1e-12", hint=WIDE)


@EVERY
def test_float64_keeps_its_digits(rng, dtype):
    """Tolerance: 8 roundings of the dtype of x. float32 has 7 digits, and float64 inputs are not narrowed to it."""
    x = eighths(rng, 3, 5).to(dtype)
    exact = x.double() / x.double().square().mean(-1, keepdim=True).sqrt()
    expect_close(
        plain_rms_norm(x, 0.0).double(), exact, what=f"rms_norm in {dtype}", hint=WIDE, **roundings(8, dtype, 3.0)
    )
    centred = x.double() - x.double().mean(-1, keepdim=True)
    exact = centred / centred.square().mean(-1, keepdim=True).sqrt()
    got = plain_layer_norm(x, 0.0).double()
    expect_close(got, exact, what=f"layer_norm in {dtype}", hint=WIDE, **roundings(8, dtype, 3.0))


def test_a_large_mean_does_not_hide_the_variance(rng):
    """16384 and deviations of a few units: mean(x^2) - mean(x)^2 is a difference of numbers around 2.7e8, between which
    float32 has steps of 32. The deviations themselves are exact. Tolerance: 4 roundings of 16384 against 5, in case a
    mean is not."""
    offsets = numbers(-7, -3, 3, 7, -1, 1)[torch.randperm(6, generator=rng)]
    want = offsets / offsets.square().mean().sqrt()
    got = plain_layer_norm((16384 + offsets).float(), 0.0).double()
    hint = "subtract the mean first, then square: the variance is mean((x - mean)^2)"
    atol = roundings(4, torch.float32, 16384 / 5)["atol"]
    expect_close(got, want, what="layer_norm of a row around 16384 in float32", hint=hint, rtol=0.0, atol=atol)
    x = (1e4 + randn(rng, 3, 64)).float()
    got, want = plain_layer_norm(x, 0.0).double(), plain_layer_norm(x.double(), 0.0)
    what = "layer_norm of rows with mean 1e4 and deviation 1 in float32, beside float64"
    expect_close(got, want, what=what, hint=hint, rtol=0.0, atol=roundings(8, torch.float32, 1e4)["atol"])
