"""A 3 x 3 convolution that keeps the size, as in a residual network. Its floor is the FLOPs, and one pass over images and results."""

from functools import partial

import torch
from torch.nn import functional as F

from dojo.testing.bench import work

SIZES = {"sweep": {"channels": (16, 32), "size": (14, 28)}, "tiny": {"batch": 2, "channels": 8, "size": 8}}
GROWS = {"grows": {"batch": 1, "channels": 2, "size": 2}, "counts": "flops"}


@work(batch=8, channels=64, size=56, **SIZES, **GROWS)
def forward(bench, batch, channels, size):
    """The images' convolution."""
    x, weight = bench.randn(batch, channels, size, size), bench.randn(channels, channels, 3, 3)

    def im2col():
        return (weight.flatten(1) @ F.unfold(x, 3, padding=1)).view(x.shape)

    bench.katas(lambda kata: partial(kata.conv2d, x, weight, padding=1))
    bench.way("torch: F.conv2d", lambda: F.conv2d(x, weight, padding=1))
    bench.way("torch: F.unfold", im2col)
    bench.same(rtol=1e-3, atol=1e-2)
    bench.floor(bytes=2 * x.nbytes, flops=18 * channels * x.numel())


@work(batch=8, channels=64, size=56, **SIZES, **GROWS)
def backward(bench, batch, channels, size):
    """The gradients of images, weight and bias."""
    grad, x = (bench.randn(batch, channels, size, size) for _ in range(2))
    weight = bench.randn(channels, channels, 3, 3)

    def ready_made():
        dx = torch.nn.grad.conv2d_input(x.shape, weight, grad, padding=1)
        return dx, torch.nn.grad.conv2d_weight(x, weight.shape, grad, padding=1), grad.sum((0, 2, 3))

    bench.katas(lambda kata: partial(kata.conv2d_backward, grad, x, weight, padding=1))
    bench.way("torch: torch.nn.grad", ready_made)
    bench.same(rtol=1e-2, atol=0.1)
    bench.floor(bytes=3 * x.nbytes, flops=36 * channels * x.numel())
