"""torchao's quantisation: the scales of choose_qparams_affine, quantize_affine, which multiplies by 1 / scale, and back. Its
scales have a lower limit, here the smallest normal number, and it knows no float64. Its product of codes widens them first
and is left out, because it reads four bytes for each."""

import torch
from torch import nn
from torchao.quantization.quant_primitives import (
    MappingType,
    choose_qparams_affine,
    dequantize_affine,
    quantize_affine,
)

LIMITS = (-127, 127)
MAX_TERMS = 2**17


def quantize_per_row(x):
    if x.ndim != 2 or not x.isfinite().all():
        raise ValueError("x")
    if not len(x):
        return torch.empty(x.shape, dtype=torch.int8, device=x.device), torch.ones(0, device=x.device)
    n, x = x.shape[1], x.detach().float().contiguous()
    x = x if n > 1 else x.repeat(1, 2)  # blocks of one number get one scale together
    block = (1, x.shape[1])
    least = torch.finfo(torch.float32).tiny
    options = {"eps": least, "scale_dtype": torch.float32, "zero_point_dtype": torch.int32}
    scales, zeros = choose_qparams_affine(x, MappingType.SYMMETRIC, block, torch.int8, *LIMITS, **options)
    return quantize_affine(x, block, scales, zeros, torch.int8, *LIMITS)[:, :n], scales.flatten()


def dequantize(codes, scales, dtype):
    return dequantize_affine(codes, (1, codes.shape[1]), scales, None, torch.int8, *LIMITS).to(dtype)


def int8_matmul(a, b):
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or a.shape[1] > MAX_TERMS:
        raise ValueError("shapes")
    return torch._int_mm(a, b.T)


class Int8Linear(nn.Module):
    def __init__(self, codes, scales, bias, *, dynamic):
        super().__init__()
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales)
        self.register_buffer("bias", bias)
        self.dynamic = dynamic

    @classmethod
    def from_linear(cls, linear, *, dynamic):
        bias = None if linear.bias is None else linear.bias.detach().clone()
        return cls(*quantize_per_row(linear.weight.detach()), bias, dynamic=dynamic)

    def _apply(self, fn, *args, **kwargs):
        scales = self.scales
        super()._apply(fn, *args, **kwargs)
        self.scales = scales.to(self.codes.device)
        return self

    def forward(self, x):
        wide = torch.promote_types(x.dtype, torch.float32)
        bias = 0 if self.bias is None else self.bias.to(wide)
        if self.dynamic:
            codes, scales = quantize_per_row(x.reshape(-1, x.shape[-1]))
            y = int8_matmul(codes, self.codes) * (scales[:, None] * self.scales)
            y = y.reshape(*x.shape[:-1], len(self.codes)) + bias
        else:
            y = x.to(wide) @ dequantize(self.codes, self.scales, wide).T + bias
        return y.to(x.dtype)
