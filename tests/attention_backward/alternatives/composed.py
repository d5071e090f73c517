"""Attention's backward pass out of the other two, step by step; `saved` is a function that forms the weights again."""

import torch


def matmul_backward(grad, a, b):
    if len(a.shape) < 2 or len(b.shape) < 2:
        raise ValueError("matrices, please")
    try:  # the shape of a row of a and a column of b, without the product
        rows, _ = torch.broadcast_tensors(a[..., :1], b[..., :1, :1])
        _, columns = torch.broadcast_tensors(a[..., :1, :1], b[..., :1, :])
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    if a.shape[-1] != b.shape[-2] or grad.shape != (*rows.shape[:-1], columns.shape[-1]):
        raise ValueError("the shapes do not fit")
    kind = torch.float64 if a.dtype == torch.float64 else torch.float32
    results = []
    for given, full in (
        (a, torch.matmul(grad.to(kind), b.to(kind).swapaxes(-1, -2))),
        (b, torch.matmul(a.to(kind).swapaxes(-1, -2), grad.to(kind))),
    ):
        shape = (1,) * (full.ndim - given.ndim) + tuple(given.shape)
        dims = tuple(d for d, (new, old) in enumerate(zip(full.shape, shape, strict=True)) if new > old)
        if dims:
            full = full.sum(dim=dims, keepdim=True)
        results.append(full.reshape(given.shape).to(given.dtype))
    return tuple(results)


def softmax_backward(grad, probs):
    if tuple(grad.shape) != tuple(probs.shape):
        raise ValueError("grad and probs differ in shape")
    kind = torch.promote_types(probs.dtype, torch.float32)
    grad, p = grad.to(kind), probs.to(kind)
    dot = (grad.unsqueeze(-2) @ p.unsqueeze(-1)).squeeze(-1)
    return ((grad - dot) * p).to(probs.dtype)


def attention_forward(q, k, v, mask=None):
    if not (q.shape[-1] == k.shape[-1] and k.shape[:-1] == v.shape[:-1] and q.shape[:-2] == k.shape[:-2]):
        raise ValueError("shapes")
    full = (*q.shape[:-1], k.shape[-2])
    if mask is not None:
        if mask.dtype != torch.bool:
            raise ValueError("a boolean mask, please")
        try:
            mask = torch.broadcast_to(mask, full)
        except RuntimeError as error:
            raise ValueError("the mask does not broadcast") from error
    kind = torch.promote_types(q.dtype, torch.float32)

    def weights():
        scores = q.to(kind) @ (k.to(kind).swapaxes(-1, -2) * q.shape[-1] ** -0.5)
        if mask is None:
            return torch.softmax(scores, dim=-1)
        return torch.nan_to_num(torch.softmax(scores.where(mask, float("-inf")), dim=-1), nan=0.0)

    def backward_of(grad):
        if grad.shape != (*q.shape[:-1], v.shape[-1]):
            raise ValueError("grad has another shape")
        p = weights()
        grad_p, grad_v = matmul_backward(grad.to(kind), p, v.to(kind))
        grad_s = softmax_backward(grad_p, p)
        grad_q, grad_kt = matmul_backward(grad_s * q.shape[-1] ** -0.5, q.to(kind), k.to(kind).swapaxes(-1, -2))
        return grad_q.to(q.dtype), grad_kt.swapaxes(-1, -2).to(q.dtype), grad_v.to(q.dtype)

    return (weights() @ v.to(kind)).to(q.dtype), backward_of


def attention_backward(grad, saved):
    return saved(grad)
