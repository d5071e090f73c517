"""Stage 3. Tails, huge and infinite numbers, every dtype."""

import math

import pytest
import torch
from torch.nn import functional as F

from dojo.testing import FLOATS, HALVES, expect, expect_close, expect_equal, numbers, randn

from .helpers import (
    KEEP_OUT,
    NAMES,
    TANH,
    TORCH,
    backward,
    expect_rounded_once,
    forward,
    label,
    some,
    swiglu,
    swiglu_backward,
    torch_slope,
)

INF = math.inf
EACH = pytest.mark.parametrize("name", NAMES)
EVERY = pytest.mark.parametrize("dtype", FLOATS, ids=str)
WIDE = [torch.bfloat16, torch.float32, torch.float64]  # whose range reaches 1e-30
WIDEN = "convert to torch.promote_types(dtype, torch.float32) first, and back as the last step"
LIMIT = "inf * 0 is NaN: clamp x where the other factor is 0 anyway"
LEFT = {  # x, the value there, the slope there; from 60 digits
    "sigmoid": (
        (-12, 6.1441746022147178e-6, 0),
        (-30, 9.357622968839299e-14, 0),
        (-60, 8.7565107626965203e-27, 0),
        (-68, 2.937482111710803e-30, 0),
    ),
    "softplus": ((-12, 6.1441934777328054e-6, 0), (-30, 9.3576229688397368e-14, 0), (-60, 8.7565107626965203e-27, 0)),
    "silu": (
        (-12, -7.3730095226576614e-5, -6.7585467613783386e-5),
        (-30, -2.8072868906517897e-12, -2.713710660963134e-12),
        (-60, -5.2539064576179122e-25, -5.166341349990947e-25),
        (-68, -1.997487835963346e-28, -1.968113014846238e-28),
    ),
    "gelu": (
        (-5.5, -1.0444259356238246e-7, -5.7334723987399248e-7),
        (-7.5, -2.3931687546831722e-13, -1.7938314830426484e-12),
        (-10, -7.6198530241605261e-23, -7.6184000964648141e-22),
        (-11.25, -1.302705358389722e-28, -1.4653673775066418e-27),
    ),
    TANH: (
        (-5.5, -5.927640263880262e-9, -4.6765528108074153e-8),
        (-7.5, -4.0162682175141396e-18, -5.4233923005215781e-17),
        (-8.5, -1.0174447308598297e-24, -1.7239866867738059e-23),
        (-9, -1.3364595947348726e-28, -2.5157352850674251e-27),
    ),
}
TAIL = {
    "sigmoid": "1 / (1 + e^-x) keeps its digits; 1 - 1 / (1 + e^x) and (1 + tanh(x / 2)) / 2 do not",
    "softplus": "log1p(e^x): 1 + e^x forgets an e^x below the dtype's eps",
    "silu": "x / (1 + e^-x) keeps its digits",
    "gelu": "1 + erf(z) has no digits left next to erf = -1, and erfc(-z) is the same number",
    TANH: "(1 + tanh(u)) / 2 has no digits left next to tanh = -1, and sigmoid(2 u) is the same number",
}


def close(dtype):
    """What the docstring grants in the tails; two roundings more in half precision, which is 0.6 units and a half."""
    rtol = {torch.float64: 1e-10, torch.float32: 1e-4}.get(dtype, torch.finfo(dtype).eps)
    return {"rtol": rtol, "atol": 0.0}


@pytest.mark.parametrize("dtype", WIDE, ids=str)
@pytest.mark.parametrize("name", LEFT)
def test_the_left_tail_keeps_its_digits(name, dtype):
    """e^-30 is 1e-13, and bfloat16 can hold it to 8 bits: a number that is small is not 0. All x are exact in every dtype."""
    for x, value, _ in LEFT[name]:
        want, what = numbers(value, dtype=dtype), f"{label(name)} at x={x} in {dtype}"
        expect_close(forward(name, numbers(x, dtype=dtype)), want, what=what, hint=TAIL[name], **close(dtype))


@pytest.mark.parametrize("dtype", WIDE, ids=str)
@pytest.mark.parametrize("name", ["silu", "gelu", TANH])
def test_slopes_in_the_left_tail_keep_their_digits(name, dtype):
    """They are as small as the values, and negative: 1 + erf is off by some percent there, and then all of it."""
    for x, _, slope in LEFT[name]:
        want, what = numbers(slope, dtype=dtype), f"{label(name, '_backward')} of grad=1 at x={x} in {dtype}"
        got = backward(name, numbers(1, dtype=dtype), numbers(x, dtype=dtype))
        expect_close(got, want, what=what, hint=TAIL[name], **close(dtype))


