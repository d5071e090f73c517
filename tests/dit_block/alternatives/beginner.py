"""Step by step: a norm written out, one part of the modulation after the other, q, k and v by slices, a softmax by hand."""

import math

import torch
import torch.nn as nn


class DiTBlock(nn.Module):
    def __init__(self, dim, heads, mlp_ratio=4.0):
        super().__init__()
        if dim < 1 or heads < 1:
            raise ValueError("dim and heads must be at least 1")
        if dim % heads != 0:
            raise ValueError("dim must be divisible by heads")
        hidden = math.floor(dim * mlp_ratio)
        if hidden < 1:
            raise ValueError("the hidden size must be at least 1")
        self.dim = dim
        self.heads = heads
        self.head_dim = dim // heads
        self.qkv = nn.Linear(dim, dim * 3)
        self.proj = nn.Linear(dim, dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.act = nn.GELU(approximate="tanh")
        self.silu = nn.SiLU()
        self.modulation = nn.Linear(dim, dim * 6)
        nn.init.constant_(self.modulation.weight, 0)
        nn.init.constant_(self.modulation.bias, 0)

    def norm(self, x):
        dtype = x.dtype
        if dtype in (torch.float16, torch.bfloat16):
            x = x.float()
        mean = x.mean(dim=-1, keepdim=True)
        variance = ((x - mean) ** 2).mean(dim=-1, keepdim=True)
        return ((x - mean) / torch.sqrt(variance + 1e-6)).to(dtype)

    def attention(self, x):
        batch, tokens, dim = x.shape
        qkv = self.qkv(x)
        q = qkv[:, :, :dim].reshape(batch, tokens, self.heads, self.head_dim).transpose(1, 2)
        k = qkv[:, :, dim : 2 * dim].reshape(batch, tokens, self.heads, self.head_dim).transpose(1, 2)
        v = qkv[:, :, 2 * dim :].reshape(batch, tokens, self.heads, self.head_dim).transpose(1, 2)
        scores = (q / math.sqrt(self.head_dim)) @ k.transpose(-2, -1)
        weights = torch.softmax(scores, dim=-1)
        out = (weights @ v).transpose(1, 2).reshape(batch, tokens, dim)
        return self.proj(out)

    def forward(self, x, c):
        d = self.dim
        m = self.modulation(self.silu(c))
        m = m.unsqueeze(1)
        shift1, scale1, gate1 = m[:, :, :d], m[:, :, d : 2 * d], m[:, :, 2 * d : 3 * d]
        shift2, scale2, gate2 = m[:, :, 3 * d : 4 * d], m[:, :, 4 * d : 5 * d], m[:, :, 5 * d :]
        y = self.norm(x) * (1 + scale1) + shift1
        x = x + gate1 * self.attention(y)
        y = self.norm(x) * (1 + scale2) + shift2
        y = self.fc2(self.act(self.fc1(y)))
        x = x + gate2 * y
        return x


class FinalLayer(nn.Module):
    def __init__(self, dim, patch_size, out_channels):
        super().__init__()
        if dim < 1:
            raise ValueError("dim must be at least 1")
        if patch_size < 1:
            raise ValueError("patch_size must be at least 1")
        if out_channels < 1:
            raise ValueError("out_channels must be at least 1")
        self.norm = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.linear = nn.Linear(dim, patch_size * patch_size * out_channels)
        self.modulation = nn.Linear(dim, dim * 2)
        for layer in (self.linear, self.modulation):
            layer.weight.data.fill_(0)
            layer.bias.data.fill_(0)

    def forward(self, x, c):
        shift, scale = torch.split(self.modulation(nn.functional.silu(c)), x.shape[-1], dim=1)
        x = self.norm(x) * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)
        return self.linear(x)
