"""Flattens the leading dimensions first, and sums by a product with a row of ones."""

import torch


def flat(x):
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return x.reshape(-1, x.shape[-1]).to(dtype)


def check(x, eps, vectors):
    dim = x.shape[-1]
    if not eps >= 0 or not all(v.shape == (dim,) for v in vectors):
        raise ValueError(f"eps must not be negative, weight and bias have {dim} numbers")


def statistics(rows, eps, centre):
    if centre:
        rows = rows - rows.sum(1, keepdim=True) / rows.shape[1]
    r = 1 / ((rows * rows).sum(1, keepdim=True) / rows.shape[1] + eps) ** 0.5
    return rows * r, r


def rms_norm(x, weight, eps=1e-6):
    check(x, eps, [weight])
    return torch.mul(statistics(flat(x), eps, False)[0], weight).reshape(x.shape).to(x.dtype)


def layer_norm(x, weight, bias, eps=1e-5):
    check(x, eps, [weight, bias])
    normed = statistics(flat(x), eps, True)[0]
    return (normed.mul_(weight.to(normed.dtype)).add_(bias)).reshape(x.shape).to(x.dtype)


def add_rms_norm(x, residual, weight, eps=1e-6):
    stream = residual.clone()
    stream += x
    return rms_norm(stream, weight, eps), stream


def backward(grad, x, weight, eps, centre):
    check(x, eps, [weight])
    normed, r = statistics(flat(x), eps, centre)
    g = flat(grad)
    inner = g * weight.to(g.dtype)
    column = torch.full((x.shape[-1], 1), 1 / x.shape[-1], dtype=g.dtype, device=g.device)
    grad_x = inner - normed * ((inner * normed) @ column)
    if centre:
        grad_x = grad_x - inner @ column
    row = torch.ones(1, len(g), dtype=g.dtype, device=g.device)
    sums = [(row @ each).reshape(-1).to(weight.dtype) for each in (g * normed, g)]
    return ((grad_x * r).reshape(x.shape).to(x.dtype), *sums)


def rms_norm_backward(grad, x, weight, eps=1e-6):
    return backward(grad, x, weight, eps, False)[:2]


def layer_norm_backward(grad, x, weight, eps=1e-5):
    return backward(grad, x, weight, eps, True)
