"""A key and a value of zeros are appended, which only queries with nothing to see may see: their answer is zero. The
projection is three products with the thirds of qkv's weight; the layer calls attention with dropout inside."""

import torch
import torch.nn.functional as F
from torch import nn


def attention(q, k, v, mask=None, *, causal=False, p=0.0):
    queries, keys = q.shape[-2], k.shape[-2]
    if causal and keys < queries:
        raise ValueError("too few keys")
    seen = torch.ones(queries, keys, dtype=torch.bool, device=q.device)
    if causal:
        seen = torch.ones(keys, keys, dtype=torch.bool, device=q.device).tril()[keys - queries :]
    if mask is not None:
        full = [*q.shape[:-1], keys]
        ok = mask.dtype == torch.bool and mask.dim() <= len(full)
        if not ok or any(m != 1 and m != n for m, n in zip(reversed(mask.shape), reversed(full), strict=False)):
            raise ValueError("wrong mask")
        seen = seen & mask
    seen = torch.cat([seen, ~seen.any(-1, keepdim=True)], -1)
    k, v = F.pad(k, (0, 0, 0, 1)), F.pad(v, (0, 0, 0, 1))
    root = q.shape[-1] ** -0.25
    scores = torch.where(seen, (q * root) @ (k * root).mT, -torch.inf)
    return F.dropout(scores.log_softmax(-1).exp(), p) @ v


class CausalSelfAttention(nn.Module):
    def __init__(self, dim, heads, dropout=0.0):
        super().__init__()
        if not heads >= 1 or dim % heads > 0:
            raise ValueError("heads")
        if not 0 <= dropout < 1:
            raise ValueError("dropout")
        self.heads, self.p = heads, dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x, padding=None):
        if padding is not None and (padding.dtype != torch.bool or padding.shape != x.shape[:2]):
            raise ValueError("padding")
        q, k, v = (
            F.linear(x, weight, bias).reshape(*x.shape[:2], self.heads, -1).swapaxes(1, 2)
            for weight, bias in zip(self.qkv.weight.chunk(3), self.qkv.bias.chunk(3), strict=True)
        )
        mask = None if padding is None else padding[:, None, None]
        answers = attention(q, k, v, mask, causal=True, p=self.p if self.training else 0.0)
        return self.out(answers.swapaxes(1, 2).reshape(x.shape))
