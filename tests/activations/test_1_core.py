"""Stage 1. The five activations, and their backward passes from what was kept."""

import math

import pytest
import torch

from dojo.testing import expect, expect_close, expect_own_work, numbers, randn
from katas import activations

from .helpers import KEEP_OUT, NAMES, TANH, TORCH, backward, expect_no_methods, forward, keeps, label, torch_slope
from .probe import FORBIDDEN

EACH = pytest.mark.parametrize("name", NAMES)
LOG3 = math.log(3)  # where sigmoid is 3/4
DEFINITION = {
    "relu": "max(x, 0)",
    "sigmoid": "1 / (1 + e^-x)",
    "softplus": "log(1 + e^x)",
    "silu": "x * sigmoid(x)",
    "gelu": "x * Phi(x), with the normal distribution function Phi(x) = (1 + erf(x / sqrt(2))) / 2",
    TANH: "x (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3)",
}
SLOPE = {
    "relu": "grad where out > 0, else 0",
    "sigmoid": "out is the sigmoid already: the slope is out (1 - out)",
    "softplus": "the slope is sigmoid(x), which is 1 - e^-out",
    "silu": "a product: sigmoid(x), plus x times the slope of the sigmoid",
    "gelu": "a product: Phi(x), plus x times the density e^(-x^2 / 2) / sqrt(2 pi)",
    TANH: "a product: (1 + tanh(u)) / 2, plus x times its slope, (1 - tanh(u)^2) / 2 times du/dx",
}
VALUES = {
    "relu": ((-2, 0), (-0.5, 0), (0.5, 0.5), (3, 3)),
    "sigmoid": ((0, 0.5), (LOG3, 0.75), (-LOG3, 0.25)),
    "softplus": ((0, math.log(2)), (LOG3, math.log(4)), (-LOG3, math.log(4 / 3))),
    "silu": ((LOG3, 0.75 * LOG3), (-LOG3, -0.25 * LOG3), (0, 0)),
    "gelu": ((1, 0.841344746068543), (-1, -0.158655253931457), (-2, -0.045500263896358)),
    TANH: ((1, 0.841191990608277), (-1, -0.158808009391723), (-2, -0.045402305912225)),
}
SLOPES = {  # what was kept, and the slope there
    "relu": ((0, 0), (0.5, 1), (3, 1)),
    "sigmoid": ((0.5, 0.25), (0.75, 0.1875), (0.25, 0.1875)),
    "softplus": ((math.log(2), 0.5), (math.log(4), 0.75), (math.log(4 / 3), 0.25)),
    "silu": ((LOG3, 0.75 + 3 / 16 * LOG3), (-LOG3, 0.25 - 3 / 16 * LOG3)),
    "gelu": ((1, 1.083315470587686), (-1, -0.083315470587686), (-2, -0.085231801078197)),
    TANH: ((1, 1.082964083845783), (-1, -0.082964083845783), (-2, -0.086099256623618)),
}


@EACH
def test_worked_values(name):
    """Numbers that one can work out: the sigmoid of log 3 is 3/4, and GELU at 1 is Phi(1) = 0.8413."""
    for x, want in VALUES[name]:
        what = f"{label(name)} at x={x:.4g}"
        expect_close(forward(name, numbers(x)), numbers(want), what=what, hint=DEFINITION[name])


@EACH
def test_random_values_agree_with_torch(rng, name):
    """Each element by itself, between -6 and 6 or so."""
    x = 2 * randn(rng, 4, 5)
    expect_close(forward(name, x), TORCH[name](x), what=f"{label(name)}, beside torch's", hint=DEFINITION[name])


@pytest.mark.parametrize("name", [each for each in NAMES if each != "sigmoid"])
def test_both_sides_differ_by_x(rng, name):
    """f(x) - f(-x) = x, because x times a gate is open by g on one side and by 1 - g on the other; so does softplus."""
    x = 3 * randn(rng, 7)
    what = f"{label(name)} at x, minus its value at -x,"
    expect_close(forward(name, x) - forward(name, -x), x, what=what, hint=DEFINITION[name])


