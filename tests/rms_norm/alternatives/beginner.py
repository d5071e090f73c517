"""Plain steps, one line each, with the chain rule written out: first to the normed row, then through the variance, then
through the mean."""

import math

import torch


def check(x, weight, eps, bias=None):
    if math.isnan(eps) or eps < 0:
        raise ValueError("eps must be 0 or more")
    if list(weight.shape) != [x.shape[-1]]:
        raise ValueError("weight must have one number for each column")
    if bias is not None and list(bias.shape) != [x.shape[-1]]:
        raise ValueError("bias must have one number for each column")


def widen(x):
    if x.dtype in (torch.float16, torch.bfloat16):
        return x.to(torch.float32)
    return x


def rms_norm(x, weight, eps=1e-6):
    check(x, weight, eps)
    wide = widen(x)
    mean_square = torch.mean(wide**2, dim=-1, keepdim=True)
    root = torch.sqrt(mean_square + eps)
    y = wide / root
    y = y * widen(weight)
    return y.to(x.dtype)


def layer_norm(x, weight, bias, eps=1e-5):
    check(x, weight, eps, bias)
    wide = widen(x)
    mean = torch.mean(wide, dim=-1, keepdim=True)
    centred = wide - mean
    variance = torch.mean(centred**2, dim=-1, keepdim=True)
    y = centred / torch.sqrt(variance + eps)
    y = y * widen(weight) + widen(bias)
    return y.to(x.dtype)


def add_rms_norm(x, residual, weight, eps=1e-6):
    check(x, weight, eps)
    new_residual = x + residual
    y = rms_norm(new_residual, weight, eps)
    return y, new_residual


def sum_over_rows(t):
    while t.dim() > 1:
        t = torch.sum(t, dim=0)
    return t


def rms_norm_backward(grad, x, weight, eps=1e-6):
    check(x, weight, eps)
    dim = x.shape[-1]
    grad, wide = widen(grad), widen(x)
    root = torch.sqrt(torch.mean(wide**2, dim=-1, keepdim=True) + eps)
    d_normed = grad * widen(weight)
    d_root = -torch.sum(d_normed * (wide / root), dim=-1, keepdim=True) / root
    d_x = d_normed / root + d_root * (wide / root) / dim
    d_weight = sum_over_rows(grad * wide / root)
    return d_x.to(x.dtype), d_weight.to(weight.dtype)


def layer_norm_backward(grad, x, weight, eps=1e-5):
    check(x, weight, eps)
    dim = x.shape[-1]
    grad, wide = widen(grad), widen(x)
    centred = wide - torch.mean(wide, dim=-1, keepdim=True)
    root = torch.sqrt(torch.mean(centred**2, dim=-1, keepdim=True) + eps)
    d_normed = grad * widen(weight)
    d_root = -torch.sum(d_normed * (centred / root), dim=-1, keepdim=True) / root
    d_centred = d_normed / root + d_root * (centred / root) / dim
    d_mean = -torch.sum(d_centred, dim=-1, keepdim=True)
    d_x = d_centred + d_mean / dim
    d_weight = sum_over_rows(grad * centred / root)
    d_bias = sum_over_rows(grad)
    return d_x.to(x.dtype), d_weight.to(weight.dtype), d_bias.to(weight.dtype)
