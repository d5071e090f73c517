"""Einsum throughout; the image's half is left out at scale 0, and the scale multiplies the values."""

import torch
from torch import nn


class ImageProjection(nn.Module):
    def __init__(self, image_dim, context_dim, tokens):
        if tokens < 1:
            raise ValueError("tokens < 1")
        super().__init__()
        self.proj = nn.Linear(image_dim, context_dim * tokens)
        self.norm = nn.LayerNorm((context_dim,))

    def forward(self, image_embedding):
        width = self.norm.normalized_shape[0]
        return self.norm(torch.stack(self.proj(image_embedding).split(width, dim=-1), dim=1))


class DecoupledCrossAttention(nn.Module):
    def __init__(self, query_dim, context_dim, heads, head_dim, scale=1.0):
        if min(heads, head_dim) < 1:
            raise ValueError("too few heads, or too narrow")
        super().__init__()
        self.shape, self.scale = (heads, head_dim), scale
        widths = {"to_q": query_dim, "to_k": context_dim, "to_v": context_dim}
        for name, width in widths.items():
            setattr(self, name, nn.Linear(width, heads * head_dim, bias=False).requires_grad_(False))
        self.to_out = nn.Linear(heads * head_dim, query_dim).requires_grad_(False)
        for name in ("to_k_image", "to_v_image"):
            setattr(self, name, nn.Linear(context_dim, heads * head_dim, bias=False))

    def half(self, q, k, v):
        weights = torch.einsum("bqhd,bkhd->bhqk", q, k.unflatten(-1, self.shape)).softmax(-1)
        return torch.einsum("bhqk,bkhd->bqhd", weights, v.unflatten(-1, self.shape))

    def forward(self, x, context, image_tokens):
        q = self.to_q(x).unflatten(-1, self.shape) * self.shape[1] ** -0.5
        answers = self.half(q, self.to_k(context), self.to_v(context))
        if self.scale != 0:
            answers = answers + self.half(q, self.to_k_image(image_tokens), self.scale * self.to_v_image(image_tokens))
        return self.to_out(answers.flatten(2))
