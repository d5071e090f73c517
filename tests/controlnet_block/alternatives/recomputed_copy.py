"""The copy's activations are recomputed in backward (activation checkpointing): less memory, one more forward."""

import copy

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def zero_conv(in_channels, out_channels):
    if not (in_channels >= 1 and out_channels >= 1):
        raise ValueError("a zero convolution needs channels on both sides")
    conv = nn.utils.skip_init(nn.Conv2d, in_channels, out_channels, kernel_size=1)
    with torch.no_grad():
        conv.weight.fill_(0.0)
        conv.bias.fill_(0.0)
    return conv


class ControlNetBlock(nn.Module):
    def __init__(self, block, channels, condition_channels):
        super().__init__()
        like = next(iter(block.parameters()), torch.zeros(()))
        self.zero_in = zero_conv(condition_channels, channels).to(like.device, like.dtype)
        self.zero_out = zero_conv(channels, channels).to(like.device, like.dtype)
        block.requires_grad_(True)
        self.copy = copy.deepcopy(block)
        block.requires_grad_(False)
        self.frozen = block

    def forward(self, x, condition):
        kept = self.frozen(x)
        control = checkpoint(self.copy, x + self.zero_in(condition), use_reentrant=False)
        return kept + self.zero_out(control)
