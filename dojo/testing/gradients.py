"""Checks of gradients: that there is a graph, that its gradients are the function's, and that a loop keeps none."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from dojo.testing.checks import expect, expect_close
from dojo.testing.sampling import randn

KEEP_GRAPH = "no detach(), no .data, no torch.no_grad()"
STEP = 1e-5  # in float64 the central difference is then off by about 1e-8: rounding / step, and step^2


def expect_graph(result: Tensor, *, what: str = "the output", hint: str = KEEP_GRAPH) -> None:
    """`result` is differentiable by something."""
    expect(result.requires_grad, f"{what} should be differentiable, but has no graph", hint=hint)


def backward(loss: Tensor, *, what: str = "the output", hint: str = KEEP_GRAPH) -> None:
    """`loss.backward()`. A loss without a graph fails with a sentence about `what`."""
    expect_graph(loss, what=what, hint=hint)
    loss.backward()  # type: ignore[no-untyped-call]  # torch's is not annotated


def expect_gradients(
    function: Callable[..., Tensor], inputs: Iterable[Tensor], *, what: str = "the output", hint: str = KEEP_GRAPH
) -> None:
    """The gradients of `function` by each of the `inputs` (float64) agree with finite differences."""
    leaves = [given.detach().clone().requires_grad_() for given in inputs]
    expect_graph(function(*leaves), what=what, hint=hint)
    right = torch.autograd.gradcheck(function, leaves, raise_exception=False)
    expect(right, f"the gradients of {what} should agree with finite differences, but do not", hint=hint)


def expect_slope(
    loss: Callable[[], Tensor], tensor: Tensor, rng: torch.Generator, *, name: str, hint: str = KEEP_GRAPH
) -> None:
    """`tensor.grad`, after a backward pass of `loss()`, agrees with a central difference along a random direction.

    Cheaper than `expect_gradients`, and `tensor` may be a parameter of a module: it is moved in place.
    """
    expect(tensor.grad is not None, f"{name} should get a gradient, but has none", hint="is it detached, or frozen?")
    assert tensor.grad is not None
    direction = randn(rng, *tensor.shape)
    with torch.no_grad():
        tensor.add_(STEP * direction)
        ahead = loss()
        tensor.sub_(2 * STEP * direction)
        behind = loss()
        tensor.add_(STEP * direction)
    slope = (tensor.grad * direction).sum()
    expect_close(slope, (ahead - behind) / (2 * STEP), what=f"the slope along {name}", hint=hint, rtol=1e-5, atol=1e-5)


def expect_no_graph(result: Tensor, *, what: str) -> None:
    """`result` carries no graph, and what made it has left gradients enabled, or enabled them again.

    With a graph the activations of every step of a sampler stay alive.
    """
    enabled = torch.is_grad_enabled()
    torch.set_grad_enabled(True)  # one slip must not fail the tests after it
    sentence = f"{what} should carry no graph, but requires grad"
    expect(not result.requires_grad, sentence, hint="run the loop under torch.no_grad()")
    expect(enabled, "gradients should be enabled again afterwards, but are off", hint="with torch.no_grad(): ...")
