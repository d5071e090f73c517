"""torch's fused attention as plain multi-head attention of kv_heads heads: the queries of a group are more queries."""

import torch
import torch.nn.functional as F


def grouped_attention(q, k, v, *, causal=False):
    b, h, t, d = q.shape
    kvh, s = k.shape[1:3]
    if k.shape != v.shape or (k.shape[0], k.shape[3]) != (b, d):
        raise ValueError("shape")
    if kvh == 0 or h % kvh:
        raise ValueError("kv_heads")
    if t > s and causal:
        raise ValueError("causal")
    bias = None
    if causal:
        bias = torch.zeros(t, s, dtype=q.dtype, device=q.device)
        bias = bias.masked_fill(torch.ones_like(bias, dtype=torch.bool).triu(1 + s - t), -torch.inf).repeat(h // kvh, 1)
    return F.scaled_dot_product_attention(q.reshape(b, kvh, -1, d), k, v, attn_mask=bias).reshape(b, h, t, d)


def pool_kv_heads(weight, heads, kv_heads):
    if heads < 1 or kv_heads < 1 or heads % kv_heads or weight.shape[0] % heads:
        raise ValueError("heads")
    group = heads // kv_heads
    by_head = weight.unflatten(0, (heads, -1))  # [heads, head_dim, in]
    pooled = by_head[::group]
    for other in range(1, group):
        pooled = pooled + by_head[other::group]
    return (pooled / group).flatten(0, 1)


def kv_bytes_per_token(layers, kv_heads, head_dim, dtype_bytes=2):
    return dtype_bytes * head_dim * kv_heads * layers << 1
