"""What any right ControlNet block does, whatever it wraps. No gradient to x through the frozen half is asked for."""

import torch
from torch import nn

from dojo.testing import expect, randn
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


def fill(conv, weight, bias):
    expect(conv.bias is not None, "a zero convolution should have a bias, but has none")
    with torch.no_grad():
        conv.weight.copy_(torch.as_tensor(weight).reshape(conv.weight.shape))
        conv.bias.copy_(torch.as_tensor(bias))


def awake(net, rng):
    """The block as some training leaves it: the zero convolutions are zero no more."""
    with torch.no_grad():
        for conv in (net.zero_in, net.zero_out):
            for parameter in conv.parameters():
                parameter.copy_(randn(rng, *parameter.shape) / 2)
    return net


def backward(net, x, condition, slope):
    """Fresh gradients of sum(slope * y)."""
    y = net(x.clone(), condition)
    expect(
        y.requires_grad,
        "the output should depend on something trainable, but has no gradient at all",
        hint="only the frozen half may run under torch.no_grad()",
    )
    net.zero_grad()
    (slope * y).sum().backward()
