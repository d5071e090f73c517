"""torch's own quantiser: quantize_per_channel rounds the codes and gives them back; the layer works in blocks of rows."""

import warnings
from itertools import pairwise

import torch
from torch import nn

NF4_HALF = (0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224)
NF4_HALF += (0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0)
NF4_REST = (-0.09105003625154495, -0.18477343022823334, -0.28444138169288635, -0.39491748809814453)
NF4_REST += (-0.5250730514526367, -0.6961928009986877, -1.0)
LEVELS = sorted((*NF4_HALF, 0.0, *NF4_REST))


def quantize_groups(weight, group_size):
    if weight.dim() != 2 or group_size < 1 or weight.size(1) % group_size:
        raise ValueError("groups do not come out even")
    rows = weight.detach().float().reshape(-1, group_size).contiguous()
    low, high = rows.amin(1).clamp_(max=0.0), rows.amax(1).clamp_(min=0.0)
    scales = high.sub(low).div_(15)
    scales[scales < torch.finfo(torch.float32).tiny] = 1.0
    zeros = torch.round(low / scales).neg().long()
    # The division is by hand: the kernel multiplies by 1 / scale, which may be infinite.
    ones = torch.ones(len(rows), dtype=torch.float64)
    with warnings.catch_warnings(action="ignore"):
        steps = torch.quantize_per_channel(rows / scales[:, None], ones, zeros, 0, torch.quint8).int_repr()
    codes = steps.clamp(max=15)
    return codes.reshape(weight.shape), scales.reshape(len(weight), -1), zeros.byte().reshape(len(weight), -1)


def dequantize_groups(codes, scales, zeros, dtype):
    size = codes.shape[1] // scales.shape[1]
    steps = codes.to(torch.int8) - zeros.to(torch.int8).repeat_interleave(size, 1)
    return (steps * scales.repeat_interleave(size, 1)).to(dtype)


def pack(codes):
    if codes.shape[-1] % 2 or (codes >> 4).any():
        raise ValueError("two codes of four bits for each byte")
    return codes[..., 1::2] * 16 ^ codes[..., 0::2]


def unpack(packed):
    out = packed.repeat_interleave(2, -1)
    out[..., 0::2] &= 15
    out[..., 1::2] >>= 4
    return out


def quantize_nf4(weight, block_size=64):
    if block_size < 1:
        raise ValueError("blocks are not empty")
    flat = weight.detach().float().reshape(-1)
    short = -flat.numel() % block_size
    blocks = torch.cat([flat, flat.new_zeros(short)]).reshape(-1, block_size)
    absmax = torch.maximum(blocks.amax(1), -blocks.amin(1))
    midpoints = [(low + high) / 2 for low, high in pairwise(LEVELS)]
    # No division: the midpoints are scaled instead, one after the other.
    codes = sum((blocks > middle * absmax[:, None]).to(torch.uint8) for middle in midpoints)
    codes = torch.where(absmax[:, None] > 0, codes, 7)
    return codes.reshape(-1)[: flat.numel()].contiguous(), absmax + 0.0


def dequantize_nf4(codes, absmax, shape, dtype, block_size=64):
    table = absmax.new_tensor(LEVELS)
    out = table.index_select(0, codes.to(torch.int32))
    out *= absmax.unsqueeze(1).expand(-1, block_size).reshape(-1)[: out.numel()]
    return out.to(dtype).reshape(list(shape))


def bits_per_weight(block_size, *, scale_bits=32, double_block=None):
    if block_size < 1 or (double_block or 1) < 1 or double_block == 0:
        raise ValueError("sizes below 1")
    return 4 + (scale_bits if double_block is None else scale_bits / double_block + 8) / block_size


class Int4Linear(nn.Module):
    def __init__(self, packed, scales, zeros, bias):
        super().__init__()
        self.register_buffer("packed", packed)
        self.register_buffer("scales", scales)
        self.register_buffer("zeros", zeros)
        self.register_buffer("bias", bias)

    @classmethod
    def from_linear(cls, linear, group_size):
        codes, scales, zeros = quantize_groups(linear.weight.data, group_size)
        bias = linear.bias if linear.bias is None else linear.bias.data.clone()
        return cls(pack(codes), scales, zeros, bias)

    def forward(self, x):
        outputs = []
        for packed, scales, zeros in zip(*(part.split(100) for part in self.parts()), strict=True):
            outputs.append(x @ dequantize_groups(unpack(packed), scales, zeros, x.dtype).mT)
        y = torch.cat(outputs, -1)
        return y if self.bias is None else torch.add(y, self.bias.to(y.dtype))

    def parts(self):
        return self.packed, self.scales, self.zeros