def test_exact_gelu_is_the_default_and_the_other_one_differs():
    """Weights were trained with one of them: GPT-2's with tanh, BERT's with erf. At 2 they are 1e-4 apart."""
    x = numbers(2, -3)
    with torch.inference_mode():
        got = {option: activations.gelu(x, approximate=option) for option in ("none", "tanh")}
        default = activations.gelu(x)
    want = {"none": numbers(1.954499736103642, -0.004049694095), "tanh": numbers(1.954597694087775, -0.003637392082)}
    hint = "'none' is x Phi(x) with erf, 'tanh' the approximation"
    for option, result in got.items():
        what = f"gelu at 2 and -3 with approximate={option!r}"
        expect_close(result, want[option], what=what, hint=hint, rtol=1e-7, atol=1e-9)
    expect_close(default, want["none"], what="gelu at 2 and -3 by default", hint=hint, rtol=1e-7, atol=1e-9)


@EACH
def test_worked_slopes(name):
    """With a gradient of 2, from what is kept: out, or x."""
    kept = "out" if name in KEEP_OUT else "x"
    for number, want in SLOPES[name]:
        what = f"{label(name, '_backward')} of grad=2 and {kept}={number:.4g}"
        expect_close(backward(name, numbers(2), numbers(number)), numbers(2 * want), what=what, hint=SLOPE[name])


@EACH
def test_random_slopes_agree_with_autograd(rng, name):
    """Of torch's own function, in float64."""
    x, grad = 2 * randn(rng, 4, 5), randn(rng, 4, 5)
    what = f"{label(name, '_backward')}, beside torch's autograd"
    expect_close(backward(name, grad, keeps(name, x)), grad * torch_slope(name, x), what=what, hint=SLOPE[name])


@EACH
def test_slopes_are_those_of_the_forward_pass(rng, name):
    """Central differences of your own forward function, which are off by 1e-9 or so. x is not near 0, where ReLU has none."""
    x = randn(rng, 6)
    x = x + x.sign() / 4
    want = (forward(name, x + 1e-5) - forward(name, x - 1e-5)) / 2e-5
    got, what = backward(name, torch.ones(6).double(), keeps(name, x)), f"{label(name, '_backward')} of ones"
    what += f", against the slope of {label(name)},"
    expect_close(got, want, what=what, hint=SLOPE[name], rtol=1e-6, atol=1e-8)


@EACH
def test_the_gradient_is_a_factor(rng, name):
    """A backward pass is linear in grad, and grad stays its own: not the slope alone, not grad's sign."""
    x, grad = randn(rng, 5), randn(rng, 5)
    kept, what = keeps(name, x), label(name, "_backward")
    one, scaled = backward(name, grad, kept), backward(name, -3 * grad, kept)
    expect_close(scaled, -3 * one, what=f"{what} of -3 grad", hint="multiply the slope by grad")


def test_sigmoid_saturates_and_its_slope_is_at_most_a_quarter(rng):
    """Ten layers of sigmoids multiply a gradient by 1e-6 at best."""
    slopes = backward("sigmoid", torch.ones(201).double(), torch.linspace(0, 1, 201).double())
    largest = slopes.max().item()
    expect(abs(largest - 0.25) < 1e-9, f"the largest slope of sigmoid should be 1/4, but is {largest:.4g}")
    ends = slopes[[0, -1]]
    expect_close(ends, numbers(0, 0), what="the slopes of sigmoid at out=0 and out=1", hint=SLOPE["sigmoid"])


def test_ready_made_activations_are_not_used():
    """Write them yourself: torch.sigmoid, F.silu and their like are the answer. exp, expm1, log1p and erfc are not."""
    forward("relu", numbers(1))
    expect_own_work(activations, FORBIDDEN)
    expect_no_methods(activations, FORBIDDEN)
