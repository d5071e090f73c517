"""Clipping the gradients of a model. The limit is infinite or far away, so that every call does the same."""

import torch
from torch import nn

from dojo.testing.bench import work


def parameters(bench, layers, width):
    made = [nn.Parameter(torch.zeros(width, width)) for _ in range(layers)]
    for parameter in made:
        parameter.grad = bench.randn(width, width)
    return made


@work(
    layers=24, width=1024, tiny={"layers": 3, "width": 64}, sweep={"layers": (6, 12)}, grows={"layers": 1, "width": 2}
)
def one_clip(bench, layers, width):
    """Every gradient is read once for the norm, and read and written once where it is scaled. Here it need not be."""
    own = parameters(bench, layers, width)
    bench.katas(lambda kata: lambda: kata.clip_grad_norm(own, 1e9))
    bench.way("torch: clip_grad_norm_", lambda: nn.utils.clip_grad_norm_(own, 1e9))
    bench.way("naive: all in one vector", lambda: torch.cat([p.grad.flatten() for p in own]).norm())
    bench.way("naive: a read for each", lambda: torch.tensor(sum(p.grad.norm().item() ** 2 for p in own) ** 0.5))
    bench.same(rtol=1e-4, atol=1e-4)
    bench.floor(bytes=layers * width * width * 4)
