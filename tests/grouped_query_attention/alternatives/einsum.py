"""Einsum throughout, with the group as an axis of its own; pooling by a matrix that averages heads."""

import torch


def grouped_attention(q, k, v, *, causal=False):
    (b, h, t, d), (g, s) = q.shape, (k.shape[1], k.shape[2])
    if tuple(k.shape) != (b, g, s, d) or tuple(v.shape) != (b, g, s, d):
        raise ValueError(f"shapes: {q.shape}, {k.shape}, {v.shape}")
    if g < 1 or h // g * g != h:
        raise ValueError(f"{h} heads on {g}")
    if causal and t > s:
        raise ValueError(f"{t} queries, {s} keys")
    q = q.view(b, g, h // g, t, d) if q.is_contiguous() else q.unflatten(1, (g, h // g))
    scores = torch.einsum("bgrtd,bgsd->bgrts", q / d**0.5, k)
    if causal:
        i, j = torch.arange(t, device=q.device)[:, None], torch.arange(s, device=q.device)
        scores = torch.where(j <= i + s - t, scores, torch.finfo(scores.dtype).min)
    return torch.einsum("bgrts,bgsd->bgrtd", torch.softmax(scores, dim=-1), v).flatten(1, 2)


def pool_kv_heads(weight, heads, kv_heads):
    if heads < 1 or kv_heads < 1 or heads % kv_heads or weight.size(0) % heads:
        raise ValueError("cannot be pooled")
    share = torch.eye(kv_heads, dtype=weight.dtype, device=weight.device) * (kv_heads / heads)
    average = share.repeat_interleave(heads // kv_heads, dim=1)  # [kv_heads, heads]
    return torch.einsum("gh,hdi->gdi", average, weight.reshape(heads, -1, weight.size(1))).flatten(0, 1)


def kv_bytes_per_token(layers, kv_heads, head_dim, dtype_bytes=2):
    return sum(kv_heads * head_dim * dtype_bytes * 2 for _ in range(layers))
