"""A step of an optimizer over some large weights. The floor reads weight, gradient and both moments once, and writes all but
the gradient. The learning rate is 0, so that every call leaves the weights as they are."""

import math

import torch
from torch import nn

from dojo.testing.bench import work


def naive(params, beta1=0.9, beta2=0.999, lr=0.0, eps=1e-8, weight_decay=1e-2):
    """The formula, with a new tensor for each operator."""
    moments, count = [(torch.zeros_like(p), torch.zeros_like(p)) for p in params], [0]

    @torch.no_grad()
    def step():
        count[0] += 1
        for p, (m, v) in zip(params, moments, strict=True):
            m.copy_(beta1 * m + (1 - beta1) * p.grad)
            v.copy_(beta2 * v + (1 - beta2) * p.grad**2)
            quotient = m / (1 - beta1 ** count[0]) / ((v / (1 - beta2 ** count[0])).sqrt() + eps)
            p.copy_(p - lr * weight_decay * p - lr * quotient)

    return step


@work(
    layers=24, width=1024, tiny={"layers": 3, "width": 64}, sweep={"layers": (6, 12)}, grows={"layers": 1, "width": 2}
)
def one_step(bench, layers, width):
    """step() of float32 weights of width x width, whose moments exist."""
    params = [nn.Parameter(bench.randn(width, width) / math.sqrt(width)) for _ in range(layers)]
    for param in params:
        param.grad = bench.randn(width, width)

    def stepping(optimizer):
        optimizer.step()
        return lambda: (optimizer.step(), params[0])[1]

    bench.katas(lambda kata: stepping(kata.AdamW(params, lr=0.0)))
    once = naive(params)
    bench.way("naive: a tensor for each operator", lambda: (once(), params[0])[1])
    for name in ("foreach", "fused"):
        bench.way(f"torch: {name}", stepping(torch.optim.AdamW(params, lr=0.0, **{name: True})))
    bench.same(rtol=1e-6, atol=1e-7)
    bench.floor(bytes=7 * layers * width * width * 4)
