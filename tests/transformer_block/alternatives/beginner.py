"""Step by step, with a name for each of them, integers by a loop, and a norm that divides by a root."""

import torch
import torch.nn as nn


def swiglu_hidden(dim, *, multiple_of=256, multiplier=None):
    if dim < 1:
        raise ValueError("dim must be at least 1")
    if multiple_of < 1:
        raise ValueError("multiple_of must be at least 1")
    hidden = int(dim * 8 / 3)
    if multiplier is not None:
        if not multiplier > 0:
            raise ValueError("multiplier must be positive")
        hidden = int(hidden * multiplier)
    while hidden % multiple_of != 0:
        hidden += 1
    return hidden


class SwiGLU(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        if dim < 1 or hidden < 1:
            raise ValueError("dim and hidden must be at least 1")
        self.gate = nn.Linear(dim, hidden, bias=False)
        self.up = nn.Linear(dim, hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)
        self.activation = nn.SiLU()

    def forward(self, x):
        gate = self.gate(x)
        gate = self.activation(gate)
        up = self.up(x)
        product = gate * up
        return self.down(product)


class MyNorm(nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):
        dtype = x.dtype
        if dtype == torch.float16 or dtype == torch.bfloat16:
            x = x.to(torch.float32)
        mean = torch.mean(x * x, dim=-1, keepdim=True)
        x = x / torch.sqrt(mean + self.eps)
        return (x * self.weight).to(dtype)


class Block(nn.Module):
    def __init__(self, dim, hidden, attention, eps=1e-6):
        super().__init__()
        self.mlp = SwiGLU(dim, hidden)  # it checks the sizes
        self.norm1 = MyNorm(dim, eps)
        self.norm2 = MyNorm(dim, eps)
        self.attention = attention

    def forward(self, x, **kwargs):
        residual = x
        y = self.norm1(x)
        y = self.attention(y, **kwargs)
        x = residual + y
        residual = x
        y = self.norm2(x)
        y = self.mlp(y)
        return residual + y
