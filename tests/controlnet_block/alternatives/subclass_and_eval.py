"""A subclass of nn.Conv2d that resets itself to zero, and a frozen half that stays in eval mode whatever train() says
(running statistics and dropout of F are left free)."""

from copy import deepcopy

from torch import nn


class ZeroConv(nn.Conv2d):
    def reset_parameters(self):
        nn.init.constant_(self.weight, 0)
        nn.init.constant_(self.bias, 0)


def zero_conv(in_channels, out_channels):
    for name, number in [("in_channels", in_channels), ("out_channels", out_channels)]:
        if number < 1:
            raise ValueError(f"{name} must be at least 1")
    return ZeroConv(in_channels, out_channels, kernel_size=(1, 1))


class ControlNetBlock(nn.Module):
    def __init__(self, block, channels, condition_channels):
        if channels < 1 or condition_channels < 1:
            raise ValueError("channels must be at least 1")
        super().__init__()
        self.frozen = block.eval()
        for parameter in block.parameters():
            parameter.requires_grad_(False)
        self.copy = deepcopy(block).train()
        for parameter in self.copy.parameters():
            parameter.requires_grad_(True)
        self.zero_in = zero_conv(condition_channels, channels)
        self.zero_out = zero_conv(channels, channels)
        for parameter in block.parameters():
            self.zero_in.to(parameter)
            self.zero_out.to(parameter)
            break

    def train(self, mode=True):
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, x, condition):
        return self.zero_out(self.copy(self.zero_in(condition) + x)) + self.frozen(x)
