"""Goes through the keys in tiles, with a running maximum and a running sum for each query, as fused kernels do."""

import torch
from torch import nn

TILE = 16


def tiled(q, k, v, mask, causal, drop):
    queries, keys = q.shape[-2], k.shape[-2]
    shape = torch.Size([*q.shape[:-1], keys])
    if mask is not None:
        fits = mask.dim() <= len(shape) and all(
            m == 1 or m == s for m, s in zip(mask.shape[::-1], shape[::-1], strict=False)
        )
        if mask.dtype != torch.bool or not fits:
            raise ValueError("mask")
        mask = mask.expand(shape)
    if causal and queries > keys:
        raise ValueError("causal")
    wide = torch.promote_types(q.dtype, torch.float32)
    q, places = q.to(wide) * q.shape[-1] ** -0.5, torch.arange(queries, device=q.device)[:, None] + keys - queries
    answer = torch.zeros(*q.shape[:-1], v.shape[-1], dtype=wide, device=q.device)
    total = torch.zeros(*q.shape[:-1], 1, dtype=wide, device=q.device)
    highest = torch.full_like(total, torch.finfo(wide).min)
    for start in range(0, keys, TILE):
        tile = slice(start, start + TILE)
        scores = q @ k[..., tile, :].to(wide).mT
        visible = torch.ones_like(scores, dtype=torch.bool)
        if causal:
            visible = visible & (torch.arange(keys, device=q.device)[tile] <= places)
        if mask is not None:
            visible = visible & mask[..., tile]
        scores = scores.masked_fill(~visible, -torch.inf)
        higher = torch.maximum(highest, scores.amax(-1, keepdim=True)).detach()
        scale, weights = (highest - higher).exp(), (scores - higher).exp()
        total = total * scale + weights.sum(-1, keepdim=True)
        answer = answer * scale + drop(weights) @ v[..., tile, :].to(wide)
        highest = higher
    return (answer / total.masked_fill(total == 0, 1.0)).to(v.dtype)


def attention(q, k, v, mask=None, *, causal=False):
    return tiled(q, k, v, mask, causal, nn.Identity())


class CausalSelfAttention(nn.Module):
    def __init__(self, dim, heads, dropout=0.0):
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"{heads} heads for {dim}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout {dropout}")
        self.heads, self.qkv, self.out = heads, nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, padding=None):
        if padding is not None:
            if padding.dtype != torch.bool or padding.shape != x.shape[:-1]:
                raise ValueError("padding")
            padding = padding.unsqueeze(1).unsqueeze(1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).movedim(-2, 1) for t in self.qkv(x).chunk(3, -1))
        return self.out(tiled(q, k, v, padding, True, self.dropout).movedim(1, -2).flatten(-2))
