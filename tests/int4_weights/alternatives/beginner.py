"""Step by step, with numpy for the groups and NF4, plain variables, and strided assignment for the nibbles."""

import numpy as np
import torch
from torch import nn

TABLE = np.array(
    [
        *(-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.09105004, 0.0),
        *(0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0),
    ],
    dtype=np.float32,
)


def quantize_groups(weight, group_size):
    if weight.ndim != 2:
        raise ValueError("weight must have two dimensions")
    if group_size <= 0:
        raise ValueError("group_size must be positive")
    rows, columns = weight.shape
    if columns % group_size != 0:
        raise ValueError("group_size must divide the number of columns")
    array = weight.detach().to(torch.float32).cpu().numpy().reshape(rows, columns // group_size, group_size)
    low = np.minimum(array.min(axis=2), 0)
    high = np.maximum(array.max(axis=2), 0)
    scales = ((high - low) / np.float32(15)).astype(np.float32)
    scales[scales < np.finfo(np.float32).tiny] = 1
    zeros = np.rint(-low / scales)
    zeros = np.clip(zeros, 0, 15)
    codes = np.rint(array / scales[:, :, None]) + zeros[:, :, None]
    codes = np.clip(codes, 0, 15).reshape(rows, columns).astype(np.uint8)
    return (torch.from_numpy(codes), torch.from_numpy(scales), torch.from_numpy(zeros.astype(np.uint8)))


def dequantize_groups(codes, scales, zeros, dtype):
    group_size = codes.shape[1] // scales.shape[1]
    wide_scales = torch.repeat_interleave(scales, group_size, dim=1)
    wide_zeros = torch.repeat_interleave(zeros, group_size, dim=1)
    steps = codes.to(torch.float32) - wide_zeros.to(torch.float32)
    return (steps * wide_scales).to(dtype)


def pack(codes):
    if codes.shape[-1] % 2 == 1:
        raise ValueError("an even number of codes, please")
    if torch.any(codes >= 16):
        raise ValueError("codes have four bits")
    low = codes[..., 0::2]
    high = codes[..., 1::2]
    return low + high * 16


def unpack(packed):
    codes = torch.empty(*packed.shape[:-1], 2 * packed.shape[-1], dtype=torch.uint8, device=packed.device)
    codes[..., 0::2] = packed % 16
    codes[..., 1::2] = torch.div(packed, 16, rounding_mode="floor")
    return codes


def quantize_nf4(weight, block_size=64):
    if block_size < 1:
        raise ValueError("block_size must be positive")
    numbers = weight.detach().to(torch.float32).cpu().numpy().reshape(-1)
    starts = np.arange(0, len(numbers), block_size)
    absmax = np.maximum.reduceat(np.abs(numbers), starts)
    divisor = np.where(absmax == 0, np.float32(1), absmax)
    ratios = numbers / np.repeat(divisor, block_size)[: len(numbers)]
    right = np.clip(np.searchsorted(TABLE, ratios), 1, 15)
    nearer_left = ratios - TABLE[right - 1] < TABLE[right] - ratios
    codes = np.where(nearer_left, right - 1, right).astype(np.uint8)
    return torch.from_numpy(codes), torch.from_numpy(absmax)


def dequantize_nf4(codes, absmax, shape, dtype, block_size=64):
    levels = torch.from_numpy(TABLE).to(codes.device)[codes.to(torch.int64)]
    block = torch.arange(len(codes), device=codes.device) // block_size
    return (levels * absmax[block]).to(dtype).reshape(*shape)


def bits_per_weight(block_size, *, scale_bits=32, double_block=None):
    if block_size < 1:
        raise ValueError("block_size must be positive")
    if double_block is not None:
        if double_block < 1:
            raise ValueError("double_block must be positive")
        first = 8 / block_size
        second = scale_bits / (block_size * double_block)
        return 4 + first + second
    return 4 + scale_bits / block_size


class Int4Linear(nn.Module):
    def __init__(self, packed, scales, zeros, bias):
        super().__init__()
        self.register_buffer("packed", packed)
        self.register_buffer("scales", scales)
        self.register_buffer("zeros", zeros)
        self.register_buffer("bias", bias)

    @classmethod
    def from_linear(cls, linear, group_size):
        codes, scales, zeros = quantize_groups(linear.weight, group_size)
        if linear.bias is None:
            return cls(pack(codes), scales, zeros, None)
        return cls(pack(codes), scales, zeros, linear.bias.detach().clone())

    def forward(self, x):
        codes = unpack(self.packed)
        weight = dequantize_groups(codes, self.scales, self.zeros, x.dtype)
        y = torch.matmul(x, weight.T)
        if self.bias is not None:
            y = y + self.bias.to(y.dtype)
        return y
