"""A loop over the KV heads, each with the three-dimensional products of its group; heads are pooled in a loop, too."""

import math

import torch


def grouped_attention(q, k, v, *, causal=False):
    batch, heads, queries, dim = q.size()
    kv_heads, keys = k.size(1), k.size(2)
    if k.size() != v.size() or k.size(0) != batch or k.size(3) != dim:
        raise ValueError("q, k and v do not fit each other")
    if not kv_heads or heads % kv_heads > 0:
        raise ValueError("heads are no multiple of kv_heads")
    if causal and keys < queries:
        raise ValueError("too few keys")
    group = heads // kv_heads
    hidden = None
    if causal:
        hidden = ~torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril(keys - queries)
        hidden = hidden.repeat(group, 1)  # row r * queries + i is query i of head r
    parts = []
    for index in range(kv_heads):
        own = q[:, index * group : (index + 1) * group].flatten(1, 2) / math.sqrt(dim)  # [batch, group * queries, dim]
        scores = torch.bmm(own, k[:, index].mT)
        if hidden is not None:
            scores = scores.masked_fill(hidden, -math.inf)
        parts.append(torch.bmm(scores.softmax(dim=2), v[:, index]))
    return torch.stack(parts, 1).reshape(batch, heads, queries, dim)


def pool_kv_heads(weight, heads, kv_heads):
    if heads < 1 or kv_heads < 1:
        raise ValueError("no heads")
    if heads % kv_heads or weight.shape[0] % heads:
        raise ValueError("heads must be divisible by kv_heads, and rows by heads")
    group, rows = heads // kv_heads, weight.shape[0] // heads
    blocks = weight.split(rows)
    pooled = [torch.stack(blocks[first : first + group]).mean(0) for first in range(0, heads, group)]
    return torch.cat(pooled)


def kv_bytes_per_token(layers, kv_heads, head_dim, dtype_bytes=2):
    return layers * (kv_heads * head_dim + kv_heads * head_dim) * dtype_bytes
