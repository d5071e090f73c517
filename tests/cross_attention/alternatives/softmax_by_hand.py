"""Matrix products and a softmax with -inf; the weights of masked tokens are set to zero once more after it."""

import math

import torch
from torch import nn


class CrossAttention(nn.Module):
    def __init__(self, query_dim, context_dim, heads, head_dim):
        super().__init__()
        if heads <= 0 or head_dim <= 0:
            raise ValueError("heads and head_dim must be positive")
        self.heads, self.head_dim = heads, head_dim
        self.self_attention_possible = query_dim == context_dim
        self.to_q = nn.Linear(query_dim, heads * head_dim, bias=False)
        self.to_k = nn.Linear(context_dim, heads * head_dim, bias=False)
        self.to_v = nn.Linear(context_dim, heads * head_dim, bias=False)
        self.to_out = nn.Linear(heads * head_dim, query_dim, bias=True)

    def split(self, tokens):
        batch, n, _ = tokens.shape
        return tokens.view(batch, n, self.heads, self.head_dim).permute(0, 2, 1, 3)

    def forward(self, x, context=None, mask=None):
        if context is None:
            if not self.self_attention_possible:
                raise ValueError("a context is needed")
            context = x
        batch, queries, _ = x.shape
        keys = context.size(1)
        q, k, v = self.split(self.to_q(x)), self.split(self.to_k(context)), self.split(self.to_v(context))
        logits = torch.matmul(q, k.transpose(-2, -1)) / math.sqrt(self.head_dim)
        if mask is not None:
            if mask.dtype is not torch.bool:
                raise ValueError("the mask must be boolean")
            if tuple(mask.shape) == (batch, keys):
                mask = mask.view(batch, 1, 1, keys)
            elif tuple(mask.shape) == (batch, queries, keys):
                mask = mask.view(batch, 1, queries, keys)
            else:
                raise ValueError("the mask has the wrong shape")
            logits = logits.masked_fill(mask.logical_not(), float("-inf"))
        weights = torch.softmax(logits, dim=-1)
        if mask is not None:
            # NaN in the rows without a token; masked_fill's gradient is zero all over such a row, so it stays there.
            weights = weights.masked_fill(mask.logical_not(), 0.0)
        answers = torch.matmul(weights, v)
        answers = answers.permute(0, 2, 1, 3).contiguous().view(batch, queries, -1)
        return self.to_out(answers)
