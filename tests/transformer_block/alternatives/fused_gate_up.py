"""One product for gate and up, whose weights are put together at every call; z * sigmoid(z); torch's functional norm."""

import math

import torch
from torch import nn
from torch.nn import functional as F


def swiglu_hidden(dim, *, multiple_of=256, multiplier=None):
    if dim <= 0:
        raise ValueError("dim")
    if multiple_of <= 0:
        raise ValueError("multiple_of")
    if multiplier is None:
        multiplier = 1
    elif math.isnan(multiplier) or multiplier <= 0:
        raise ValueError("multiplier")
    return math.ceil(int(int(8 / 3 * dim) * multiplier) / multiple_of) * multiple_of


class SwiGLU(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        if not (dim > 0 and hidden > 0):
            raise ValueError("sizes")
        self.gate = nn.Linear(dim, hidden, bias=False)
        self.up = nn.Linear(dim, hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)

    def forward(self, x):
        z, y = F.linear(x, torch.cat([self.gate.weight, self.up.weight])).chunk(2, dim=-1)
        return F.linear(z * torch.sigmoid(z) * y, self.down.weight)


class Norm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(dim)), eps

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Block(nn.Module):
    def __init__(self, dim, hidden, attention, eps=1e-6):
        super().__init__()
        self.attention, self.mlp = attention, SwiGLU(dim, hidden)
        self.norm1, self.norm2 = Norm(dim, eps), Norm(dim, eps)

    def forward(self, x, **kwargs):
        attended = torch.add(x, self.attention(self.norm1(x), **kwargs))
        return torch.add(attended, self.mlp(self.norm2(attended)))
