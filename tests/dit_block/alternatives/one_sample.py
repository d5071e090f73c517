"""One sample without batch or heads dimensions, mapped over the batch by torch.vmap; layer_norm takes 1 + scale and shift as
its weight and bias, so that norm and modulation are one call."""

import torch
from torch import nn
from torch.nn import functional as F


def norm_of(x, shift, scale):
    if x.dtype in (torch.float16, torch.bfloat16):
        return F.layer_norm(x.float(), x.shape[-1:], 1 + scale.float(), shift.float(), 1e-6).to(x.dtype)
    return F.layer_norm(x, x.shape[-1:], 1 + scale, shift, 1e-6)


def linear_of(size, outputs, start):
    layer = nn.Linear(size, outputs)
    layer.weight = nn.Parameter(start(outputs, size))
    layer.bias = nn.Parameter(torch.zeros(outputs))
    return layer


def narrow_normal(*shape):
    return 0.02 * torch.randn(*shape)


class DiTBlock(nn.Module):
    def __init__(self, dim, heads, mlp_ratio=4.0):
        super().__init__()
        if dim <= 0 or heads <= 0 or dim // heads * heads != dim or int(mlp_ratio * dim) <= 0:
            raise ValueError("dim must be a positive multiple of heads, and the mlp not empty")
        self.size = heads, dim // heads
        self.modulation = linear_of(dim, 6 * dim, torch.zeros)
        self.qkv = linear_of(dim, 3 * dim, narrow_normal)
        self.proj = linear_of(dim, dim, narrow_normal)
        self.fc1 = linear_of(dim, int(mlp_ratio * dim), narrow_normal)
        self.fc2 = linear_of(int(mlp_ratio * dim), dim, narrow_normal)

    def attention(self, x):
        q, k, v = (part.unflatten(-1, self.size).movedim(-2, 0) for part in self.qkv(x).tensor_split(3, -1))
        scores = q.mul(self.size[1] ** -0.25) @ k.mul(self.size[1] ** -0.25).mT
        return self.proj((scores.softmax(-1) @ v).movedim(0, -2).flatten(-2))

    def one(self, x, c):
        a, b, g, d, e, h = self.modulation(F.silu(c)).reshape(6, -1)
        x = x + g * self.attention(norm_of(x, a, b))
        return x + h * self.fc2(F.gelu(self.fc1(norm_of(x, d, e)), approximate="tanh"))

    def forward(self, x, c):
        return torch.vmap(self.one)(x, c)


class FinalLayer(nn.Module):
    def __init__(self, dim, patch_size, out_channels):
        super().__init__()
        if dim <= 0 or patch_size <= 0 or out_channels <= 0:
            raise ValueError("sizes must be positive")
        self.modulation = linear_of(dim, 2 * dim, torch.zeros)
        self.linear = linear_of(dim, patch_size**2 * out_channels, torch.zeros)

    def forward(self, x, c):
        return torch.vmap(lambda x, c: self.linear(norm_of(x, *self.modulation(F.silu(c)).reshape(2, -1))))(x, c)
