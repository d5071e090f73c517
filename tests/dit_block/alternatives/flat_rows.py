"""Rows flattened to a matrix, addmm and bmm, a softmax by logsumexp, the variance as a mean of squares of the centred rows, and
modulation repeated for each token after it has been computed."""

import torch
from torch import nn
from torch.nn import functional as F


def standardised(rows):
    exact = rows.double() if rows.dtype == torch.float64 else rows.float()
    variance, mean = torch.var_mean(exact, dim=1, correction=0, keepdim=True)
    return ((exact - mean) / variance.add(1e-6).sqrt()).type_as(rows)


def affine(layer, rows):
    return torch.addmm(layer.bias, rows, layer.weight.t())


def modulate(rows, shift, scale):
    return standardised(rows).mul(scale.add(1)).add(shift)


def for_each_token(layer, c, tokens):
    return affine(layer, F.silu(c)).repeat_interleave(tokens, dim=0).split(c.shape[1], dim=1)


class DiTBlock(nn.Module):
    def __init__(self, dim, heads, mlp_ratio=4.0):
        super().__init__()
        if min(dim, heads, int(mlp_ratio * dim)) < 1:
            raise ValueError("too small")
        if dim % heads > 0:
            raise ValueError("heads must divide dim")
        self.heads, self.head_dim = heads, dim // heads
        self.fc2 = nn.Linear(int(mlp_ratio * dim), dim)
        self.fc1 = nn.Linear(dim, int(mlp_ratio * dim))
        self.proj = nn.Linear(dim, dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.modulation = nn.Linear(dim, 6 * dim)
        nn.init.zeros_(self.modulation.weight), nn.init.zeros_(self.modulation.bias)

    def forward(self, x, c):
        batch, tokens, dim = x.shape
        rows = x.reshape(-1, dim)
        shift1, scale1, gate1, shift2, scale2, gate2 = for_each_token(self.modulation, c, tokens)
        qkv = affine(self.qkv, modulate(rows, shift1, scale1)).view(batch, tokens, 3, self.heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).reshape(3, batch * self.heads, tokens, self.head_dim)
        scores = torch.bmm(q * self.head_dim**-0.5, k.transpose(1, 2))
        weights = (scores - scores.logsumexp(2, keepdim=True)).exp()
        mixed = torch.bmm(weights, v).view(batch, self.heads, tokens, self.head_dim).transpose(1, 2)
        rows = rows + gate1 * affine(self.proj, mixed.reshape(-1, dim))
        hidden = F.gelu(affine(self.fc1, modulate(rows, shift2, scale2)), approximate="tanh")
        return (rows + gate2 * affine(self.fc2, hidden)).view(batch, tokens, dim)


class FinalLayer(nn.Module):
    def __init__(self, dim, patch_size, out_channels):
        super().__init__()
        if min(dim, patch_size, out_channels) < 1:
            raise ValueError("too small")
        self.linear = nn.Linear(dim, patch_size * patch_size * out_channels)
        self.modulation = nn.Linear(dim, 2 * dim)
        for layer in (self.linear, self.modulation):
            nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)

    def forward(self, x, c):
        batch, tokens, dim = x.shape
        shift, scale = for_each_token(self.modulation, c, tokens)
        return affine(self.linear, modulate(x.reshape(-1, dim), shift, scale)).view(batch, tokens, -1)
