"""A token of zeros is appended, which only queries with nothing to attend may see: their answer is its value, zero."""

import torch
from torch import nn
from torch.nn import functional as F


class CrossAttention(nn.Module):
    def __init__(self, query_dim, context_dim, heads, head_dim):
        super().__init__()
        if not (heads >= 1 and head_dim >= 1):
            raise ValueError(f"heads={heads}, head_dim={head_dim}")
        self.heads = heads
        for name, width in (("q", query_dim), ("k", context_dim), ("v", context_dim)):
            setattr(self, f"to_{name}", nn.Linear(width, heads * head_dim, bias=False))
        self.to_out = nn.Linear(heads * head_dim, query_dim)

    def forward(self, x, context=None, mask=None):
        if context is None and x.shape[-1] != self.to_k.weight.shape[1]:
            raise ValueError("self-attention needs equal widths")
        context = x if context is None else context
        batch, queries, keys = x.shape[0], x.shape[1], context.shape[1]
        if mask is not None:
            if mask.dtype != torch.bool or mask.shape not in ((batch, keys), (batch, queries, keys)):
                raise ValueError("the mask is not boolean, or has another shape")
            mask = mask if mask.dim() == 3 else mask[:, None, :]
            mask = torch.cat([mask, ~mask.any(-1, keepdim=True)], -1)[:, None]
            context = F.pad(context, (0, 0, 0, 1))
        q, k, v = (
            projected.reshape(batch, -1, self.heads, projected.shape[-1] // self.heads).movedim(2, 1)
            for projected in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        answers = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.to_out(answers.movedim(1, 2).reshape(batch, queries, -1))
