"""Keeps gate(x) and up(x) alone: silu and the product are computed again in the backward pass, by hand."""

import torch
from torch import nn


def swiglu_hidden(dim, *, multiple_of=256, multiplier=None):
    if dim < 1 or multiple_of < 1:
        raise ValueError("sizes")
    hidden = divmod(8 * dim, 3)[0]
    if multiplier is not None:
        if multiplier != multiplier or multiplier <= 0:
            raise ValueError("multiplier")
        hidden = int(multiplier * hidden)
    return next(size for size in range(hidden, hidden + multiple_of) if size % multiple_of == 0)


class Gated(torch.autograd.Function):
    """silu(gate) * up"""

    @staticmethod
    def forward(ctx, gate, up):
        ctx.save_for_backward(gate, up)
        return gate * gate.sigmoid() * up

    @staticmethod
    def backward(ctx, grad):
        gate, up = ctx.saved_tensors
        open_ = gate.sigmoid()
        return grad * up * (open_ + gate * open_ * (1 - open_)), grad * gate * open_


class SwiGLU(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        if dim < 1 or hidden < 1:
            raise ValueError("sizes")
        self.gate = nn.Linear(dim, hidden, bias=False)
        self.up = nn.Linear(dim, hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)

    def forward(self, x):
        return self.down(Gated.apply(self.gate(x), self.up(x)))


class Block(nn.Module):
    def __init__(self, dim, hidden, attention, eps=1e-6):
        super().__init__()
        self.mlp = SwiGLU(dim, hidden)
        self.attention = attention
        self.norm1 = nn.RMSNorm(dim, eps)
        self.norm2 = nn.RMSNorm(dim, eps)

    def forward(self, x, **kwargs):
        attended = self.attention(self.norm1(x), **kwargs)
        x = x + attended
        return x + self.mlp(self.norm2(x))
