"""What any right ControlNet block does, whatever it wraps. No gradient to x through the frozen half is asked for."""

import torch
from torch import nn

from dojo.testing import expect, gradients, randn
from dojo.testing.modules import fill, fill_at_random
from katas.controlnet_block import ControlNetBlock


class Square(nn.Module):
    """gain * x ** 2, pixel by pixel: simple enough to compute by hand, and not linear."""

    def __init__(self, gain=1.0):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain, dtype=torch.float64))

    def forward(self, x):
        return self.gain * x**2


def convolutions(channels=4, depth=2):
    layers = [nn.Conv2d(channels, channels, 3, padding=1)]
    for _ in range(depth - 1):
        layers += [nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1)]
    return nn.Sequential(*layers).double()


def controlled(block, channels=4, condition_channels=3):
    """All in float64: which dtype the new layers come in is a question of its own, asked in stage 3."""
    return ControlNetBlock(block, channels, condition_channels).double()


def inputs(rng, channels=4, condition_channels=3, batch=2, size=(5, 6)):
    return randn(rng, batch, channels, *size), randn(rng, batch, condition_channels, *size)


def fill_conv(conv, weight, bias):
    expect(conv.bias is not None, "a zero convolution should have a bias, but has none")
    fill(conv.weight, torch.as_tensor(weight).reshape(conv.weight.shape))
    fill(conv.bias, bias)


def awake(net, rng):
    """The block as some training leaves it: the zero convolutions are zero no more."""
    fill_at_random([*net.zero_in.parameters(), *net.zero_out.parameters()], rng, 0.5)
    return net


def backward(net, x, condition, slope):
    """Fresh gradients of sum(slope * y)."""
    y = net(x.clone(), condition)
    net.zero_grad()
    gradients.backward((slope * y).sum(), hint="only the frozen half may run under torch.no_grad()")
