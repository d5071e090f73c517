"""Weights of modules, set by hand, and what a graph keeps alive."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dojo.testing.sampling import randn


def fill(parameter: Tensor, values: Any) -> None:
    """Overwrites a parameter in place, as loading a checkpoint does, with values of its shape or of one that broadcasts."""
    with torch.no_grad():
        parameter.copy_(torch.as_tensor(values))


def fill_at_random(parameters: Iterable[nn.Parameter], rng: torch.Generator, size: float = 1.0) -> None:
    """Overwrites parameters with normal numbers of this size: a module in the middle of its training has no zeros."""
    for parameter in parameters:
        fill(parameter, size * randn(rng, *parameter.shape))


class Traced(torch.autograd.Function):
    """`Traced.apply(x, token)` is x; the node that it adds to the graph holds `token`, which lives as long as the node."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, token: Any) -> Tensor:
        ctx.token = token
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return *grads, None
