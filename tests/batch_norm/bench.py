"""Activations of a convolutional network. The floor of training reads x twice, since no value can be normalised before all are
seen, and writes the result; that of evaluation reads once. That of the backward pass reads x and grad twice, and writes grad_x."""

from functools import partial

import torch
from torch import nn

from dojo.testing.bench import work

TINY = {"batch": 2, "channels": 8, "size": 8}
SIZES = {"sweep": {"batch": (8, 16), "size": (14, 28)}, "grows": {"batch": 1, "channels": 1, "size": 2}}


@work(batch=32, channels=64, size=56, tiny=TINY, **SIZES)
def training(bench, batch, channels, size):
    """A batch in training mode, without a graph."""
    x = bench.randn(batch, channels, size, size)
    bench.katas(lambda kata: without_graph(kata.BatchNorm(channels).to(x.device), x))
    bench.way("torch: nn.BatchNorm2d", without_graph(nn.BatchNorm2d(channels).to(x.device), x))
    bench.same(rtol=1e-4, atol=1e-5)
    bench.floor(bytes=3 * x.nbytes)


@work(batch=32, channels=64, size=56, tiny=TINY, **SIZES)
def evaluation(bench, batch, channels, size):
    """A batch in evaluation mode, without a graph."""
    x = bench.randn(batch, channels, size, size)
    bench.katas(lambda kata: without_graph(kata.BatchNorm(channels).to(x.device).eval(), x))
    bench.way("torch: nn.BatchNorm2d", without_graph(nn.BatchNorm2d(channels).to(x.device).eval(), x))
    bench.same(rtol=1e-4, atol=1e-5)
    bench.floor(bytes=2 * x.nbytes)


@work(batch=32, channels=64, size=56, tiny=TINY, **SIZES)
def backward(bench, batch, channels, size):
    """The gradients of a batch in training mode."""
    grad, x = (bench.randn(batch, channels, size, size) for _ in range(2))
    weight = bench.randn(channels)
    layer = nn.BatchNorm2d(channels).to(x.device)
    layer.weight.data.copy_(weight)

    def by_autograd():
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(layer(leaf), (leaf, layer.weight, layer.bias), grad)

    bench.katas(lambda kata: partial(kata.batch_norm_backward, grad, x, weight))
    bench.way("torch: autograd of nn.BatchNorm2d", by_autograd)
    bench.same(rtol=1e-3, atol=1e-2)
    bench.floor(bytes=5 * x.nbytes)


def without_graph(layer, x):
    return torch.no_grad()(partial(layer, x))
