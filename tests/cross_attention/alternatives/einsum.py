"""Einsum throughout, a mask value of -finfo.max, and the empty rows zeroed at the end."""

import torch
from torch import nn


class CrossAttention(nn.Module):
    def __init__(self, query_dim, context_dim, heads, head_dim):
        if min(heads, head_dim) < 1:
            raise ValueError("too few heads, or too narrow")
        super().__init__()
        self.shape = (heads, head_dim)
        self.to_q, self.to_k, self.to_v = (
            nn.Linear(width, heads * head_dim, bias=False) for width in (query_dim, context_dim, context_dim)
        )
        self.to_out = nn.Linear(heads * head_dim, query_dim)

    def forward(self, x, context=None, mask=None):
        if context is None:
            context = x
        if context.shape[-1] != self.to_k.in_features:
            raise ValueError("the context has the wrong width")
        q = self.to_q(x).unflatten(-1, self.shape) * self.shape[1] ** -0.5
        k = self.to_k(context).unflatten(-1, self.shape)
        v = self.to_v(context).unflatten(-1, self.shape)
        logits = torch.einsum("bqhd,bkhd->bhqk", q, k)
        if mask is None:
            return self.to_out(torch.einsum("bhqk,bkhd->bqhd", logits.softmax(-1), v).flatten(2))
        if mask.dtype != torch.bool or list(mask.shape) not in ([len(x), k.shape[1]], [*x.shape[:2], k.shape[1]]):
            raise ValueError("bad mask")
        if mask.ndim == 2:
            mask = mask[:, None].expand(-1, x.shape[1], -1)
        weights = logits.masked_fill(~mask[:, None], -torch.finfo(logits.dtype).max).softmax(-1)
        answers = torch.einsum("bhqk,bkhd->bqhd", weights, v).flatten(2)
        return self.to_out(answers * mask.any(-1)[..., None])
