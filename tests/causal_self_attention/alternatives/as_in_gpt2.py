"""The usual code: three views and transposes, -inf by masked_fill, the softmax's NaN filled with 0 by the same mask."""

import math

import torch
import torch.nn.functional as F
from torch import nn


def weigh(q, k, mask, causal):
    T, S = q.size(-2), k.size(-2)
    att = (q / math.sqrt(q.size(-1))) @ k.transpose(-2, -1)
    hidden = torch.zeros(T, S, dtype=torch.bool, device=q.device)
    if causal:
        if T > S:
            raise ValueError(f"{T} queries, {S} keys")
        hidden = torch.triu(torch.ones(T, S, device=q.device), diagonal=S - T + 1).bool()
    if mask is not None:
        if mask.dtype != torch.bool:
            raise ValueError("mask must be boolean")
        try:
            fits = torch.broadcast_shapes(mask.shape, att.shape) == att.shape
        except RuntimeError:
            fits = False
        if not fits:
            raise ValueError(f"a mask {tuple(mask.shape)} for {tuple(att.shape)}")
        hidden = hidden | ~mask
    # NaN in an empty row; masked_fill's gradient is 0 all over such a row, so it goes no further.
    return F.softmax(att.masked_fill(hidden, float("-inf")), dim=-1).masked_fill(hidden, 0.0)


def attention(q, k, v, mask=None, *, causal=False):
    return weigh(q, k, mask, causal) @ v


class CausalSelfAttention(nn.Module):
    def __init__(self, dim, heads, dropout=0.0):
        super().__init__()
        if heads < 1:
            raise ValueError("no heads")
        if dim % heads:
            raise ValueError("dim must be divisible by heads")
        if math.isnan(dropout) or dropout < 0 or dropout >= 1:
            raise ValueError("dropout")
        self.dim, self.heads = dim, heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=True)
        self.out = nn.Linear(dim, dim, bias=True)
        self.attn_dropout = nn.Dropout(p=dropout)

    def forward(self, x, padding=None):
        B, T, C = x.size()
        if padding is not None:
            if padding.dtype != torch.bool or padding.size() != (B, T):
                raise ValueError("padding")
            padding = padding.view(B, 1, 1, T)
        q, k, v = self.qkv(x).split(self.dim, dim=2)
        q = q.view(B, T, self.heads, C // self.heads).transpose(1, 2)  # (B, nh, T, hs)
        k = k.view(B, T, self.heads, C // self.heads).transpose(1, 2)
        v = v.view(B, T, self.heads, C // self.heads).transpose(1, 2)
        y = self.attn_dropout(weigh(q, k, padding, True)) @ v  # (B, nh, T, T) x (B, nh, T, hs) -> (B, nh, T, hs)
        return self.out(y.transpose(1, 2).contiguous().view(B, T, C))
