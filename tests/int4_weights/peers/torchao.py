"""torchao's quantisation in groups, there and back, and the absolute maxima of its NF4. It knows no float64, nor blocks of one
number; its scales have a lower limit, here the smallest normal number; and its nearest level of NF4 makes 16
numbers of each: that is a search here."""

import torch
from torch import nn
from torch.nn import functional as F
from torchao.quantization.quant_primitives import (
    MappingType,
    choose_qparams_affine,
    dequantize_affine,
    quantize_affine,
)
from torchao.quantization.quantize_.workflows.nf4.nf4_tensor import NF4Tensor, get_block_absmax

NF4 = [
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
]
LEAST = torch.finfo(torch.float32).tiny


def quantize_groups(weight, group_size):
    if weight.ndim != 2 or group_size < 1 or weight.shape[1] % group_size:
        raise ValueError("groups")
    groups = weight.detach().float().reshape(-1, group_size)
    groups = groups if group_size > 1 else groups.repeat(1, 2)  # blocks of one number get one scale together
    block = (1, groups.shape[1])
    options = {"eps": LEAST, "scale_dtype": torch.float32, "zero_point_dtype": torch.int32}
    scales, zeros = choose_qparams_affine(groups, MappingType.ASYMMETRIC, block, torch.uint8, 0, 15, **options)
    codes = quantize_affine(groups, block, scales, zeros, torch.uint8, 0, 15)
    shape = len(weight), weight.shape[1] // group_size
    return codes[:, :group_size].reshape(weight.shape), scales.reshape(shape), zeros.reshape(shape).byte()


def dequantize_groups(codes, scales, zeros, dtype):
    groups = codes.reshape(scales.numel(), -1).contiguous()
    block, scales, zeros = (1, groups.shape[1]), scales.flatten(), zeros.flatten().int()
    back = dequantize_affine(groups, block, scales, zeros, torch.uint8, 0, 15)
    return back.reshape(codes.shape).to(dtype)


def pack(codes):
    if codes.shape[-1] % 2 or (codes > 15).any():
        raise ValueError("codes")
    return codes[..., 1::2] << 4 | codes[..., ::2]


def unpack(packed):
    return torch.stack([packed & 15, packed >> 4], -1).flatten(-2)


def blocks(x, block_size):
    return F.pad(x, (0, -len(x) % block_size))


def quantize_nf4(weight, block_size=64):
    if block_size < 1:
        raise ValueError("block_size")
    x = weight.detach().flatten()
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    absmax = get_block_absmax(blocks(x, block_size), block_size)
    divisors = absmax.where(absmax > 1e-37, 1).repeat_interleave(block_size)[: len(x)]
    levels = torch.tensor(NF4, dtype=x.dtype, device=x.device)
    codes = torch.searchsorted((levels[1:] + levels[:-1]) / 2, x / divisors)
    return codes.byte(), absmax.float()


def dequantize_nf4(codes, absmax, shape, dtype, block_size=64):
    levels = torch.tensor(NF4, dtype=torch.promote_types(dtype, torch.float32), device=codes.device)
    scales = absmax.repeat_interleave(block_size)[: len(codes)]
    return (NF4Tensor.dequantize(codes.long(), levels) * scales).reshape(shape).to(dtype)


def bits_per_weight(block_size, *, scale_bits=32, double_block=None):
    if block_size < 1 or (double_block is not None and double_block < 1):
        raise ValueError("blocks")
    return 4 + (scale_bits if double_block is None else 8 + scale_bits / double_block) / block_size


class Int4Linear(nn.Module):
    def __init__(self, packed, scales, zeros, bias):
        super().__init__()
        for name, value in (("packed", packed), ("scales", scales), ("zeros", zeros), ("bias", bias)):
            self.register_buffer(name, value)

    @classmethod
    def from_linear(cls, linear, group_size):
        codes, scales, zeros = quantize_groups(linear.weight, group_size)
        return cls(pack(codes), scales, zeros, None if linear.bias is None else linear.bias.detach().clone())

    def forward(self, x):
        wide = torch.promote_types(x.dtype, torch.float32)
        weight = dequantize_groups(unpack(self.packed), self.scales, self.zeros, wide)
        return F.linear(x.to(wide), weight, None if self.bias is None else self.bias.to(wide)).to(x.dtype)
