"""The floor is F's forward plus a training step of one copy: backward has no business in the frozen block."""

import copy
from functools import partial

import torch
from torch import nn

from dojo.testing.bench import work


def convolutions(channels):
    conv = partial(nn.Conv2d, channels, channels, 3, padding=1)
    return nn.Sequential(conv(), nn.SiLU(), conv())


def forward_and_backward(net, *inputs):
    net.zero_grad()
    y = net(*inputs)
    y.square().sum().backward()
    return y.detach()


def expect_equal_outputs(results):
    """The zero convolutions make the controlled block's output the block's own."""
    first, *others = results.values()
    for other in others:
        torch.testing.assert_close(other, first, rtol=1e-4, atol=1e-4)


@work(
    batch=8,
    channels=64,
    side=32,
    sweep={"batch": (1, 4, 16), "channels": (32, 128)},
    grows={"batch": 1},
    tiny={"batch": 2, "channels": 8, "side": 16},
    counts="flops",
    gpu={"batch": 32, "channels": 320, "side": 64},
)
def train(bench, batch, channels, side):
    """Forward and backward of a block of two convolutions."""
    block = convolutions(channels).to(bench.device)
    x, condition = bench.randn(batch, channels, side, side), bench.randn(batch, 3, side, side)

    def controlled(kata, trainable=False):
        net = kata.ControlNetBlock(copy.deepcopy(block), channels, 3)
        net.frozen.requires_grad_(trainable)  # the optimizer would never get F, but backward works for it
        return partial(forward_and_backward, net, x, condition)

    bench.katas(controlled)
    first = next(iter(bench.implementations.values()))
    bench.way("naive: backward through F too", controlled(first, trainable=True))
    bench.way("one block, no control", partial(forward_and_backward, copy.deepcopy(block), x))
    bench.check(expect_equal_outputs)
    convolution = 2 * batch * channels**2 * 9 * side**2
    bench.floor(flops=(2 + 2 * 2 + 1) * convolution)  # F, the copy, its gradients; the first layer needs none for x
