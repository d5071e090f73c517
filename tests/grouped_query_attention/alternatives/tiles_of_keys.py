"""Goes through the keys in tiles, with a running maximum and a running sum for each row, as fused kernels do.

Both are float32 at least, and so is the answer until the end; the products are in the inputs' dtype."""

import torch

TILE = 64


def grouped_attention(q, k, v, *, causal=False):
    batch, heads, queries, dim = q.shape
    kv_heads, keys = k.shape[1], k.shape[2]
    if k.shape != (batch, kv_heads, keys, dim) or v.shape != k.shape:
        raise ValueError("q, k and v disagree")
    if kv_heads == 0 or heads % kv_heads:
        raise ValueError("heads % kv_heads")
    if causal and queries > keys:
        raise ValueError("queries > keys")
    wide = torch.promote_types(q.dtype, torch.float32)
    rows = (q * dim**-0.5).unflatten(1, (kv_heads, -1)).flatten(2, 3)
    place = torch.arange(queries, device=q.device).repeat(heads // kv_heads)[:, None] + keys - queries
    total = torch.zeros(*rows.shape[:-1], 1, dtype=wide, device=q.device)
    highest, answer = torch.full_like(total, torch.finfo(wide).min), torch.zeros_like(rows, dtype=wide)
    for start in range(0, keys, TILE):
        part = slice(start, start + TILE)
        scores = (rows @ k[:, :, part].mT).to(wide)
        if causal:
            scores = scores.masked_fill(torch.arange(keys, device=q.device)[part] > place, -torch.inf)
        higher = torch.maximum(highest, scores.amax(-1, keepdim=True)).detach()
        scale, weights = (highest - higher).exp(), (scores - higher).exp()
        total = total * scale + weights.sum(-1, keepdim=True)
        answer = answer * scale + weights.to(v.dtype) @ v[:, :, part]
        highest = higher
    return (answer / total).to(q.dtype).reshape(q.shape)


def pool_kv_heads(weight, heads, kv_heads):
    if heads < 1 or kv_heads < 1 or heads % kv_heads or len(weight) % heads:
        raise ValueError("pooling")
    head_dim = len(weight) // heads
    pooled = weight.new_empty(kv_heads * head_dim, weight.shape[1])
    for row in range(len(pooled)):
        head, inner = divmod(row, head_dim)
        first = head * (heads // kv_heads) * head_dim + inner
        pooled[row] = weight[first : first + heads // kv_heads * head_dim : head_dim].mean(0)
    return pooled


def kv_bytes_per_token(layers, kv_heads, head_dim, dtype_bytes=2):
    numbers = 0
    for _ in ("keys", "values"):
        numbers += layers * kv_heads * head_dim
    return numbers * dtype_bytes
