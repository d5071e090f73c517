"""Heads folded into the batch: bmm, one mask for every matrix; a padded token is left to see itself, which is free."""

import torch
from torch import nn


def visible(mask, causal, shape, device):
    rows = torch.ones(shape, dtype=torch.bool, device=device)
    if mask is not None:
        padded = (1,) * (len(shape) - mask.dim()) + tuple(mask.shape)
        if mask.dtype != torch.bool or len(padded) > len(shape):
            raise ValueError("mask")
        if not all(a in (1, b) for a, b in zip(padded, shape, strict=True)):
            raise ValueError("mask")
        rows = rows & mask
    if causal:
        if shape[-2] > shape[-1]:
            raise ValueError("causal")
        rows = rows.tril(diagonal=shape[-1] - shape[-2])
    return rows


def weigh(q, k, rows):
    """q and k [matrices, tokens, d], rows [matrices, queries, keys]."""
    bias = torch.full(rows.shape, -torch.inf, dtype=q.dtype, device=q.device)
    bias[rows | ~rows.any(-1, keepdim=True)] = 0.0
    return torch.baddbmm(bias, q * q.shape[-1] ** -0.5, k.mT).softmax(2) * rows.any(-1, keepdim=True)


def attention(q, k, v, mask=None, *, causal=False):
    rows = visible(mask, causal, (*q.shape[:-1], k.shape[-2]), q.device).flatten(0, -3) if q.dim() > 2 else None
    if rows is None:
        rows = visible(mask, causal, (len(q), len(k)), q.device)[None]
    q_, k_, v_ = (t.reshape(-1, *t.shape[-2:]) for t in (q, k, v))
    return weigh(q_, k_, rows).bmm(v_).reshape(*q.shape[:-1], v.shape[-1])


class CausalSelfAttention(nn.Module):
    def __init__(self, dim, heads, dropout=0.0):
        super().__init__()
        if heads < 1 or dim // heads * heads != dim:
            raise ValueError("heads")
        if not 0 <= dropout < 1:
            raise ValueError("dropout")
        self.heads, self.drop = heads, nn.Dropout(dropout)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def fold(self, t):
        batch, n, _ = t.shape
        return t.reshape(batch, n, self.heads, -1).transpose(1, 2).reshape(batch * self.heads, n, -1)

    def forward(self, x, padding=None):
        batch, n, dim = x.shape
        if padding is None:
            padding = torch.ones(batch, n, dtype=torch.bool, device=x.device)
        if padding.dtype != torch.bool or padding.shape != (batch, n):
            raise ValueError("padding")
        rows = visible(padding[:, None], True, (batch, n, n), x.device) | torch.eye(
            n, dtype=torch.bool, device=x.device
        )
        q, k, v = map(self.fold, self.qkv(x).chunk(3, dim=-1))
        answers = self.drop(weigh(q, k, rows.repeat_interleave(self.heads, 0))).bmm(v)
        return self.out(answers.reshape(batch, self.heads, n, -1).transpose(1, 2).reshape(batch, n, dim))
