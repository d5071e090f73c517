"""The copy goes through torch.save and torch.load, the zeros replace the layer's parameters, and the frozen half is
called under inference mode."""

import io

import torch
from torch import nn


def zero_conv(in_channels, out_channels):
    if in_channels < 1 or out_channels < 1:
        raise ValueError("need at least one channel")
    layer = nn.Conv2d(in_channels, out_channels, 1, 1, 0)
    layer.weight = nn.Parameter(torch.zeros_like(layer.weight))
    layer.bias = nn.Parameter(torch.zeros(out_channels))
    return layer


def _duplicate(module):
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


class ControlNetBlock(nn.Module):
    def __init__(self, block, channels, condition_channels):
        super().__init__()
        zero_in, zero_out = zero_conv(condition_channels, channels), zero_conv(channels, channels)
        try:
            first = next(block.parameters())
        except StopIteration:
            pass
        else:
            zero_in = zero_in.to(first.device).to(first.dtype)
            zero_out = zero_out.to(first.device).to(first.dtype)
        copied = _duplicate(block)
        self.add_module("frozen", block.requires_grad_(False))
        self.add_module("copy", copied.requires_grad_())
        self.add_module("zero_in", zero_in)
        self.add_module("zero_out", zero_out)

    def forward(self, x, condition):
        with torch.inference_mode():
            result = self.frozen(x)
        return result.clone() + self.zero_out(self.copy(x + self.zero_in(condition)))
