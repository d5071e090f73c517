"""Stage 2. Zeros, any shape and layout, SwiGLU, wrong arguments."""

import math

import pytest
import torch
from torch.nn import functional as F

from dojo.testing import expect, expect_close, expect_equal, expect_raises, expect_unchanged, numbers, randn
from katas import activations

from .helpers import NAMES, TORCH, backward, forward, keeps, label, some, split, swiglu, swiglu_backward, torch_slope
from .probe import WRONG_OPTIONS, WRONG_SHAPES

EACH = pytest.mark.parametrize("name", NAMES)
LOG3 = math.log(3)
GATED = "silu(gate) * up: the first argument goes through SiLU, the second does not"
BOTH = "a product: grad_gate = grad * up * silu'(gate), grad_up = grad * silu(gate)"


@EACH
def test_zero(name):
    """Elements that are 0 are common: after a ReLU, in padding. gelu(x) / x is no way to the gate there."""
    want = {"sigmoid": 0.5, "softplus": math.log(2)}.get(name, 0.0)
    expect_close(forward(name, numbers(0, -0.0)).abs(), numbers(want, want), what=f"{label(name)} at 0 and -0")
    slope = {"relu": 0.0, "sigmoid": 0.25}.get(name, 0.5)
    got = backward(name, numbers(3, 3), keeps(name, numbers(0, -0.0)))
    hint = "the slope of ReLU at 0 is taken as 0" if name == "relu" else "never divide by x"
    expect_close(got, numbers(3 * slope, 3 * slope), what=f"{label(name, '_backward')} of grad=3 at x=0", hint=hint)


def test_the_smallest_positive_result_of_relu_lets_the_gradient_through():
    """Only 0 stops it: neither a threshold nor a product of grad with out."""
    got = backward("relu", numbers(5, 5, -5), numbers(1e-300, 1e-9, 1e-300))
    expect_equal(got, numbers(5, 5, -5), what="relu_backward where out is small", hint="out > 0")


@EACH
@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0), (5,), (2, 1, 3), (3, 4)], ids=str)
def test_any_shape(rng, name, shape):
    """A single number, no numbers at all, and several dimensions: each element by itself."""
    x, grad = some(rng, *shape), some(rng, *shape)
    expect_close(forward(name, x), TORCH[name](x), what=f"{label(name)} of shape {list(shape)}")
    want = grad * torch_slope(name, x)
    expect_close(backward(name, grad, keeps(name, x)), want, what=f"{label(name, '_backward')} of shape {list(shape)}")


@EACH
def test_views_and_expanded_gradients(rng, name):
    """Transposed, every second element, and a gradient that is one number in memory, as that of a sum is."""
    x, grad = randn(rng, 4, 6).T[:, ::2], some(rng).expand(6, 2)
    expect_close(forward(name, x), TORCH[name](x), what=f"{label(name)} of a view", hint="no view(-1)")
    want, kept = grad * torch_slope(name, x), keeps(name, x)
    for layout in (kept, kept.T.contiguous().T):
        got = backward(name, grad, layout)
        expect_close(got, want, what=f"{label(name, '_backward')} of a view, with an expanded grad")


def shares(result, *arguments):
    """Whether a result lies in the memory of an argument."""
    return any(result.untyped_storage().data_ptr() == each.untyped_storage().data_ptr() for each in arguments)


@EACH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_arguments_are_left_alone(rng, name, dtype):
    """Neither modified, nor returned: what was kept is needed by other layers, too. x is positive and negative, and
    positive throughout, where ReLU changes nothing."""
    function, options = split(name)
    back = getattr(activations, function + "_backward")
    for x in (randn(rng, 6, dtype=dtype), randn(rng, 6, dtype=dtype).abs() + 1):
        grad, kept = randn(rng, 6, dtype=dtype), keeps(name, x).clone()
        with expect_unchanged(x, grad, kept, what=f"an argument of {label(name)} or its backward function"):
            result, slope = getattr(activations, function)(x, **options), back(grad, kept, **options)
        sentence = "should be a new tensor, but lies in the memory of an argument"
        expect(not shares(result, x), f"the result of {label(name)} {sentence}")
        expect(not shares(slope, grad, kept), f"the result of {label(name, '_backward')} {sentence}")


def test_a_worked_swiglu():
    """silu(log 3) = 0.75 log 3, times 8; silu(-log 3) = -0.25 log 3, times -4. Exchanged, they would be near 8 log 3."""
    got = swiglu(numbers(LOG3, -LOG3), numbers(8, -4))
    expect_close(got, numbers(6 * LOG3, LOG3), what="swiglu of gate=[log 3, -log 3] and up=[8, -4]", hint=GATED)


def test_random_swiglu(rng):
    """Beside torch's SiLU and a product. up is not gated, so doubling it doubles the result."""
    gate, up = 2 * randn(rng, 3, 5), randn(rng, 3, 5)
    got, want = swiglu(gate, up), F.silu(gate) * up
    expect_close(got, want, what="swiglu, beside torch's silu(gate) * up", hint=GATED)
    expect_close(swiglu(gate, 2 * up), 2 * want, what="swiglu with up doubled", hint=GATED)


