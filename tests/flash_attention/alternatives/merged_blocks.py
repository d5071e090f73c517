"""Each tile is a finished softmax of its own, and tiles are merged, from the last block of keys to the first."""

import torch


def guard(q, k, v, block_q, block_k):
    if block_q < 1:
        raise ValueError("block_q")
    if block_k < 1:
        raise ValueError("block_k")
    if q.shape[:-2] != k.shape[:-2] or k.shape[:-1] != v.shape[:-1] or q.shape[-1] != k.shape[-1]:
        raise ValueError("the shapes of q, k and v")


def starts(rows_end, queries, keys, causal, block_k):
    end = min(keys, rows_end + keys - queries) if causal else keys
    return [start for start in range(0, keys, block_k) if start < end][::-1]


def scores_of(q, k, i, j, causal, scale, ends):
    s = torch.matmul(q[..., i, :], k[..., j, :].transpose(-2, -1)) * scale
    if causal:
        queries, keys = ends
        for row in range(i.start, i.stop):
            s[..., row - i.start, max(row + keys - queries + 1 - j.start, 0) :] = float("-inf")
    return s


def flash_attention(q, k, v, *, causal=False, block_q=64, block_k=64, scale=None):
    guard(q, k, v, block_q, block_k)
    given, ends = q.dtype, (q.shape[-2], k.shape[-2])
    if given != torch.float64:
        q, k, v = q.float(), k.float(), v.float()
    scale = scale if scale is not None else 1 / q.shape[-1] ** 0.5
    out = q.new_zeros(q.shape[:-1] + v.shape[-1:])
    lse = q.new_full(q.shape[:-1], float("-inf"))
    for first in range(0, ends[0], block_q):
        i = slice(first, min(ends[0], first + block_q))
        for start in starts(i.stop, *ends, causal, block_k):
            j = slice(start, min(ends[1], start + block_k))
            s = scores_of(q, k, i, j, causal, scale, ends)
            own = torch.logsumexp(s, -1)
            p = torch.softmax(s, -1).masked_fill(own.isinf()[..., None], 0.0)
            out[..., i, :], lse[..., i] = merge([out[..., i, :].clone(), p @ v[..., j, :]], [lse[..., i].clone(), own])
    return out.to(given), lse


def merge(outs, lses):
    if not outs or len(outs) != len(lses):
        raise ValueError("parts")
    shape = outs[0].shape
    if not all(o.shape == shape for o in outs) or not all(each.shape == shape[:-1] for each in lses):
        raise ValueError("shapes of the parts")
    top = lses[0]
    for each in lses[1:]:
        top = torch.max(top, each)
    numerator, denominator = 0.0, 0.0
    for o, each in zip(outs, lses, strict=True):
        weight = torch.where(each == -torch.inf, 0.0, torch.exp(each - top))
        numerator = numerator + weight[..., None] * o.to(weight.dtype)
        denominator = denominator + weight
    nothing = denominator == 0
    out = (numerator / torch.where(nothing, 1.0, denominator)[..., None]).to(outs[0].dtype)
    return out, torch.where(nothing, -torch.inf, top + torch.log(denominator))


def flash_backward(grad, q, k, v, out, lse, *, causal=False, block_q=64, block_k=64, scale=None):
    guard(q, k, v, block_q, block_k)
    if grad.shape != q.shape[:-1] + v.shape[-1:] or grad.shape != out.shape or lse.shape != out.shape[:-1]:
        raise ValueError("the shapes of grad, out and lse")
    given, ends = q.dtype, (q.shape[-2], k.shape[-2])
    if given != torch.float64:
        grad, q, k, v, out = grad.float(), q.float(), k.float(), v.float(), out.float()
    scale = scale if scale is not None else 1 / q.shape[-1] ** 0.5
    parts, dk, dv = [], torch.zeros_like(k), torch.zeros_like(v)
    # -D as one more product: [grad, -D] [v, 1]^T = grad v^T - D.
    centred = torch.cat([grad, -(grad * out).sum(-1, keepdim=True)], -1)
    for first in range(0, ends[0], block_q):
        i = slice(first, min(ends[0], first + block_q))
        own = torch.zeros_like(q[..., i, :])
        for start in starts(i.stop, *ends, causal, block_k):
            j = slice(start, min(ends[1], start + block_k))
            p = torch.exp(scores_of(q, k, i, j, causal, scale, ends) - lse[..., i].clamp(min=-1e30)[..., None])
            ds = p * (grad[..., i, :] @ v[..., j, :].mT + centred[..., i, -1:])
            own = own + ds @ k[..., j, :] * scale
            dk[..., j, :].add_(ds.mT @ q[..., i, :], alpha=scale)
            dv[..., j, :].add_(p.mT @ grad[..., i, :])
        parts.append(own)
    return torch.cat(parts, -2).to(given), dk.to(given), dv.to(given)
