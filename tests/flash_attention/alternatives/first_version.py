"""As in the first paper: the keys outside, the queries inside, and out normalised after every block. Batches are folded."""

import torch


def folded(*tensors):
    dtype = torch.promote_types(tensors[0].dtype, torch.float32)
    return [t.reshape(-1, *t.shape[-2:]).to(dtype) if t.numel() else t.flatten(0, -3).to(dtype) for t in tensors]


def check(q, k, v, block_q, block_k):
    if block_q * block_k <= 0 or block_q < 0:
        raise ValueError("blocks")
    if q.dim() != k.dim() or k.dim() != v.dim() or q.shape[:-2] != k.shape[:-2]:
        raise ValueError("batch")
    if q.shape[-1] != k.shape[-1] or k.shape[:-1] != v.shape[:-1]:
        raise ValueError("shapes")


def pairs(queries, keys, causal, block_q, block_k):
    for j in range(0, keys, block_k):
        for i in range(0, queries, block_q):
            rows, cols = range(i, min(i + block_q, queries)), range(j, min(j + block_k, keys))
            if not causal or cols[0] <= rows[-1] + keys - queries:
                yield slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)


def tile(q, k, rows, cols, causal, scale):
    s = torch.bmm(q[:, rows], k[:, cols].transpose(1, 2)).mul_(scale)
    if causal:
        ones = torch.ones(s.shape[1:], dtype=torch.bool, device=s.device)
        s = s.masked_fill(~ones.tril(rows.start + k.shape[1] - q.shape[1] - cols.start), float("-inf"))
    return s


def flash_attention(q, k, v, *, causal=False, block_q=64, block_k=64, scale=None):
    check(q, k, v, block_q, block_k)
    batch, dtype = q.shape[:-2], q.dtype
    if not batch:
        out, lse = flash_attention(
            q[None], k[None], v[None], causal=causal, block_q=block_q, block_k=block_k, scale=scale
        )
        return out[0], lse[0]
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    q, k, v = folded(q, k, v)
    out = torch.zeros(*q.shape[:2], v.shape[2], dtype=q.dtype, device=q.device)
    m = torch.full((*q.shape[:2], 1), float("-inf"), dtype=q.dtype, device=q.device)
    ell = torch.zeros_like(m)
    for rows, cols in pairs(q.shape[1], k.shape[1], causal, block_q, block_k):
        s = tile(q, k, rows, cols, causal, scale)
        own = s.max(dim=2, keepdim=True)[0]
        p = (s - own).exp().nan_to_num(0.0)
        new = torch.max(m[:, rows], own)
        old_factor, own_factor = (m[:, rows] - new).exp().nan_to_num(0.0), (own - new).exp().nan_to_num(0.0)
        total = old_factor * ell[:, rows] + own_factor * p.sum(2, keepdim=True)
        mixed = ell[:, rows] * old_factor * out[:, rows] + own_factor * torch.bmm(p, v[:, cols])
        out[:, rows] = mixed / total.clamp(min=1e-30)
        m[:, rows], ell[:, rows] = new, total
    return out.reshape(*batch, *out.shape[1:]).to(dtype), (m + ell.log()).reshape(*batch, -1)


def merge(outs, lses):
    """By the sigmoid of the difference of two lse, pair by pair."""
    outs, lses = list(outs), list(lses)
    if not outs or len(outs) != len(lses):
        raise ValueError("parts")
    for out, lse in zip(outs, lses, strict=True):
        if out.shape != outs[0].shape or lse.shape != lses[0].shape or lse.shape != out.shape[:-1]:
            raise ValueError("shapes")
    total, known = outs[0].to(lses[0].dtype), lses[0].clone()
    for out, lse in zip(outs[1:], lses[1:], strict=True):
        share = torch.where(lse == known, 0.5, torch.sigmoid(lse - known))[..., None]
        total = (1 - share) * total + share * out.to(known.dtype)
        known = torch.logaddexp(known, lse)
    return total.to(outs[0].dtype), known


def flash_backward(grad, q, k, v, out, lse, *, causal=False, block_q=64, block_k=64, scale=None):
    check(q, k, v, block_q, block_k)
    if grad.shape != out.shape or out.shape != (*q.shape[:-1], v.shape[-1]) or lse.shape != q.shape[:-1]:
        raise ValueError("shapes")
    if q.dim() == 2:
        given = (t[None] for t in (grad, q, k, v, out, lse))
        each = flash_backward(*given, causal=causal, block_q=block_q, block_k=block_k, scale=scale)
        return tuple(t[0] for t in each)
    shapes, dtype = (q.shape, k.shape, v.shape), q.dtype
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    grad, q, k, v, out = folded(grad, q, k, v, out)
    lse = lse.reshape(-1, q.shape[1], 1)
    delta = torch.sum(grad * out, dim=2, keepdim=True)
    results = [torch.zeros_like(t) for t in (q, k, v)]
    for rows, cols in pairs(q.shape[1], k.shape[1], causal, block_q, block_k):
        p = torch.exp(tile(q, k, rows, cols, causal, scale) - lse[:, rows]).nan_to_num(0.0)
        ds = p * (torch.bmm(grad[:, rows], v[:, cols].transpose(1, 2)) - delta[:, rows])
        results[0][:, rows] += scale * torch.bmm(ds, k[:, cols])
        results[1][:, cols] += scale * torch.bmm(ds.transpose(1, 2), q[:, rows])
        results[2][:, cols] += torch.bmm(p.transpose(1, 2), grad[:, rows])
    return tuple(t.reshape(shape).to(dtype) for t, shape in zip(results, shapes, strict=True))