def test_a_worked_swiglu_backward():
    """gate = log 3, where SiLU is 0.75 log 3 and its slope 0.75 + 3/16 log 3; up = 8 and grad = 2."""
    got = swiglu_backward(numbers(2), numbers(LOG3), numbers(8))
    what = "of swiglu_backward with grad=2, gate=log 3, up=8"
    expect_close(got[0], numbers(12 + 3 * LOG3), what=f"grad_gate {what}", hint=BOTH)
    expect_close(got[1], numbers(1.5 * LOG3), what=f"grad_up {what}", hint=BOTH)


@pytest.mark.parametrize("shape", [(), (0,), (4, 5), (2, 1, 3)], ids=str)
def test_random_swiglu_backward(rng, shape):
    """Beside autograd of torch's SiLU, in any shape."""
    leaves = [(2 * some(rng, *shape)).requires_grad_() for _ in range(2)]
    grad = some(rng, *shape)
    want = torch.autograd.grad(F.silu(leaves[0]) * leaves[1], leaves, grad)
    gate, up = (leaf.detach() for leaf in leaves)
    got = swiglu_backward(grad, gate, up)
    expect_close(swiglu(gate, up), F.silu(gate) * up, what=f"swiglu of shape {list(shape)}", hint=GATED)
    for name, result, right in zip(("grad_gate", "grad_up"), got, want, strict=True):
        expect_close(result, right, what=f"{name} of swiglu_backward in shape {list(shape)}", hint=BOTH)


def test_swiglu_of_zeros():
    """A gate of 0 is closed: the result and grad_up are 0, but grad_gate is half of grad * up."""
    zero, up, grad = numbers(0, 0), numbers(6, 0), numbers(2, 2)
    expect_close(swiglu(zero, up).abs(), zero, what="swiglu of gate=0", hint=GATED)
    got = swiglu_backward(grad, zero, up)
    expect_close(got[0].abs(), numbers(6, 0), what="grad_gate at gate=0 of grad=2 and up=[6, 0]", hint=BOTH)
    expect_close(got[1].abs(), zero, what="grad_up at gate=0", hint=BOTH)


def test_arguments_of_swiglu_are_left_alone(rng):
    """gate and up are kept for the backward pass, and grad is the caller's. Views, and an expanded grad, will do."""
    gate, up, grad = randn(rng, 4, 6).T[::2], randn(rng, 6, 4)[::2], some(rng).expand(3, 4)
    want = swiglu(gate.contiguous(), up.contiguous()), *swiglu_backward(*(t.clone() for t in (grad, gate, up)))
    with expect_unchanged(gate, up, grad, what="an argument of swiglu or swiglu_backward"):
        got = swiglu(gate, up), *swiglu_backward(grad, gate, up)
    for name, result, right in zip(("the result", "grad_gate", "grad_up"), got, want, strict=True):
        expect_close(result, right, what=f"{name} of swiglu for views")
        expect(not shares(result, gate, up, grad), f"{name} of swiglu should be a new tensor, but is an argument's")
    expect(not shares(got[1], got[2]), "grad_gate and grad_up should be two tensors, but share their memory")


@pytest.mark.parametrize("option", WRONG_OPTIONS, ids=repr)
def test_any_other_approximation_is_an_error(option):
    """A typing error would quietly give the other function."""
    with expect_raises(ValueError, what=f"gelu with approximate={option!r}", hint="'none' or 'tanh'"):
        activations.gelu(torch.ones(2), approximate=option)
    with expect_raises(ValueError, what=f"gelu_backward with approximate={option!r}", hint="'none' or 'tanh'"):
        activations.gelu_backward(torch.ones(2), torch.ones(2), approximate=option)


@EACH
@pytest.mark.parametrize("shapes", WRONG_SHAPES, ids=str)
def test_gradients_of_another_shape_are_errors(name, shapes):
    """Broadcasting takes them without a word, and the gradient has the wrong shape or belongs to other elements."""
    grad, kept = (torch.ones(shape) for shape in shapes)
    what = f"{label(name, '_backward')} with grad {list(shapes[0])} and an activation of shape {list(shapes[1])}"
    with expect_raises(ValueError, what=what, hint="compare the shapes"):
        backward(name, grad, kept)


@pytest.mark.parametrize("shapes", WRONG_SHAPES, ids=str)
def test_swiglu_of_different_shapes_is_an_error(shapes):
    """Whichever of the arguments has the other shape."""
    one, other = (torch.ones(shape) for shape in shapes)
    with expect_raises(ValueError, what=f"swiglu with gate {list(shapes[0])} and up {list(shapes[1])}"):
        activations.swiglu(one, other)
    for place, name in enumerate(("grad", "gate", "up")):
        given = [one, one, one]
        given[place] = other
        what = f"swiglu_backward with {name} {list(shapes[1])}, and {list(shapes[0])} for the others"
        with expect_raises(ValueError, what=what, hint="compare all three shapes"):
            activations.swiglu_backward(*given)
