"""Einsums, everything inside in float32 or better, and the modulation as a tensor of [batch, 2, 3, dim]."""

import torch
from torch import nn


def wide(x):
    return x.to(torch.promote_types(x.dtype, torch.float32))


def linear(layer, x):
    return torch.einsum("...i,oi->...o", x, wide(layer.weight)) + wide(layer.bias)


def normed(x):
    centred = x - x.mean(-1, keepdim=True)
    return centred * (centred.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt()


def modulation(layer, c, *sizes):
    c = wide(c)
    return linear(layer, c * c.sigmoid()).unflatten(-1, (*sizes, c.shape[-1]))


class DiTBlock(nn.Module):
    def __init__(self, dim, heads, mlp_ratio=4.0):
        super().__init__()
        if heads < 1 or dim < 1 or dim % heads:
            raise ValueError(f"{dim} features do not make {heads} heads")
        hidden = int(dim * mlp_ratio)
        if hidden < 1:
            raise ValueError(f"mlp_ratio {mlp_ratio} leaves no hidden features")
        self.heads = heads
        for name, inputs, outputs in (
            ("qkv", dim, 3 * dim),
            ("proj", dim, dim),
            ("fc1", dim, hidden),
            ("fc2", hidden, dim),
        ):
            layer = nn.Linear(inputs, outputs)
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
            setattr(self, name, layer)
        self.modulation = nn.Linear(dim, 6 * dim)
        self.modulation.requires_grad_(False).weight.zero_()
        self.modulation.bias.zero_()
        self.requires_grad_(True)

    def attention(self, x):
        q, k, v = linear(self.qkv, x).unflatten(-1, (3, self.heads, -1)).unbind(-3)
        scores = torch.einsum("bqhd,bkhd->bhqk", q * q.shape[-1] ** -0.5, k)
        return linear(self.proj, torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v).flatten(-2))

    def mlp(self, x):
        return linear(self.fc2, nn.functional.gelu(linear(self.fc1, x), approximate="tanh"))

    def forward(self, x, c):
        y = wide(x)
        for branch, own in zip((self.attention, self.mlp), modulation(self.modulation, c, 2, 3).unbind(1), strict=True):
            shift, scale, gate = own.unsqueeze(2).unbind(1)
            y = y + gate * branch(normed(y) * (1 + scale) + shift)
        return y.to(x.dtype)


class FinalLayer(nn.Module):
    def __init__(self, dim, patch_size, out_channels):
        super().__init__()
        if min(dim, patch_size, out_channels) < 1:
            raise ValueError("sizes are at least 1")
        self.linear = nn.Linear(dim, out_channels * patch_size**2)
        self.modulation = nn.Linear(dim, 2 * dim)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()

    def forward(self, x, c):
        own = modulation(self.modulation, c, 2)
        z = torch.einsum("btd,bd->btd", normed(wide(x)), 1 + own[:, 1]) + own[:, :1]
        return linear(self.linear, z).to(x.dtype)
