"""The 1x1 convolutions as what they are, a matrix product over the channels of each pixel, written with einsum; the
copy's parameters are applied with torch.func.functional_call."""

import copy

import torch
from torch import nn
from torch.func import functional_call


def zero_conv(in_channels, out_channels):
    if in_channels < 1 or out_channels < 1:
        raise ValueError("channel counts start at 1")
    conv = nn.Conv2d(in_channels, out_channels, 1)
    conv.load_state_dict({name: torch.zeros_like(value) for name, value in conv.state_dict().items()})
    return conv


def _per_pixel(conv, picture):
    mixed = torch.einsum("oi,bihw->bohw", conv.weight.flatten(1), picture)
    return mixed + conv.bias.view(1, -1, 1, 1)


class ControlNetBlock(nn.Module):
    def __init__(self, block, channels, condition_channels):
        super().__init__()
        like = dict.fromkeys(("dtype", "device"))
        for parameter in block.parameters():
            like = {"dtype": parameter.dtype, "device": parameter.device}
            break
        self.copy = copy.deepcopy(block)
        self.copy.requires_grad_(True)
        self.frozen = block
        self.frozen.requires_grad_(False)
        self.zero_in = zero_conv(condition_channels, channels).to(**like)
        self.zero_out = zero_conv(channels, channels).to(**like)

    def forward(self, x, condition):
        state = {**dict(self.copy.named_parameters()), **dict(self.copy.named_buffers())}
        control = functional_call(self.copy, state, (x + _per_pixel(self.zero_in, condition),))
        return torch.add(self.frozen(x), _per_pixel(self.zero_out, control))
