"""Multiplies by 127 / max, works with [rows, 1] columns, computes W x^T and turns it, and casts back by hand."""

import math

import torch
from torch import nn

MAX_TERMS = 2**17


def quantize_per_row(x):
    if x.ndim != 2:
        raise ValueError("a matrix, please")
    x = x.to(torch.float32)
    most = x.abs().max(dim=1, keepdim=True).values if x.numel() else x.new_zeros(len(x), 1)
    if not all(math.isfinite(value) for value in most.flatten().tolist()):
        raise ValueError("not finite")
    dead = most < 1.5e-36
    inverse = torch.where(dead, 0.0, 127.0 / torch.where(dead, 1.0, most))
    codes = torch.clamp(torch.round(x * inverse), -127, 127)
    return codes.char(), torch.where(dead, 0.0, most / 127.0).squeeze(1)


def dequantize(codes, scales, dtype):
    return torch.einsum("rn,r->rn", codes.float(), scales.float()).to(dtype)


def int8_matmul(a, b):
    if not (a.ndim == b.ndim == 2 and a.size(1) == b.size(1)):
        raise ValueError("shapes")
    if a.size(1) > MAX_TERMS:
        raise ValueError("too long")
    return torch._int_mm(b, a.t()).t()


class Int8Linear(nn.Module):
    def __init__(self, codes, scales, bias, *, dynamic):
        super().__init__()
        self.dynamic = dynamic
        for name, value in (("codes", codes), ("scales", scales), ("bias", bias)):
            self.register_buffer(name, value)

    @classmethod
    @torch.no_grad()
    def from_linear(cls, linear, *, dynamic):
        codes, scales = quantize_per_row(linear.weight)
        bias = None if linear.bias is None else torch.clone(linear.bias)
        return cls(codes, scales, bias, dynamic=dynamic)

    def forward(self, x):
        tokens = x.flatten(0, -2) if x.ndim > 1 else x[None]
        if self.dynamic:
            codes, scales = quantize_per_row(tokens)
            y = int8_matmul(codes, self.codes).float() * torch.outer(scales, self.scales)
        else:
            y = tokens @ dequantize(self.codes, self.scales, x.dtype).t()
        if self.bias is not None:
            y = y.to(torch.promote_types(y.dtype, torch.float32)) + self.bias
        return y.to(x.dtype).view(*x.shape[:-1], self.codes.size(0))

    def _apply(self, fn, *args):
        exact = self.scales.view(torch.int32).clone()
        super()._apply(fn, *args)
        self.scales = fn(exact).view(torch.float32)
        return self
