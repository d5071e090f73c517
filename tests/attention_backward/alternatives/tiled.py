"""Blocks of keys: an online softmax forward, and a backward pass that forms a block of probabilities at a time."""

import torch

BLOCK = 32


def raise_unless(condition, words):
    if not condition:
        raise ValueError(words)


def wide(x):
    return x.double() if x.dtype == torch.float64 else x.float()


def reduce_to(x, shape):
    x = x.sum(tuple(range(x.dim() - len(shape)))) if x.dim() > len(shape) else x
    ones = [i for i, n in enumerate(shape) if n == 1]
    return x.sum(ones, keepdim=True) if ones else x


def matmul_backward(grad, a, b):
    raise_unless(a.dim() >= 2 and b.dim() >= 2, "matrices")
    raise_unless(a.shape[-1] == b.shape[-2], "inner sizes")
    n = max(a.dim(), b.dim())
    sizes = [(1,) * (n - x.dim()) + tuple(x.shape) for x in (a, b)]
    raise_unless(all(s == t or 1 in (s, t) for s, t in list(zip(*sizes, strict=True))[:-2]), "batches")
    batch = tuple(max(s, t) for s, t in list(zip(*sizes, strict=True))[:-2])
    raise_unless(tuple(grad.shape) == (*batch, a.shape[-2], b.shape[-1]), "grad")
    grad_a = (wide(b) @ wide(grad).mT).mT
    grad_b = (wide(grad).mT @ wide(a)).mT
    return reduce_to(grad_a, a.shape).to(a.dtype), reduce_to(grad_b, b.shape).to(b.dtype)


def softmax_backward(grad, probs):
    raise_unless(grad.shape == probs.shape, "shapes")
    p = wide(probs)
    mean = torch.linalg.vecdot(p, wide(grad)).unsqueeze(-1)
    return (wide(grad) - mean).mul_(p).to(probs.dtype)


def blocks(q, k, v, mask):
    for start in range(0, k.shape[-2], BLOCK):
        part = slice(start, start + BLOCK)
        keys = wide(k[..., part, :])
        s = wide(q) @ keys.mT * q.shape[-1] ** -0.5
        if mask is not None:
            s = torch.where(mask[..., part] if mask.shape[-1] > 1 else mask, s, -torch.inf)
        yield part, s, keys, wide(v[..., part, :])


def attention_forward(q, k, v, mask=None):
    raise_unless(q.shape[-1] == k.shape[-1] and q.shape[:-2] == k.shape[:-2] and k.shape[:-1] == v.shape[:-1], "shapes")
    if mask is not None:
        raise_unless(mask.dtype == torch.bool, "boolean")
        full = (*q.shape[:-1], k.shape[-2])
        mask = mask[(None,) * (len(full) - mask.dim())]
        raise_unless(mask.dim() == len(full), "too many dimensions")
        raise_unless(all(m in (1, n) for m, n in zip(mask.shape, full, strict=True)), "mask")
    top = torch.full_like(wide(q[..., :1]), -1e30)
    total, answer = torch.zeros_like(top), 0.0
    for _, s, _, values in blocks(q, k, v, mask):
        new = torch.maximum(top, s.amax(-1, keepdim=True))
        e, shrink = (s - new).exp(), (top - new).exp()
        total, answer, top = total * shrink + e.sum(-1, keepdim=True), answer * shrink + e @ values, new
    total = total + (total == 0)
    out = answer / total
    return out.to(q.dtype), [q, k, v, mask, out, top, total]


def attention_backward(grad, saved):
    q, k, v, mask, out, top, total = saved
    raise_unless(grad.shape == out.shape, "grad")
    g = wide(grad)
    scale, delta = q.shape[-1] ** -0.5, (g * out).sum(-1, keepdim=True)
    grad_q, grad_k, grad_v = (torch.zeros_like(wide(x), memory_format=torch.contiguous_format) for x in (q, k, v))
    for part, s, keys, values in blocks(q, k, v, mask):
        p = (s - top).exp() / total
        ds = p * (g @ values.mT - delta) * scale
        grad_q += ds @ keys
        grad_k[..., part, :] = ds.mT @ wide(q)
        grad_v[..., part, :] = p.mT @ g
    return grad_q.to(q.dtype), grad_k.to(q.dtype), grad_v.to(q.dtype)
