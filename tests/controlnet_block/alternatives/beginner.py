"""A beginner's version: a name for every step, explicit loops, and the copy's values carried over tensor by tensor."""

import copy

import torch
import torch.nn as nn


def zero_conv(in_channels, out_channels):
    if in_channels < 1:
        raise ValueError("in_channels is too small")
    if out_channels < 1:
        raise ValueError("out_channels is too small")
    convolution = nn.Conv2d(in_channels=in_channels, out_channels=out_channels, kernel_size=1, stride=1, padding=0)
    convolution.weight.data = torch.zeros(out_channels, in_channels, 1, 1)
    convolution.bias.data = torch.zeros(out_channels)
    return convolution


class ControlNetBlock(nn.Module):
    def __init__(self, block, channels, condition_channels):
        super(ControlNetBlock, self).__init__()  # noqa: UP008
        self.channels = channels
        self.condition_channels = condition_channels
        parameters = list(block.parameters())
        zero_in = zero_conv(condition_channels, channels)
        zero_out = zero_conv(channels, channels)
        if len(parameters) > 0:
            zero_in = zero_in.to(device=parameters[0].device, dtype=parameters[0].dtype)
            zero_out = zero_out.to(device=parameters[0].device, dtype=parameters[0].dtype)
        self.frozen = block
        self.copy = copy.deepcopy(block)
        self.zero_in = zero_in
        self.zero_out = zero_out
        own = self.copy.state_dict()
        for name, value in block.state_dict().items():
            own[name].copy_(value)
        for parameter in self.frozen.parameters():
            parameter.requires_grad = False
        for parameter in self.copy.parameters():
            parameter.requires_grad = True

    def forward(self, x, condition):
        frozen_output = self.frozen(x)
        embedded_condition = self.zero_in(condition)
        copy_input = torch.add(x, embedded_condition)
        copy_output = self.copy(copy_input)
        correction = self.zero_out(copy_output)
        output = torch.add(frozen_output, correction)
        return output
