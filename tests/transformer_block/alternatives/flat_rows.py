"""Rows flattened to a matrix, transposed weights, and the last addition done by the product that leads out (addmm)."""

import torch
from torch import nn


def swiglu_hidden(dim, *, multiple_of=256, multiplier=None):
    if dim < 1 or multiple_of < 1:
        raise ValueError("sizes are at least 1")
    hidden = (dim * 8) // 3
    if multiplier is not None:
        if multiplier > 0:
            hidden = int(hidden * multiplier)
        else:
            raise ValueError("the multiplier is above 0")
    over = hidden % multiple_of
    return hidden if over == 0 else hidden + multiple_of - over


class RMSNorm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        root = torch.sqrt(length**2 / x.shape[-1] + self.eps)
        return (wide / root * self.weight).to(x.dtype)


class SwiGLU(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        if dim < 1 or hidden < 1:
            raise ValueError("sizes are at least 1")
        self.gate, self.up = (nn.Linear(dim, hidden, bias=False) for _ in range(2))
        self.down = nn.Linear(hidden, dim, bias=False)

    def features(self, rows):
        gates = torch.mm(rows, self.gate.weight.t())
        return torch.sigmoid(gates) * gates * torch.mm(rows, self.up.weight.t())

    def forward(self, x):
        rows = x.reshape(-1, x.shape[-1])
        return torch.mm(self.features(rows), self.down.weight.t()).reshape(x.shape)


class Block(nn.Module):
    def __init__(self, dim, hidden, attention, eps=1e-6):
        super().__init__()
        self.mlp = SwiGLU(dim, hidden)
        self.attention = attention
        self.norm1, self.norm2 = RMSNorm(dim, eps), RMSNorm(dim, eps)

    def forward(self, x, **kwargs):
        h = self.attention(self.norm1(x), **kwargs) + x
        features = self.mlp.features(self.norm2(h).flatten(0, -2))
        return torch.addmm(h.flatten(0, -2), features, self.mlp.down.weight.t()).view(h.shape)