@pytest.mark.parametrize("dtype", WIDE, ids=str)
@pytest.mark.parametrize("name", ["sigmoid", "softplus"])
def test_small_results_have_slopes_as_small(name, dtype):
    """On the left both results are e^x, nearly, and so are both slopes. 1 - e^-out would be 0."""
    out = numbers(2**-30, 2**-60, 2**-90, dtype=dtype)
    hint = "out (1 - out)" if name == "sigmoid" else "-expm1(-out): 1 - e^-out forgets a small out"
    what = f"{name}_backward of ones where out is 2^-30, 2^-60 and 2^-90 in {dtype}"
    tolerance = {"rtol": 2e-9 if dtype == torch.float64 else close(dtype)["rtol"], "atol": 0.0}
    expect_close(backward(name, torch.ones_like(out), out), out, what=what, hint=hint, **tolerance)


def test_softplus_keeps_its_digits_on_the_right():
    """softplus(x) - x = log1p(e^-x), which is 1e-9 at 20.5. A threshold above which the result is x leaves it out, which
    float64 can see."""
    x = numbers(20.5, 25)
    want, hint = numbers(1.2501528655e-9, 1.388794386e-11), "max(x, 0) + log1p(e^-|x|), for all x"
    got = forward("softplus", x) - x
    expect_close(got, want, what="softplus(x) - x at x=20.5 and 25 in float64", hint=hint, rtol=0.0, atol=2e-14)


@EVERY
@EACH
def test_huge_numbers(name, dtype):
    """e^x overflows at 12 in float16, at 89 in float32 and at 710 in float64; x^3 at 1e13 in float32. What comes out is
    a limit all the same: x or 0, a slope of 1 or 0."""
    largest = torch.finfo(dtype).max
    sizes = [100.0, 1024.0, largest / 2, largest] if dtype in WIDE else [32.0, 1024.0, largest]
    ones = torch.ones(len(sizes), dtype=dtype)
    x = numbers(*sizes, dtype=dtype)
    right, left = (ones, 0 * ones) if name == "sigmoid" else (x, 0 * ones)
    hint = "write it so that e^y is taken of y <= 0 alone, or that an overflow ends as 1 / inf"
    for sign, values in ((1, right), (-1, left)):
        what = f"{label(name)} at {[sign * size for size in sizes]} in {dtype}"
        expect_close(forward(name, sign * x), values, what=what, hint=hint, rtol=0.0, atol=1e-30)
        slope = ones if sign > 0 and name != "sigmoid" else 0 * ones
        got = backward(name, 3 * ones, values if name in KEEP_OUT else sign * x)
        what = f"{label(name, '_backward')} of grad=3 for x={[sign * size for size in sizes]} in {dtype}"
        expect_close(got, 3 * slope, what=what, hint=hint, rtol=0.0, atol=1e-30)


@EVERY
@EACH
def test_infinite_numbers(name, dtype):
    """Values and slopes are limits: -inf * 0 would be NaN, which one step later is in every weight."""
    x, grad = numbers(INF, -INF, dtype=dtype), numbers(3, 3, dtype=dtype)
    values = numbers(1, 0, dtype=dtype) if name == "sigmoid" else numbers(INF, 0, dtype=dtype)
    got = forward(name, x)
    expect_close(got.abs(), values, what=f"{label(name)} at inf and -inf in {dtype}", hint=LIMIT)
    slopes = numbers(0 if name == "sigmoid" else 3, 0, dtype=dtype)
    got = backward(name, grad, values if name in KEEP_OUT else x).abs()
    what = f"{label(name, '_backward')} of grad=3 for x=inf and x=-inf in {dtype}"
    expect_close(got, slopes, what=what, hint=LIMIT)


@EVERY
@EACH
def test_nan_stays_nan(name, dtype):
    """A comparison with NaN is False, so a choice between two constants would hide the element that broke."""
    got = forward(name, numbers(1, math.nan, dtype=dtype)).isnan().tolist()
    expect_equal(
        got, [False, True], what=f"whether {label(name)} of 1 and NaN is NaN in {dtype}", hint="x.clamp keeps it"
    )


@EVERY
@EACH
def test_results_have_the_dtype_of_the_arguments(rng, name, dtype):
    """float32 that leaks out of a half-precision layer doubles the memory of all that comes behind. A number, too."""
    for shape in ((4,), ()):
        x = some(rng, *shape).to(dtype)
        got = forward(name, x), backward(name, x, TORCH[name](x.double()).to(dtype) if name in KEEP_OUT else x)
        for suffix, result in zip(("", "_backward"), got, strict=True):
            what = f"the dtype of {label(name, suffix)} of shape {list(shape)} in {dtype}"
            expect_equal(result.dtype, dtype, what=what, hint=WIDEN)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@EACH
def test_half_precision_is_rounded_once(rng, name, dtype):
    """Every eighth up to 8, beside float64: half a unit in the last place is the rounding at the end. Each step in half
    precision adds another one. Where torch's own GELU has no digits any more, it is no measure."""
    x = torch.arange(-32 if "gelu" in name else -80, 65).double() / 8
    expect_rounded_once(forward(name, x.to(dtype)), TORCH[name](x), f"{label(name)} in {dtype}", WIDEN)
    # A kept result was rounded itself: the slope is that of the x it stands for.
    out = TORCH[name](x[:112]).to(dtype).double()
    x = {"relu": out, "sigmoid": torch.logit(out), "softplus": out.expm1().log()}.get(name, x)
    slope = torch_slope(name, x)
    clear = (slope.abs() > 0.05) | (x < -3)  # of the place where it crosses zero
    grad = randn(rng, len(x)).to(dtype)
    got = backward(name, grad, out.to(dtype) if name in KEEP_OUT else x.to(dtype))
    what = f"{label(name, '_backward')} in {dtype}"
    expect_rounded_once(got[clear], (grad.double() * slope)[clear], what, WIDEN)


