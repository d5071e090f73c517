"""Einsum throughout, an additive mask of -finfo.max, and the answers of empty rows zeroed at the end."""

import torch
from torch import nn


def additive(mask, causal, scores):
    queries, keys = scores.shape[-2:]
    if mask is not None:
        if mask.dtype is not torch.bool:
            raise ValueError("boolean masks only")
        try:
            mask = mask.broadcast_to(scores.shape)
        except RuntimeError as error:
            raise ValueError("the mask does not broadcast") from error
    if causal:
        if queries > keys:
            raise ValueError("too many queries")
        i = torch.arange(queries, device=scores.device)[:, None] + keys - queries
        triangle = torch.arange(keys, device=scores.device) <= i
        mask = triangle if mask is None else torch.logical_and(mask, triangle)
    if mask is None:
        return 0.0, 1.0
    numbers = torch.zeros(mask.shape, dtype=scores.dtype, device=scores.device)
    numbers[~mask] = -torch.finfo(scores.dtype).max
    return numbers, mask.any(-1, keepdim=True)


def attention(q, k, v, mask=None, *, causal=False):
    scores = torch.einsum("...td,...sd->...ts", q / q.size(-1) ** 0.5, k)
    numbers, some = additive(mask, causal, scores)
    return torch.einsum("...ts,...sd->...td", torch.softmax(scores + numbers, dim=-1), v) * some


class CausalSelfAttention(nn.Module):
    def __init__(self, dim, heads, dropout=0.0):
        if heads <= 0 or dim % heads != 0:
            raise ValueError("bad number of heads")
        if not (dropout >= 0 and dropout < 1):
            raise ValueError("bad dropout")
        super().__init__()
        self.shape, self.p = (3, heads, dim // heads), dropout
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x, padding=None):
        q, k, v = self.qkv(x).unflatten(2, self.shape).unbind(2)
        scores = torch.einsum("bthd,bshd->bhts", q / q.shape[-1] ** 0.5, k)
        if padding is not None:
            if padding.dtype is not torch.bool or list(padding.shape) != list(x.shape[:2]):
                raise ValueError("bad padding")
            padding = padding[:, None, None, :]
        numbers, some = additive(padding, True, scores)
        weights = nn.functional.dropout((scores + numbers).softmax(-1) * some, self.p, self.training)
        return self.out(torch.einsum("bhts,bshd->bthd", weights, v).flatten(2))
