"""Einsums, a list of pairs of norm and branch, and everything inside in float32 or better."""

from functools import partial

import torch
from torch import nn


def swiglu_hidden(dim, *, multiple_of=256, multiplier=None):
    for size in (dim, multiple_of):
        if size < 1:
            raise ValueError(f"{size} is below 1")
    hidden = int(8 * dim / 3)
    if multiplier is not None:
        if not (multiplier > 0):
            raise ValueError(f"{multiplier} is not above 0")
        hidden = int(multiplier * hidden)
    return -(-hidden // multiple_of) * multiple_of


def wide(x):
    return x.to(torch.promote_types(x.dtype, torch.float32))


class RMSNorm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones((dim,)))
        self.eps = eps

    def forward(self, x):
        square = torch.einsum("...d,...d->...", wide(x), wide(x)) / x.shape[-1]
        return (wide(x) * wide(self.weight) * (square + self.eps).pow(-0.5)[..., None]).to(x.dtype)


class SwiGLU(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        if dim < 1 or hidden < 1:
            raise ValueError("too small")
        self.up = nn.Linear(dim, hidden, False)
        self.gate = nn.Linear(dim, hidden, False)
        self.down = nn.Linear(hidden, dim, False)

    def forward(self, x):
        gate, up = (torch.einsum("...d,hd->...h", wide(x), wide(part.weight)) for part in (self.gate, self.up))
        product = nn.functional.silu(gate) * up
        return torch.einsum("...h,dh->...d", product, wide(self.down.weight)).to(x.dtype)


class Block(nn.Module):
    def __init__(self, dim, hidden, attention, eps=1e-6):
        super().__init__()
        self.mlp = SwiGLU(dim, hidden)
        self.norm1 = RMSNorm(dim, eps)
        self.attention = attention
        self.norm2 = RMSNorm(dim, eps)

    def forward(self, x, **kwargs):
        for norm, branch in ((self.norm1, partial(self.attention, **kwargs)), (self.norm2, self.mlp)):
            x = x + branch(norm(x))
        return x
