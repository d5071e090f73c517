"""As Meta wrote it: a norm of one's own that rounds before it multiplies by its weight, int(2 * 4 dim / 3), h and out."""

import torch
import torch.nn.functional as F
from torch import nn


def swiglu_hidden(dim, *, multiple_of=256, multiplier=None):
    if dim < 1 or multiple_of < 1 or (multiplier is not None and not multiplier > 0):
        raise ValueError((dim, multiple_of, multiplier))
    hidden_dim = 4 * dim
    hidden_dim = int(2 * hidden_dim / 3)
    if multiplier is not None:
        hidden_dim = int(multiplier * hidden_dim)
    return multiple_of * ((hidden_dim + multiple_of - 1) // multiple_of)


class RMSNorm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def _norm(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)

    def forward(self, x):
        wide = x.double() if x.dtype == torch.float64 else x.float()
        return self._norm(wide).type_as(x) * self.weight


class SwiGLU(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        if min(dim, hidden) < 1:
            raise ValueError("sizes")
        self.gate = nn.Linear(dim, hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)
        self.up = nn.Linear(dim, hidden, bias=False)

    def forward(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    def __init__(self, dim, hidden, attention, eps=1e-6):
        super().__init__()
        self.attention = attention
        self.mlp = SwiGLU(dim, hidden)
        self.norm1 = RMSNorm(dim, eps)
        self.norm2 = RMSNorm(dim, eps)

    def forward(self, x, **kwargs):
        h = x + self.attention(self.norm1(x), **kwargs)
        out = h + self.mlp(self.norm2(h))
        return out
