"""Heads folded into the batch, baddbmm with an additive mask; keys and values come out of one product."""

import torch
from torch import nn
from torch.nn import functional as F


class CrossAttention(nn.Module):
    def __init__(self, query_dim, context_dim, heads, head_dim):
        super().__init__()
        if heads < 1 or head_dim < 1:
            raise ValueError("heads and head_dim start at 1")
        self.heads, self.scale = heads, head_dim**-0.5
        self.to_q = nn.Linear(query_dim, heads * head_dim, bias=False)
        self.to_k = nn.Linear(context_dim, heads * head_dim, bias=False)
        self.to_v = nn.Linear(context_dim, heads * head_dim, bias=False)
        self.to_out = nn.Linear(heads * head_dim, query_dim)

    def fold(self, t):
        batch, n, inner = t.shape
        return t.reshape(batch, n, self.heads, inner // self.heads).transpose(1, 2).reshape(batch * self.heads, n, -1)

    def forward(self, x, context=None, mask=None):
        if context is None:
            context = x
            if self.to_q.in_features != self.to_k.in_features:
                raise ValueError("x is too wide or too narrow to be the context")
        batch, queries, keys = len(x), x.shape[1], context.shape[1]
        both = F.linear(context, torch.cat([self.to_k.weight, self.to_v.weight]))
        k, v = (self.fold(t) for t in both.chunk(2, dim=-1))
        q = self.fold(self.to_q(x))
        allowed = torch.ones(batch, queries, keys, dtype=torch.bool, device=x.device)
        if mask is not None:
            if mask.dtype != torch.bool or (*mask.shape,) not in {(batch, keys), (batch, queries, keys)}:
                raise ValueError("mask: bool [batch, keys] or [batch, queries, keys]")
            allowed = allowed & mask.reshape(batch, -1, keys)
        empty = ~allowed.any(-1, keepdim=True)
        additive = torch.zeros(allowed.shape, dtype=x.dtype, device=x.device)
        additive = additive.masked_fill(~(allowed | empty), -torch.inf).repeat_interleave(self.heads, 0)
        weights = torch.baddbmm(additive, q, k.mT, alpha=self.scale).softmax(-1)
        answers = weights.bmm(v).reshape(batch, self.heads, queries, -1) * (~empty)[:, None]
        return self.to_out(answers.transpose(1, 2).reshape(batch, queries, -1))
