"""The frozen half also runs under no_grad, weights are zeroed through .data and frozen one by one: no gradient to x
through F, which the kata leaves free."""

import copy

import torch
from torch import nn


def zero_conv(in_channels, out_channels):
    if min(in_channels, out_channels) <= 0:
        raise ValueError(f"channels must be positive, got {in_channels} and {out_channels}")
    conv = nn.Conv2d(in_channels, out_channels, 1)
    for p in conv.parameters():
        p.data.zero_()
    return conv


class ControlNetBlock(nn.Module):
    def __init__(self, block, channels, condition_channels):
        super().__init__()
        self.frozen = block
        self.copy = copy.deepcopy(block)
        for p in self.frozen.parameters():
            p.requires_grad = False
        for p in self.copy.parameters():
            p.requires_grad = True
        dtype, device = torch.get_default_dtype(), None
        for p in block.parameters():
            dtype, device = p.dtype, p.device
            break
        self.zero_in = zero_conv(condition_channels, channels).to(device=device, dtype=dtype)
        self.zero_out = zero_conv(channels, channels).to(device=device, dtype=dtype)

    def forward(self, x, condition):
        with torch.no_grad():
            out = self.frozen(x)
        h = x + self.zero_in(condition)
        h = self.copy(h)
        h = self.zero_out(h)
        return out + h
