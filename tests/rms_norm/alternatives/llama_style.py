"""Rounds before the weight, as Llama does; torch.var_mean for the statistics; powers of r written out backwards."""

import torch


def check(x, eps, *vectors):
    if eps < 0 or eps != eps:
        raise ValueError("eps")
    if any(tuple(v.shape) != (x.shape[-1],) for v in vectors):
        raise ValueError("weight or bias")


def floating(x):
    return x if x.dtype == torch.float64 else x.float()


def rms_norm(x, weight, eps=1e-6):
    check(x, eps, weight)
    hidden = floating(x)
    variance = hidden.pow(2).mean(-1, keepdim=True)
    hidden = hidden * torch.rsqrt(variance + eps)
    return (weight * hidden.to(x.dtype)).to(x.dtype)


def layer_norm(x, weight, bias, eps=1e-5):
    check(x, eps, weight, bias)
    hidden = floating(x)
    variance, mean = torch.var_mean(hidden, dim=-1, correction=0, keepdim=True)
    normed = ((hidden - mean) / torch.sqrt(variance + eps)).to(x.dtype)
    return (normed * weight + bias).to(x.dtype)


def add_rms_norm(x, residual, weight, eps=1e-6):
    residual = residual + x
    return rms_norm(residual, weight, eps), residual


def rms_norm_backward(grad, x, weight, eps=1e-6):
    check(x, eps, weight)
    g, h, dim = floating(grad), floating(x), x.shape[-1]
    r = (h.pow(2).mean(-1, keepdim=True) + eps).rsqrt()
    along = (g * weight * h).sum(-1, keepdim=True)
    grad_x = r * g * weight - r * (r * (r * along)) * h / dim
    grad_weight = (g * h * r).sum(tuple(range(x.dim() - 1))) if x.dim() > 1 else g * h * r
    return grad_x.type_as(x), grad_weight.type_as(weight)


def layer_norm_backward(grad, x, weight, eps=1e-5):
    check(x, eps, weight)
    g, h, dim = floating(grad), floating(x), x.shape[-1]
    variance, mean = torch.var_mean(h, dim=-1, correction=0, keepdim=True)
    r = (variance + eps).rsqrt()
    normed, inner = (h - mean) * r, g * weight
    sums = inner.sum(-1, keepdim=True), (inner * normed).sum(-1, keepdim=True)
    grad_x = r / dim * (dim * inner - sums[0] - normed * sums[1])
    rows = tuple(range(x.dim() - 1))
    total = (lambda t: t.sum(rows)) if rows else (lambda t: t)
    return grad_x.type_as(x), total(g * normed).type_as(weight), total(g).type_as(weight)
