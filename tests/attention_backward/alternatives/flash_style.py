"""What flash attention saves: q, k, v, out as it is returned, and one log-sum-exp for each query."""

import math
from typing import NamedTuple

import torch


class Saved(NamedTuple):
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    mask: torch.Tensor | None
    out: torch.Tensor
    lse: torch.Tensor


def wide(x):
    return x.to(torch.promote_types(x.dtype, torch.float32))


def fits(x, shape):
    return all(own in (1, size) for own, size in zip(x.shape[::-1], shape[::-1], strict=False)) and x.ndim <= len(shape)


def matmul_backward(grad, a, b):
    if a.ndim == 1 or b.ndim == 1 or a.ndim == 0 or b.ndim == 0 or a.shape[-1] != b.shape[-2]:
        raise ValueError("no product")
    batch = grad.shape[:-2]
    if grad.ndim < 2 or grad.shape[-2:] != (a.shape[-2], b.shape[-1]) or grad.ndim != max(a.ndim, b.ndim):
        raise ValueError("grad does not fit")
    if any(
        max(sizes) != g or not {*sizes} <= {1, g}
        for *sizes, g in zip(*(pad(x, batch) for x in (a, b)), batch, strict=False)
    ):
        raise ValueError("the batches do not broadcast")
    grad_a, grad_b = torch.matmul(wide(grad), wide(b).transpose(-2, -1)), wide(a).transpose(-2, -1).matmul(wide(grad))
    return unbroadcast(grad_a, a), unbroadcast(grad_b, b)


def pad(x, batch):
    return (1,) * (len(batch) - x.ndim + 2) + tuple(x.shape[:-2])


def unbroadcast(grad, x):
    while grad.ndim > x.ndim:
        grad = grad.sum(0)
    for axis, size in enumerate(x.shape):
        if size == 1:
            grad = grad.sum(axis, keepdim=True)
    return grad.type(x.dtype)


def softmax_backward(grad, probs):
    if grad.shape != probs.shape:
        raise ValueError("shapes")
    weighted = wide(grad) * wide(probs)
    return torch.addcmul(weighted, wide(probs), weighted.sum(-1, keepdim=True), value=-1).to(grad.dtype)


def scores(q, k, mask):
    s = torch.matmul(wide(q), wide(k).transpose(-1, -2)) / math.sqrt(q.size(-1))
    return s if mask is None else torch.where(mask, s, -torch.inf)


def attention_forward(q, k, v, mask=None):
    if q.size(-1) != k.size(-1) or k.size(-2) != v.size(-2) or not q.shape[:-2] == k.shape[:-2] == v.shape[:-2]:
        raise ValueError("q, k and v do not fit")
    if mask is not None and (mask.dtype != torch.bool or not fits(mask, (*q.shape[:-1], k.size(-2)))):
        raise ValueError("the mask does not fit")
    s = scores(q, k, mask)
    lse = torch.logsumexp(s, -1)
    lse = torch.where(lse == -torch.inf, torch.inf, lse)  # exp(-inf - inf) = 0
    out = ((s - lse.unsqueeze(-1)).exp() @ wide(v)).to(q.dtype)
    return out, Saved(q, k, v, mask, out, lse)


def attention_backward(grad, saved):
    if grad.shape != saved.out.shape:
        raise ValueError("grad has another shape")
    do = wide(grad)
    delta = torch.sum(do * wide(saved.out), -1, keepdim=True)
    p = torch.exp(scores(saved.q, saved.k, saved.mask) - saved.lse[..., None])
    dp = do @ wide(saved.v).transpose(-1, -2)
    ds = p.mul(dp.sub(delta))
    scale = 1 / math.sqrt(saved.q.size(-1))
    dq = scale * (ds @ wide(saved.k))
    dk = scale * (ds.transpose(-1, -2) @ wide(saved.q))
    return dq.to(grad.dtype), dk.to(grad.dtype), (p.transpose(-1, -2) @ do).to(grad.dtype)
