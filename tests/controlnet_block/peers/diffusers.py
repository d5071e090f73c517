"""diffusers' zero_module makes the zero convolutions. Its ControlNetModel has the copy and the joints for its own U-Nets
only (from_unet builds a second one and loads the state dict), so the block itself is put together here."""

import copy

from diffusers.models.controlnets.controlnet import zero_module
from torch import nn


def zero_conv(in_channels, out_channels):
    if in_channels < 1 or out_channels < 1:
        raise ValueError("at least one channel is needed")
    return zero_module(nn.Conv2d(in_channels, out_channels, kernel_size=1))


class ControlNetBlock(nn.Module):
    def __init__(self, block, channels, condition_channels):
        super().__init__()
        self.zero_in, self.zero_out = zero_conv(condition_channels, channels), zero_conv(channels, channels)
        for parameter in list(block.parameters())[:1]:
            self.zero_in.to(parameter)
            self.zero_out.to(parameter)
        self.copy = copy.deepcopy(block)
        self.copy.load_state_dict(block.state_dict())
        self.copy.requires_grad_(True)
        self.frozen = block.requires_grad_(False)

    def forward(self, x, condition):
        return self.frozen(x) + self.zero_out(self.copy(x + self.zero_in(condition)))
