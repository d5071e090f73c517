"""The root mean square as a vector norm divided by sqrt(d); hypot adds eps; everything in float64."""

import math

import torch


def scale_of(x, eps):
    """sqrt(mean(x^2) + eps), [*batch, 1]."""
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True) / math.sqrt(x.shape[-1])
    return torch.hypot(length, torch.full_like(length, math.sqrt(eps)))


def prepared(x, weight, eps, *others):
    if not eps >= 0.0:
        raise ValueError(f"eps={eps}")
    for vector in (weight, *others):
        if vector.dim() != 1 or vector.numel() != x.shape[-1]:
            raise ValueError(f"expected {x.shape[-1]} numbers, got {list(vector.shape)}")
    return x.double()


def rms_norm(x, weight, eps=1e-6):
    wide = prepared(x, weight, eps)
    return (wide / scale_of(wide, eps) * weight.double()).to(x)


def layer_norm(x, weight, bias, eps=1e-5):
    wide = prepared(x, weight, eps, bias)
    wide = wide - wide.mean(dim=-1, keepdim=True)
    return torch.addcmul(bias.double(), wide / scale_of(wide, eps), weight.double()).to(x)


def add_rms_norm(x, residual, weight, eps=1e-6):
    new = torch.add(x, residual)
    return rms_norm(new, weight, eps), new


def rms_norm_backward(grad, x, weight, eps=1e-6):
    wide, g = prepared(x, weight, eps), grad.double()
    root = scale_of(wide, eps)
    normed = wide / root
    inner = g * weight.double()
    coefficient = torch.linalg.vecdot(inner, normed, dim=-1).unsqueeze(-1) / x.shape[-1]
    grad_weight = torch.einsum("nd,nd->d", g.reshape(-1, x.shape[-1]), normed.reshape(-1, x.shape[-1]))
    return ((inner - coefficient * normed) / root).to(x), grad_weight.to(weight)


def layer_norm_backward(grad, x, weight, eps=1e-5):
    wide, g = prepared(x, weight, eps), grad.double()
    wide = wide - wide.mean(-1, keepdim=True)
    root = scale_of(wide, eps)
    normed = wide / root
    inner = g * weight.double()
    inner = inner - inner.mean(-1, keepdim=True)
    coefficient = (inner * normed).mean(-1, keepdim=True)
    rows = g.reshape(-1, x.shape[-1])
    grad_weight = (rows * normed.reshape(rows.shape)).sum(0)
    return ((inner - coefficient * normed) / root).to(x), grad_weight.to(weight), rows.sum(0).to(weight)
