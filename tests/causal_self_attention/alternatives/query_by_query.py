"""A loop over the queries, each with a safe softmax by hand over all keys; a beginner's way, and slow."""

import torch
from torch import nn


def answers_of(q, k, v, mask, causal, drop):
    queries, keys = q.shape[-2], k.shape[-2]
    shape = (*q.shape[:-1], keys)
    if causal and queries > keys:
        raise ValueError("causal attention needs at least as many keys as queries")
    if mask is None:
        mask = torch.ones(shape, dtype=torch.bool, device=q.device)
    if mask.dtype != torch.bool:
        raise ValueError("the mask is not boolean")
    try:
        mask = mask.expand(shape)
    except RuntimeError:
        raise ValueError("the mask has the wrong shape") from None
    answers = []
    for i in range(queries):
        visible = mask[..., i, :]
        if causal:
            visible = visible & (torch.arange(keys, device=q.device) <= i + keys - queries)
        query = q[..., i, :].unsqueeze(-1) / q.shape[-1] ** 0.5
        scores = torch.matmul(k, query).squeeze(-1)
        low = torch.finfo(scores.dtype).min
        highest = scores.masked_fill(~visible, low).max(-1, keepdim=True).values
        exps = torch.where(visible, scores - highest, float("-inf")).exp()
        total = exps.sum(-1, keepdim=True)
        weights = drop(exps / torch.where(total > 0, total, torch.ones_like(total)))
        answers.append(torch.matmul(weights.unsqueeze(-2), v).squeeze(-2))
    return torch.stack(answers, dim=-2)


def attention(q, k, v, mask=None, *, causal=False):
    return answers_of(q, k, v, mask, causal, lambda weights: weights)


class CausalSelfAttention(nn.Module):
    def __init__(self, dim, heads, dropout=0.0):
        super().__init__()
        if not (heads > 0 and dim % heads == 0):
            raise ValueError("heads must divide dim")
        if not (0.0 <= dropout < 1.0):
            raise ValueError("dropout must be a probability below 1")
        self.heads = heads
        self.head_dim = dim // heads
        self.qkv = nn.Linear(dim, dim * 3)
        self.out = nn.Linear(dim, dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, x, padding=None):
        batch, n, dim = x.shape
        mask = None
        if padding is not None:
            if padding.dtype != torch.bool:
                raise ValueError("padding is not boolean")
            if padding.shape != (batch, n):
                raise ValueError("padding is not [batch, n]")
            mask = padding.reshape(batch, 1, 1, n)
        q, k, v = torch.tensor_split(self.qkv(x), 3, dim=-1)
        split = [part.reshape(batch, n, self.heads, self.head_dim).permute(0, 2, 1, 3) for part in (q, k, v)]
        answers = answers_of(*split, mask, True, self.drop)
        return self.out(answers.permute(0, 2, 1, 3).reshape(batch, n, dim))
