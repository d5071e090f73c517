"""torch's fused attention with enable_gqa; its is_causal is aligned to the upper left, so the triangle is a mask."""

import torch
from torch.nn import functional as F


def grouped_attention(q, k, v, *, causal=False):
    if q.shape[0] != k.shape[0] or q.shape[3] != k.shape[3] or k.shape != v.shape:
        raise ValueError("the shapes of q, k and v do not agree")
    if k.shape[1] < 1 or q.shape[1] % k.shape[1] != 0:
        raise ValueError("the number of query heads must be a multiple of that of the KV heads")
    queries, keys = q.shape[2], k.shape[2]
    mask = None
    if causal:
        if queries > keys:
            raise ValueError("more queries than keys")
        mask = torch.tril(torch.ones(queries, keys, dtype=torch.bool, device=q.device), diagonal=keys - queries)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)


def pool_kv_heads(weight, heads, kv_heads):
    if heads <= 0 or kv_heads <= 0 or heads % kv_heads != 0 or weight.shape[0] % heads != 0:
        raise ValueError("heads")
    head_dim = weight.shape[0] // heads
    groups = weight.reshape(kv_heads, heads // kv_heads, head_dim, weight.shape[1])
    return groups.mean(dim=1).reshape(kv_heads * head_dim, weight.shape[1])


def kv_bytes_per_token(layers, kv_heads, head_dim, dtype_bytes=2):
    keys = values = layers * kv_heads * head_dim * dtype_bytes
    return keys + values
