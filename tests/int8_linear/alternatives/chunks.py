"""Weight-only in chunks of output rows, from one dequantised block at a time; rows by vmap; half to even by hand."""

import functools

import torch
from torch import nn

MAX_TERMS = 2**17


def half_to_even(x):
    low = torch.floor(x)
    part = x - low
    up = (part > 0.5) | ((part == 0.5) & (low % 2 == 1))
    return low + up


def of_row(row):
    scale = row.abs().max() / 127
    scale = torch.where(scale >= 1.2e-38, scale, torch.ones_like(scale))
    return half_to_even(row / scale), scale


def quantize_per_row(x):
    if x.dim() != 2:
        raise ValueError("rows")
    if torch.isnan(x).any() or torch.isinf(x).any():
        raise ValueError("not a number")
    if x.shape[0] == 0:
        return torch.zeros_like(x, dtype=torch.int8), torch.zeros(0, device=x.device)
    codes, scales = torch.vmap(of_row)(x.float())
    return codes.to(torch.int8), scales


def dequantize(codes, scales, dtype):
    return (torch.diag(scales.double()) @ codes.double()).to(dtype)


def int8_matmul(a, b):
    sizes = [list(a.shape), list(b.shape)]
    if [len(size) for size in sizes] != [2, 2] or sizes[0][1] != sizes[1][1]:
        raise ValueError(f"sizes {sizes}")
    if sizes[0][1] > MAX_TERMS:
        raise ValueError("int32 overflow")
    parts = [torch._int_mm(a, rows.T) for rows in b.split(128)]
    return torch.cat(parts, dim=1)


class Int8Linear(nn.Module):
    bias: torch.Tensor | None

    def __init__(self, codes, scales, bias, *, dynamic):
        super().__init__()
        self.dynamic = bool(dynamic)
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales)
        self.register_buffer("bias", bias)

    @classmethod
    def from_linear(cls, linear, *, dynamic):
        with torch.no_grad():
            parts = [quantize_per_row(rows) for rows in linear.weight.split(64)]
            codes, scales = (torch.cat(each) for each in zip(*parts, strict=True))
            bias = linear.bias if linear.bias is None else linear.bias + 0
        return cls(codes, scales, bias, dynamic=dynamic)

    def weight_only(self, x):
        dtype = torch.promote_types(x.dtype, torch.float32)
        blocks = zip(self.codes.split(100), self.scales.split(100), strict=True)
        return torch.cat([x.to(dtype) @ (codes * scales[:, None]).to(dtype).mT for codes, scales in blocks], -1)

    def w8a8(self, x):
        codes, scales = quantize_per_row(x)
        sums = int8_matmul(codes, self.codes).double()
        return sums * scales.double()[:, None] * self.scales.double()

    def forward(self, x):
        tokens = x.reshape(-1, x.shape[-1])
        y = self.w8a8(tokens) if self.dynamic else self.weight_only(tokens)
        y = functools.reduce(torch.add, [y] if self.bias is None else [y, self.bias])
        return y.to(x.dtype).reshape(x.shape[:-1] + self.scales.shape)

    def _apply(self, fn, recurse=True):
        before = self.scales
        module = super()._apply(fn, recurse)
        self.scales = before if self.codes.device == before.device else before.to(self.codes.device)
        return module
