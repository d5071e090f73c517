"""Index notation throughout; the backward pass takes the softmax again, so that nothing but the arguments is saved."""

import torch


def up(*tensors):
    return [t if t.dtype == torch.float64 else t.float() for t in tensors]


def fold(full, like):
    extra = full.dim() - like.dim()
    axes = [i for i in range(full.dim()) if i < extra or (like.shape[i - extra] == 1 and full.shape[i] != 1)]
    full = torch.sum(full, axes, keepdim=True) if axes else full
    return full.reshape(like.shape).to(like.dtype)


def matmul_backward(grad, a, b):
    if a.dim() < 2 or b.dim() < 2 or a.size(-1) != b.size(-2):
        raise ValueError("no product")
    try:
        outer = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except RuntimeError:
        raise ValueError("the batches do not broadcast") from None
    if grad.shape != (*outer, a.size(-2), b.size(-1)):
        raise ValueError("grad has another shape")
    g, x, y = up(grad, a, b)
    return fold(torch.einsum("...mn,...kn->...mk", g, y), a), fold(torch.einsum("...mk,...mn->...kn", x, g), b)


def softmax_backward(grad, probs):
    if grad.shape != probs.shape:
        raise ValueError("shapes")
    g, p = up(grad, probs)
    return (p * g - p * torch.einsum("...n,...n->...", p, g)[..., None]).to(probs.dtype)


def weights(q, k, mask):
    q, k = up(q, k)
    scores = torch.einsum("...td,...sd->...ts", q / q.shape[-1] ** 0.5, k)
    if mask is None:
        return scores.softmax(-1)
    return scores.masked_fill(~mask, -torch.inf).softmax(-1).masked_fill(~mask.any(-1, keepdim=True), 0)


def attention_forward(q, k, v, mask=None):
    if q.shape[:-2] != k.shape[:-2] or q.size(-1) != k.size(-1) or k.shape[:-1] != v.shape[:-1]:
        raise ValueError("q, k and v do not fit")
    if mask is not None:
        if mask.dtype is not torch.bool:
            raise ValueError("not boolean")
        try:
            mask = mask.expand(*q.shape[:-1], k.size(-2))
        except RuntimeError:
            raise ValueError("the mask does not broadcast") from None
    out = torch.einsum("...ts,...sd->...td", weights(q, k, mask), *up(v)).to(q.dtype)
    return out, {"q": q, "k": k, "v": v, "mask": mask, "shape": out.shape}


def attention_backward(grad, saved):
    if grad.shape != saved["shape"]:
        raise ValueError("grad has another shape")
    q, k, v, g = up(saved["q"], saved["k"], saved["v"], grad)
    p = weights(saved["q"], saved["k"], saved["mask"])
    dv = torch.einsum("...ts,...td->...sd", p, g)
    ds = softmax_backward(torch.einsum("...td,...sd->...ts", g, v), p) / q.shape[-1] ** 0.5
    dq, dk = torch.einsum("...ts,...sd->...td", ds, k), torch.einsum("...ts,...td->...sd", ds, q)
    return tuple(part.to(grad.dtype) for part in (dq, dk, dv))
