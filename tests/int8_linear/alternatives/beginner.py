"""Small steps, a list of rows for the weight, numpy for the rounding; bias and no bias as two paths."""

import numpy as np
import torch
from torch import nn

MAX_TERMS = 2**17


def quantize_per_row(x):
    if x.dim() != 2:
        raise ValueError("x must have two dimensions")
    matrix = x.detach().to(torch.float32).cpu().numpy()
    if np.isnan(matrix).any() or np.isinf(matrix).any():
        raise ValueError("x must be finite")
    largest = np.max(np.abs(matrix), axis=1)
    scales = (largest / np.float32(127)).astype(np.float32)
    scales[scales < np.finfo(np.float32).tiny] = 1.0
    codes = np.rint(matrix / scales[:, None])
    codes = np.clip(codes, -127, 127).astype(np.int8)
    return torch.from_numpy(codes).to(x.device), torch.from_numpy(scales).to(x.device)


def dequantize(codes, scales, dtype):
    return (codes.to(torch.float32) * scales.view(-1, 1)).to(dtype)


def int8_matmul(a, b):
    if a.dim() != 2:
        raise ValueError("a must have two dimensions")
    if b.dim() != 2:
        raise ValueError("b must have two dimensions")
    if a.shape[1] != b.shape[1]:
        raise ValueError("a and b must have rows of the same length")
    if a.shape[1] > MAX_TERMS:
        raise ValueError("the sum may not fit into int32")
    return torch.ops.aten._int_mm(a.contiguous(), b.contiguous().transpose(0, 1))


class Int8Linear(nn.Module):
    def __init__(self, codes, scales, bias, *, dynamic):
        super().__init__()
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales)
        self.register_buffer("bias", bias)
        self.dynamic = dynamic

    @classmethod
    def from_linear(cls, linear, *, dynamic):
        codes, scales = quantize_per_row(linear.weight)
        if linear.bias is None:
            return cls(codes, scales, None, dynamic=dynamic)
        return cls(codes, scales, linear.bias.detach().clone(), dynamic=dynamic)

    def forward(self, x):
        shape = list(x.shape)
        tokens = x.reshape(-1, shape[-1])
        if self.dynamic:
            codes, scales = quantize_per_row(tokens)
            sums = int8_matmul(codes, self.codes)
            y = sums.to(torch.float32)
            y = y * scales.view(-1, 1)
            y = y * self.scales.view(1, -1)
            if self.bias is not None:
                y = y + self.bias.to(torch.float32)
        else:
            weight = dequantize(self.codes, self.scales, x.dtype)
            y = torch.matmul(tokens, weight.T)
            if self.bias is not None:
                y = y + self.bias.to(y.dtype)
        y = y.to(x.dtype)
        return y.reshape([*shape[:-1], self.codes.shape[0]])

    def _apply(self, fn, recurse=True):
        scales = self.scales
        super()._apply(fn, recurse)
        self.scales = scales.to(self.codes.device)
        return self
