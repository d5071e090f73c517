"""As kernels do on tensor cores: products of half-precision factors, also of the weights, which are rounded before they
meet v, with sums in float32; the queries outside. Tiles are lists of chunks; -inf is guarded by where."""

import torch


def product(a, b):
    """a b, with factors rounded to their dtype and sums in float32."""
    wide = torch.promote_types(a.dtype, torch.float32)
    return a.to(wide) @ b.to(wide)


def starting(chunks):
    start = 0
    for chunk in chunks:
        yield start, chunk
        start += chunk.shape[-2]


def check(q, k, v, block_q, block_k):
    if not (block_q >= 1 and block_k >= 1):
        raise ValueError("block sizes")
    if (*q.shape[:-2], k.shape[-2], q.shape[-1]) != tuple(k.shape) or (*k.shape[:-1], v.shape[-1]) != tuple(v.shape):
        raise ValueError("q, k, v")


def mask(s, i, j, offset):
    row, col = (torch.arange(n, device=s.device) for n in s.shape[-2:])
    return torch.where(j + col <= i + row[:, None] + offset, s, -torch.inf)


def flash_attention(q, k, v, *, causal=False, block_q=64, block_k=64, scale=None):
    check(q, k, v, block_q, block_k)
    scale, offset = q.shape[-1] ** -0.5 if scale is None else scale, k.shape[-2] - q.shape[-2]
    wide = torch.promote_types(q.dtype, torch.float32)
    results = []
    for i, qi in starting(q.split(block_q, -2)):
        m = torch.full((*qi.shape[:-1], 1), -torch.inf, dtype=wide, device=q.device)
        ell, acc = torch.zeros_like(m), torch.zeros((*qi.shape[:-1], v.shape[-1]), dtype=wide, device=q.device)
        for (j, kj), vj in zip(starting(k.split(block_k, -2)), v.split(block_k, -2), strict=True):
            if not kj.shape[-2] or (causal and j > i + qi.shape[-2] - 1 + offset):
                break
            s = product(qi, kj.mT) * scale
            if causal:
                s = mask(s, i, j, offset)
            new = torch.maximum(m, s.amax(-1, True))
            p = torch.where(s == -torch.inf, 0.0, torch.exp(s - new))
            alpha = torch.where(m == -torch.inf, 0.0, torch.exp(m - new))
            ell, m = alpha * ell + p.sum(-1, True), new
            acc = alpha * acc + product(p.to(v.dtype), vj)
        results.append((torch.where(ell == 0, 0.0, acc / ell).to(q.dtype), (m + torch.log(ell))[..., 0]))
    outs, lses = zip(*results, strict=True)
    return torch.cat(outs, -2), torch.cat(lses, -1)


def merge(outs, lses):
    """Two halves of the parts, merged each, and then with each other."""
    if len(outs) != len(lses) or len(outs) < 1:
        raise ValueError("parts")
    if any(out.shape != outs[0].shape for out in outs) or any(
        (*lse.shape, outs[0].shape[-1]) != outs[0].shape for lse in lses
    ):
        raise ValueError("shapes")
    out, lse = tree([out.to(lse.dtype) for out, lse in zip(outs, lses, strict=True)], list(lses))
    return out.to(outs[0].dtype), lse


def tree(outs, lses):
    half = len(outs) // 2
    if not half:
        return outs[0], lses[0]
    (a, x), (b, y) = tree(outs[:half], lses[:half]), tree(outs[half:], lses[half:])
    m = torch.fmax(torch.maximum(x, y), torch.full_like(x, torch.finfo(x.dtype).min))
    u, w = torch.exp(x - m), torch.exp(y - m)
    total = u + w
    safe = torch.where(total > 0, total, torch.ones_like(total))
    return (a * (u / safe)[..., None]) + (b * (w / safe)[..., None]), m + torch.log(total)


def flash_backward(grad, q, k, v, out, lse, *, causal=False, block_q=64, block_k=64, scale=None):
    check(q, k, v, block_q, block_k)
    if grad.shape != out.shape or (*q.shape[:-1], v.shape[-1]) != tuple(out.shape) or lse.shape != out.shape[:-1]:
        raise ValueError("grad, out, lse")
    scale, offset = q.shape[-1] ** -0.5 if scale is None else scale, k.shape[-2] - q.shape[-2]
    wide = lse.dtype
    delta = (grad.to(wide) * out.to(wide)).sum(-1, True)
    dq, dk, dv = (torch.zeros(t.shape, dtype=wide, device=t.device) for t in (q, k, v))
    for i, qi in starting(q.split(block_q, -2)):
        rows = slice(i, i + qi.shape[-2])
        gi, di, li = grad[..., rows, :], delta[..., rows, :], lse[..., rows, None]
        for (j, kj), vj in zip(starting(k.split(block_k, -2)), v.split(block_k, -2), strict=True):
            if not kj.shape[-2] or (causal and j > rows.stop - 1 + offset):
                break
            cols = slice(j, j + kj.shape[-2])
            s = product(qi, kj.mT) * scale
            if causal:
                s = mask(s, i, j, offset)
            p = torch.where(s == -torch.inf, 0.0, torch.exp(s - li))
            ds = (p * (product(gi, vj.mT) - di)).to(q.dtype)
            dv[..., cols, :] += product(p.to(q.dtype).mT, gi)
            dk[..., cols, :] += product(ds.mT, qi) * scale
            dq[..., rows, :] += product(ds, kj) * scale
    return dq.to(q.dtype), dk.to(k.dtype), dv.to(v.dtype)
