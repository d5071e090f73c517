"""The maximum begins at the lowest number of the dtype, hidden weights are multiplied by zero; the backward pass has two
loops, one for dq and one for dk and dv, as in kernels without atomic additions. Einsum throughout."""

import torch


def wide(*tensors):
    dtype = torch.promote_types(tensors[0].dtype, torch.float32)
    return [t.to(dtype) for t in tensors]


def check(q, k, v, *blocks):
    if any(block <= 0 for block in blocks):
        raise ValueError(f"blocks {blocks}")
    if not (q.shape[:-2] == k.shape[:-2] == v.shape[:-2] and q.size(-1) == k.size(-1) and k.size(-2) == v.size(-2)):
        raise ValueError("q, k, v")


def visible(rows, cols, offset, device):
    return rows.to(device)[:, None] + offset >= cols.to(device)


def flash_attention(q, k, v, *, causal=False, block_q=64, block_k=64, scale=None):
    check(q, k, v, block_q, block_k)
    dtype = q.dtype
    q, k, v = wide(q, k, v)
    if scale is None:
        scale = q.size(-1) ** -0.5
    offset = k.size(-2) - q.size(-2)
    outs, lses = [], []
    for rows in torch.arange(q.size(-2)).split(block_q):
        qi = q[..., rows, :] * scale
        m = torch.full(qi.shape[:-1], torch.finfo(q.dtype).min, dtype=q.dtype, device=q.device)
        ell, acc = torch.zeros_like(m), qi.new_zeros(*qi.shape[:-1], v.size(-1))
        for cols in torch.arange(k.size(-2)).split(block_k):
            if causal and (not len(cols) or cols[0] > rows[-1] + offset):
                continue
            s = torch.einsum("...id,...jd->...ij", qi, k[..., cols, :])
            see = visible(rows, cols, offset, s.device) if causal else torch.ones_like(s, dtype=torch.bool)
            if not len(cols):
                continue
            s = torch.where(see, s, torch.finfo(s.dtype).min)
            new = torch.maximum(m, s.amax(-1))
            p = torch.exp(s - new[..., None]) * see
            shrink = torch.exp(m - new)
            ell = ell * shrink + p.sum(-1)
            acc = acc * shrink[..., None] + torch.einsum("...ij,...jd->...id", p, v[..., cols, :])
            m = new
        outs.append(torch.where(ell[..., None] > 0, acc / ell[..., None], 0.0))
        lses.append(torch.where(ell > 0, m + ell.log(), -torch.inf))
    return torch.cat(outs, -2).to(dtype), torch.cat(lses, -1)


def merge(outs, lses):
    if (
        not len(outs)
        or len(outs) != len(lses)
        or len({o.shape for o in outs} | {(*x.shape, outs[0].size(-1)) for x in lses}) > 1
    ):
        raise ValueError("parts")
    lse = torch.stack(tuple(lses))
    weights = lse.softmax(0).nan_to_num(0.0)  # NaN where all parts are empty
    out = torch.einsum("p...,p...d->...d", weights, torch.stack(tuple(outs)).to(lse.dtype))
    return out.to(outs[0].dtype), torch.logsumexp(lse, 0)


def flash_backward(grad, q, k, v, out, lse, *, causal=False, block_q=64, block_k=64, scale=None):
    check(q, k, v, block_q, block_k)
    if grad.shape != (*q.shape[:-1], v.size(-1)) or out.shape != grad.shape or (*lse.shape, q.size(-1)) != q.shape:
        raise ValueError("grad, out, lse")
    dtype = q.dtype
    grad, q, k, v, out = wide(grad, q, k, v, out)
    if scale is None:
        scale = q.size(-1) ** -0.5
    offset = k.size(-2) - q.size(-2)
    delta = torch.einsum("...d,...d->...", grad, out)
    row_blocks, col_blocks = torch.arange(q.size(-2)).split(block_q), torch.arange(k.size(-2)).split(block_k)

    def tile(rows, cols):
        s = torch.einsum("...id,...jd->...ij", q[..., rows, :] * scale, k[..., cols, :])
        if causal:
            s = torch.where(visible(rows, cols, offset, s.device), s, -torch.inf)
        known = lse[..., rows, None]
        p = torch.where(known == -torch.inf, 0.0, torch.exp(s - known))
        dp = torch.einsum("...id,...jd->...ij", grad[..., rows, :], v[..., cols, :])
        return p, p * (dp - delta[..., rows, None]) * scale

    def seen(rows, cols):
        return len(cols) and (not causal or cols[0] <= rows[-1] + offset)

    dq, dk, dv = (torch.zeros_like(t) for t in (q, k, v))
    for rows in row_blocks:
        for cols in col_blocks:
            if seen(rows, cols):
                dq[..., rows, :] += torch.einsum("...ij,...jd->...id", tile(rows, cols)[1], k[..., cols, :])
    for cols in col_blocks:
        for rows in row_blocks:
            if seen(rows, cols):
                p, ds = tile(rows, cols)
                dk[..., cols, :] += torch.einsum("...ij,...id->...jd", ds, q[..., rows, :])
                dv[..., cols, :] += torch.einsum("...ij,...id->...jd", p, grad[..., rows, :])
    return dq.to(dtype), dk.to(dtype), dv.to(dtype)
