"""Matrix products and softmaxes, views and permutes; new layers that start from the text's weights, as a warm start."""

import math

import torch
from torch import nn


class ImageProjection(nn.Module):
    def __init__(self, image_dim, context_dim, tokens):
        super().__init__()
        if tokens <= 0:
            raise ValueError("at least one token")
        self.shape = (tokens, context_dim)
        self.norm = nn.LayerNorm(context_dim)
        self.proj = nn.Linear(image_dim, tokens * context_dim)

    def forward(self, image_embedding):
        tokens = self.proj(image_embedding)
        return self.norm(tokens.reshape(-1, *self.shape))


class DecoupledCrossAttention(nn.Module):
    def __init__(self, query_dim, context_dim, heads, head_dim, scale=1.0):
        super().__init__()
        if heads <= 0 or head_dim <= 0:
            raise ValueError("heads and head_dim must be positive")
        self.heads, self.head_dim, self.scale = heads, head_dim, scale
        inner = heads * head_dim
        self.to_q = nn.Linear(query_dim, inner, bias=False)
        self.to_k = nn.Linear(context_dim, inner, bias=False)
        self.to_v = nn.Linear(context_dim, inner, bias=False)
        self.to_k_image = nn.Linear(context_dim, inner, bias=False)
        self.to_v_image = nn.Linear(context_dim, inner, bias=False)
        self.to_out = nn.Linear(inner, query_dim)
        self.to_k_image.load_state_dict(self.to_k.state_dict())
        self.to_v_image.load_state_dict(self.to_v.state_dict())
        for frozen in (self.to_q, self.to_k, self.to_v, self.to_out):
            for parameter in frozen.parameters():
                parameter.requires_grad = False

    def heads_first(self, t):
        batch, n, _ = t.shape
        return t.view(batch, n, self.heads, self.head_dim).permute(0, 2, 1, 3)

    def attend(self, q, k, v):
        q, k, v = self.heads_first(q), self.heads_first(k), self.heads_first(v)
        weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(self.head_dim), dim=-1)
        return (weights @ v).permute(0, 2, 1, 3).flatten(2)

    def forward(self, x, context, image_tokens):
        q = self.to_q(x)
        text = self.attend(q, self.to_k(context), self.to_v(context))
        image = self.attend(q, self.to_k_image(image_tokens), self.to_v_image(image_tokens))
        return self.to_out(text + image * self.scale)
