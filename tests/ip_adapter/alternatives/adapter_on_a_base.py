"""The image's half as an adapter beside a plain cross-attention: inheritance, and a frozen parent."""

import torch.nn.functional as F
from torch import nn


class ImageProjection(nn.Module):
    def __init__(self, image_dim, context_dim, tokens):
        super().__init__()
        if tokens < 1:
            raise ValueError("tokens must be 1 or more")
        self.proj = nn.Linear(image_dim, tokens * context_dim)
        self.norm = nn.LayerNorm(context_dim)

    def forward(self, image_embedding):
        flat = self.proj(image_embedding)
        return F.layer_norm(
            flat.view(len(flat), -1, *self.norm.normalized_shape),
            self.norm.normalized_shape,
            self.norm.weight,
            self.norm.bias,
            self.norm.eps,
        )


class Attention(nn.Module):
    def __init__(self, query_dim, context_dim, heads, head_dim):
        super().__init__()
        if heads < 1 or head_dim < 1:
            raise ValueError("heads and head_dim must be 1 or more")
        self.heads = heads
        self.to_q = nn.Linear(query_dim, heads * head_dim, bias=False)
        self.to_k = nn.Linear(context_dim, heads * head_dim, bias=False)
        self.to_v = nn.Linear(context_dim, heads * head_dim, bias=False)
        self.to_out = nn.Linear(heads * head_dim, query_dim)

    def answers(self, q, k, v):
        q, k, v = (t.unflatten(2, (self.heads, t.shape[2] // self.heads)).transpose(1, 2) for t in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class DecoupledCrossAttention(Attention):
    def __init__(self, query_dim, context_dim, heads, head_dim, scale=1.0):
        super().__init__(query_dim, context_dim, heads, head_dim)
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        self.to_k_image = nn.Linear(context_dim, heads * head_dim, bias=False)
        self.to_v_image = nn.Linear(context_dim, heads * head_dim, bias=False)
        self.scale = scale

    def forward(self, x, context, image_tokens):
        q = self.to_q(x)
        text = self.answers(q, self.to_k(context), self.to_v(context))
        image = self.answers(q, self.to_k_image(image_tokens), self.to_v_image(image_tokens))
        return self.to_out(text.add(image, alpha=self.scale))
