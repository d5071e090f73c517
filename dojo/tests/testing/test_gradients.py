"""The checks of gradients: right ones pass, and a missing, wrong or unwanted graph has its sentence."""

import pytest
import torch

from dojo.testing import (
    Wrong,
    backward,
    expect_gradients,
    expect_graph,
    expect_no_graph,
    expect_slope,
    randn,
    seeded,
)


def message_of(check, *arguments, **keywords):
    """The message with which a check fails."""
    with pytest.raises(Wrong) as error:
        check(*arguments, **keywords)
    return str(error.value)


def t(*values):
    return torch.tensor(values, dtype=torch.float64)


class Doubled(torch.autograd.Function):
    """The square, with twice the gradient of x ** 2."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, grad):
        return 4 * ctx.saved_tensors[0] * grad


def test_a_graph_is_asked_for_by_name():
    """A result without one was detached, or made under no_grad."""
    expect_graph(t(1.0).requires_grad_() * 2)
    assert message_of(expect_graph, t(1.0), what="the loss", hint="detach nothing") == (
        "the loss should be differentiable, but has no graph\nhint: detach nothing"
    )


def test_backward_needs_a_graph():
    """torch's own RuntimeError does not say whose fault it is."""
    x = t(3.0).requires_grad_()
    backward((x**2).sum())
    assert x.grad.tolist() == [6.0]
    assert "f should be differentiable" in message_of(backward, t(1.0).sum(), what="f")


def test_gradients_are_compared_with_finite_differences():
    """Of every input, and the inputs stay leaves without a gradient."""
    x = t(1.0, -2.0)
    expect_gradients(lambda a, b: a**2 * b, (x, t(3.0, 4.0)))
    assert not x.requires_grad
    assert "the gradients of f should agree with finite differences" in message_of(
        expect_gradients, Doubled.apply, [x], what="f"
    )
    assert "f should be differentiable" in message_of(expect_gradients, lambda a: a.detach(), [x], what="f")


def test_half_a_gradient_is_a_wrong_one():
    """A factor that was detached."""
    assert "finite differences" in message_of(expect_gradients, lambda a: a * a.detach(), [t(1.0, 2.0)])


@pytest.mark.parametrize("function", [torch.square, Doubled.apply])
def test_a_slope_is_compared_along_a_random_direction(function):
    """The tensor itself is moved, and moved back."""
    x = randn(seeded(0), 3, 4).requires_grad_()
    before = x.detach().clone()
    function(x).sum().backward()
    arguments = (lambda: function(x).sum(), x, seeded(1))
    if function is torch.square:
        expect_slope(*arguments, name="x")
    else:
        assert "the slope along x should be " in message_of(expect_slope, *arguments, name="x")
    torch.testing.assert_close(x.detach(), before)


def test_a_missing_gradient_is_named():
    """Its tensor is frozen, or was detached."""
    sentence = message_of(expect_slope, lambda: t(1.0), t(1.0), seeded(0), name="conv.weight")
    assert sentence.startswith("conv.weight should get a gradient, but has none")


def test_a_sample_carries_no_graph():
    """Its activations would stay in memory."""
    expect_no_graph(t(1.0), what="the result")
    sentence = message_of(expect_no_graph, t(1.0).requires_grad_() * 2, what="the result")
    assert sentence.startswith("the result should carry no graph, but requires grad\n")


def test_gradients_that_stay_switched_off_are_found_and_switched_on():
    """Otherwise the tests after it would fail, too."""
    torch.set_grad_enabled(False)
    assert "gradients should be enabled again afterwards, but are off" in message_of(
        expect_no_graph, t(1.0), what="the result"
    )
    assert torch.is_grad_enabled()
