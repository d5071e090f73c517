"""One product of the queries with all keys, split into two softmaxes, and one product with all values."""

import torch
from torch import nn


class ImageProjection(nn.Module):
    def __init__(self, image_dim, context_dim, tokens):
        super().__init__()
        if not tokens >= 1:
            raise ValueError(f"tokens={tokens}")
        self.proj = nn.Linear(image_dim, tokens * context_dim)
        self.norm = nn.LayerNorm(context_dim)
        self.cut = nn.Unflatten(-1, (tokens, context_dim))

    def forward(self, image_embedding):
        return self.norm(self.cut(self.proj(image_embedding)))


class DecoupledCrossAttention(nn.Module):
    def __init__(self, query_dim, context_dim, heads, head_dim, scale=1.0):
        super().__init__()
        if not (heads >= 1 and head_dim >= 1):
            raise ValueError(f"heads={heads}, head_dim={head_dim}")
        self.heads, self.root, self.scale = heads, head_dim**0.5, scale
        sizes = (context_dim, heads * head_dim)
        self.to_q, self.to_out = nn.Linear(query_dim, sizes[1], bias=False), nn.Linear(sizes[1], query_dim)
        self.to_k, self.to_v, self.to_k_image, self.to_v_image = (nn.Linear(*sizes, bias=False) for _ in range(4))
        for layer in (self.to_q, self.to_k, self.to_v, self.to_out):
            layer.requires_grad_(False)

    def split(self, t):
        return t.reshape(*t.shape[:2], self.heads, -1).movedim(2, 1)

    def forward(self, x, context, image_tokens):
        q = self.split(self.to_q(x))
        k = self.split(torch.cat([self.to_k(context), self.to_k_image(image_tokens)], 1))
        v = self.split(torch.cat([self.to_v(context), self.to_v_image(image_tokens)], 1))
        logits = q @ k.mT / self.root
        text, image = logits.split([context.shape[1], image_tokens.shape[1]], -1)
        weights = torch.cat([text.softmax(-1), self.scale * image.softmax(-1)], -1)
        return self.to_out((weights @ v).movedim(1, 2).flatten(2))
