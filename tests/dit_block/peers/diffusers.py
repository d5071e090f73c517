"""diffusers' AdaLayerNormZero, Attention and FeedForward for the block, and AdaLayerNormContinuous, whose linear layer gives the
scale first, for the final one. They have other names: they borrow the linear layers, and start at nothing by themselves."""

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention, FusedAttnProcessor2_0
from diffusers.models.normalization import AdaLayerNormContinuous, AdaLayerNormZero
from torch import nn


def zeroed(*layers):
    with torch.no_grad():
        for layer in layers:
            layer.weight.zero_()
            layer.bias.zero_()


class DiTBlock(nn.Module):
    def __init__(self, dim, heads, mlp_ratio=4.0):
        super().__init__()
        hidden = int(mlp_ratio * dim)
        if min(dim, heads, hidden) < 1 or dim % heads:
            raise ValueError("sizes")
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.modulation = nn.Linear(dim, 6 * dim)
        zeroed(self.modulation)
        norm = AdaLayerNormZero(dim)
        norm.linear = self.modulation
        attention = Attention(dim, heads=heads, dim_head=dim // heads, processor=FusedAttnProcessor2_0())
        attention.to_qkv, attention.to_out[0] = self.qkv, self.proj
        mlp = FeedForward(dim, inner_dim=hidden, activation_fn="gelu-approximate")
        mlp.net[0].proj, mlp.net[2] = self.fc1, self.fc2
        self.parts = (norm, attention, mlp)  # in a tuple, so that no parameter is counted twice

    def forward(self, x, c):
        norm, attention, mlp = self.parts
        z, gate1, shift2, scale2, gate2 = norm(x, emb=c)
        x = x + gate1[:, None] * attention(z)
        z = norm.norm(x) * (1 + scale2[:, None]) + shift2[:, None]
        return x + gate2[:, None] * mlp(z)


class ScaleFirst(nn.Module):
    def __init__(self, linear):
        super().__init__()
        self.linear = linear

    def forward(self, c):
        return self.linear(c).roll(self.linear.out_features // 2, -1)


class FinalLayer(nn.Module):
    def __init__(self, dim, patch_size, out_channels):
        super().__init__()
        if min(dim, patch_size, out_channels) < 1:
            raise ValueError("sizes")
        self.linear, self.modulation = nn.Linear(dim, patch_size**2 * out_channels), nn.Linear(dim, 2 * dim)
        zeroed(self.linear, self.modulation)
        norm = AdaLayerNormContinuous(dim, dim, elementwise_affine=False, eps=1e-6)
        norm.linear = ScaleFirst(self.modulation)
        self.parts = (norm,)

    def forward(self, x, c):
        return self.linear(self.parts[0](x, c))
