"""A loop over the blocks of keys alone, for all queries that see any of a block; exponentials to the base 2."""

import math

import torch

LOG2E = 1 / math.log(2)


def fits(q, k, v, block_q, block_k):
    if block_q < 1 or block_k < 1:
        raise ValueError("blocks")
    same = q.shape[:-2] == k.shape[:-2] == v.shape[:-2]
    if not same or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        raise ValueError("shapes")


def tiles(queries, keys, causal, block_k):
    """(first query that sees any of them, keys) for each block of keys, and what of it is hidden."""
    for start in range(0, keys, block_k):
        end = min(start + block_k, keys)
        first = max(start - keys + queries, 0) if causal else 0
        hidden = torch.ones(queries - first, end - start, dtype=torch.bool).triu(first + keys - queries - start + 1)
        yield first, slice(start, end), hidden if causal else None


def flash_attention(q, k, v, *, causal=False, block_q=64, block_k=64, scale=None):
    fits(q, k, v, block_q, block_k)
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    queries, keys = q.shape[-2], k.shape[-2]
    m = torch.full(q.shape[:-1], -torch.inf, dtype=wide, device=q.device)
    ell = torch.zeros_like(m)
    acc = torch.zeros(*q.shape[:-1], v.shape[-1], dtype=wide, device=q.device)
    for first, cols, hidden in tiles(queries, keys, causal, block_k):
        s = q[..., first:, :].to(wide) @ k[..., cols, :].to(wide).transpose(-1, -2)
        s = s * (scale * LOG2E)
        if hidden is not None:
            s = s.masked_fill(hidden.to(s.device), -torch.inf)
        old = m[..., first:]
        new = torch.maximum(old, s.max(-1).values)
        base = torch.where(new == -torch.inf, torch.zeros_like(new), new)
        p, alpha = torch.exp2(s - base.unsqueeze(-1)), torch.exp2(old - base)
        ell[..., first:] = alpha * ell[..., first:] + p.sum(-1)
        acc[..., first:, :] *= alpha.unsqueeze(-1)
        acc[..., first:, :] += p @ v[..., cols, :].to(wide)
        m[..., first:] = new
    empty = ell == 0
    out = acc / ell.masked_fill(empty, 1).unsqueeze(-1)
    lse = ((m + torch.log2(ell)) / LOG2E).masked_fill(empty, -torch.inf)
    return out.to(q.dtype), lse


def merge(outs, lses):
    """One after the other, by logaddexp."""
    if len(outs) == 0 or len(outs) != len(lses):
        raise ValueError("parts")
    for o, lse in zip(outs, lses, strict=True):
        if o.shape != outs[0].shape or o.shape[:-1] != lse.shape:
            raise ValueError("shapes")
    out, lse = outs[0].to(lses[0].dtype), lses[0]
    for o, other in zip(outs[1:], lses[1:], strict=True):
        both = torch.logaddexp(lse, other)
        base = both.masked_fill(both.isneginf(), 0.0)
        out = out * (lse - base).exp()[..., None] + o * (other - base).exp()[..., None]
        lse = both
    return out.to(outs[0].dtype), lse.clone()


def flash_backward(grad, q, k, v, out, lse, *, causal=False, block_q=64, block_k=64, scale=None):
    fits(q, k, v, block_q, block_k)
    if grad.shape != out.shape or grad.shape[:-1] != q.shape[:-1] or grad.shape[-1] != v.shape[-1]:
        raise ValueError("grad")
    if lse.shape != q.shape[:-1]:
        raise ValueError("lse")
    dtype = q.dtype
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    grad, q, k, v, out = (t.to(wide) for t in (grad, q, k, v, out))
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    dq, dk, dv = q.new_zeros(q.shape), k.new_zeros(k.shape), v.new_zeros(v.shape)
    delta = torch.linalg.vecdot(grad, out)
    base = lse.nan_to_num(neginf=0.0)
    for first, cols, hidden in tiles(q.shape[-2], k.shape[-2], causal, block_k):
        rows = slice(first, None)
        s = scale * (q[..., rows, :] @ k[..., cols, :].mT)
        if hidden is not None:
            s = s.masked_fill(hidden.to(s.device), -torch.inf)
        p = torch.exp2(LOG2E * (s - base[..., rows, None]))
        ds = p * (grad[..., rows, :] @ v[..., cols, :].mT - delta[..., rows, None])
        dq[..., rows, :] += scale * (ds @ k[..., cols, :])
        dk[..., cols, :] = scale * (ds.mT @ q[..., rows, :])
        dv[..., cols, :] = p.mT @ grad[..., rows, :]
    return dq.to(dtype), dk.to(dtype), dv.to(dtype)