@EACH
def test_float64_keeps_its_digits(rng, name):
    """float32 has 7 of them. Tolerance: 1e-13, where values and slopes are around 1."""
    x = 2 * randn(rng, 40)
    got = forward(name, x) - TORCH[name](x)
    expect(got.abs().max() < 1e-13, f"{label(name)} in float64 should agree with torch's to 13 digits", hint=WIDEN)
    got = backward(name, torch.ones_like(x), TORCH[name](x) if name in KEEP_OUT else x) - torch_slope(name, x)
    sentence = f"{label(name, '_backward')} in float64 should agree with torch's autograd to 13 digits"
    expect(got.abs().max() < 1e-13, sentence, hint=WIDEN)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_swiglu_is_rounded_once(rng, dtype):
    """silu(gate), rounded and then multiplied by up, is off by another half unit; so are both gradients."""
    gate = torch.arange(-80, 65).double() / 8
    grad, up = (randn(rng, 145).to(dtype).double() for _ in range(2))
    leaves = [each.clone().requires_grad_() for each in (gate, up)]
    want = F.silu(leaves[0]) * leaves[1]
    slopes = torch.autograd.grad(want, leaves, grad)
    got = swiglu(gate.to(dtype), up.to(dtype)), *swiglu_backward(*(each.to(dtype) for each in (grad, gate, up)))
    clear = (torch_slope("silu", gate).abs() > 0.05) | (gate < -3)  # of the place where the slope crosses zero
    wanted = (want.detach(), *slopes)
    for name, result, right in zip(("swiglu", "grad_gate", "grad_up"), got, wanted, strict=True):
        expect_equal(result.dtype, dtype, what=f"the dtype of {name} in {dtype}", hint=WIDEN)
        expect_rounded_once(result[clear], right[clear], f"{name} in {dtype}", WIDEN)


def test_small_and_large_factors_of_swiglu_in_float16():
    """silu(-20) is -4e-8, less than the smallest float16, but 2^15 of it are -1.35e-3. 2048 * 2048 is infinite in
    float16, but with a slope of -6.76e-5 it is -283."""
    half = torch.float16
    got = swiglu(numbers(-20, dtype=half), numbers(32768, dtype=half))
    close = {"rtol": torch.finfo(half).eps, "atol": 0.0}
    want = numbers(-1.3507866e-3, dtype=half)
    expect_close(got, want, what="swiglu of gate=-20 and up=32768 in float16", hint=WIDEN, **close)
    got = swiglu_backward(*(numbers(value, dtype=half) for value in (2048, -12, 2048)))
    want = numbers(-283.4742, dtype=half)
    expect_close(got[0], want, what="grad_gate of grad=2048, gate=-12, up=2048 in float16", hint=WIDEN, **close)
    got = swiglu_backward(*(numbers(value, dtype=half) for value in (32768, -20, 1)))
    want = numbers(-1.3507866e-3, dtype=half)
    expect_close(got[1], want, what="grad_up of grad=32768, gate=-20 in float16", hint=WIDEN, **close)


@EVERY
def test_swiglu_of_huge_gates(dtype):
    """A gate that is closed gives 0, one that is open gives gate * up, however large it is."""
    large = torch.finfo(dtype).max / 4
    gate, up, grad = (numbers(*each, dtype=dtype) for each in ((large, -large), (2, 2), (0.5, 0.5)))
    got = swiglu(gate, up), *swiglu_backward(grad, gate, up)
    for name, result, want in zip(("swiglu", "grad_gate", "grad_up"), got, (2 * large, 1, large / 2), strict=True):
        what = f"{name} at gates of {large:.3g} and -{large:.3g} with up=2 and grad=0.5 in {dtype}"
        expect_close(result.abs(), numbers(want, 0, dtype=dtype), what=what, hint=LIMIT)


@pytest.mark.parametrize("dtype", WIDE, ids=str)
def test_the_left_tail_of_swiglu(dtype):
    """Its gate's digits are those of SiLU."""
    for x, value, slope in LEFT["silu"]:
        gate, up, grad = (numbers(each, dtype=dtype) for each in (x, 2, 4))
        got = swiglu(gate, up), *swiglu_backward(grad, gate, up)
        for name, result, want in zip(
            ("swiglu", "grad_gate", "grad_up"), got, (2 * value, 8 * slope, 4 * value), strict=True
        ):
            what = f"{name} at gate={x} with up=2 and grad=4 in {dtype}"
            expect_close(result, numbers(want, dtype=dtype), what=what, hint=TAIL["silu"], **close(dtype))
