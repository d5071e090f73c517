"""Stage 4. No loop over elements, and no large tensors."""

import pytest
import torch

from dojo.testing import expect, expect_flat_operators, measure, randn
from katas import activations

from .helpers import NAMES, backward, forward, keeps, label, split, swiglu, swiglu_backward

EACH = pytest.mark.parametrize("name", NAMES)
SIZES = [(3, 4), (12, 4), (12, 40)]
LOOP = "torch works on all elements at once; torch.where chooses between two formulas"


def floats(rng, *shapes):
    """float32 numbers."""
    return [randn(rng, *shape, dtype=torch.float32) for shape in shapes]


@EACH
def test_no_loop_over_elements(rng, name):
    """An activation is called on 1e8 elements, at every layer."""
    what = f"{label(name)} of [rows, columns]"
    expect_flat_operators(lambda x: forward(name, x), lambda size: floats(rng, size), SIZES, what=what, hint=LOOP)

    def given(size):
        grad, x = floats(rng, size, size)
        return grad, keeps(name, x)

    what = f"{label(name, '_backward')} of [rows, columns]"
    expect_flat_operators(lambda grad, kept: backward(name, grad, kept), given, SIZES, what=what, hint=LOOP)


def test_no_loop_in_swiglu(rng):
    """The same for the product and its two gradients."""
    for function, count in ((swiglu, 2), (swiglu_backward, 3)):
        what = f"{function.__name__} of [rows, columns]"
        expect_flat_operators(function, lambda size, n=count: floats(rng, *[size] * n), SIZES, what=what, hint=LOOP)


@EACH
def test_no_large_tensors(rng, name):
    """A diagonal Jacobian has n * n elements, of which n are not 0. Two branches side by side have 2 n."""
    grad, x = floats(rng, (64,), (64,))
    function, options = split(name)
    calls = {function: (x,), function + "_backward": (grad, keeps(name, x))}
    for called, given in calls.items():
        with measure() as spent:
            getattr(activations, called)(*given, **options)
        sentence = f"{called} of 64 elements should make no tensor of more than 128, but made one of {spent.largest}"
        expect(spent.largest <= 128, sentence, hint="the Jacobian of an activation is diagonal: multiply elementwise")


def test_no_large_tensors_in_swiglu(rng):
    """The same for the product and its two gradients."""
    given = floats(rng, (64,), (64,), (64,))
    for called, count in (("swiglu", 2), ("swiglu_backward", 3)):
        with measure() as spent:
            getattr(activations, called)(*given[:count])
        sentence = f"{called} of 64 elements should make no tensor of more than 128, but made one of {spent.largest}"
        expect(spent.largest <= 128, sentence, hint="multiply elementwise")
