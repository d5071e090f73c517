"""float64 inside, einsum for scales and products, levels counted by 15 comparisons, nibbles by arithmetic."""

from itertools import pairwise

import torch
from torch import nn

NF4 = [-1.0, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.09105, 0.0]
NF4 += [0.0795803, 0.1609302, 0.2461123, 0.3379152, 0.4407098, 0.562617, 0.7229568, 1.0]


def quantize_groups(weight, group_size):
    if len(weight.shape) != 2 or group_size < 1 or weight.shape[-1] % group_size != 0:
        raise ValueError("no such groups")
    with torch.no_grad():
        groups = weight.double().reshape(weight.shape[0], weight.shape[1] // group_size, group_size)
        with_zero = torch.nn.functional.pad(groups, (0, 1))
        low, high = torch.aminmax(with_zero, dim=-1)
        scales = torch.div(high - low, 15).float()
        inverse = torch.where(scales < 1.2e-38, 0.0, 1 / scales.double())
        zeros = torch.round(-low * inverse)
        codes = torch.round(torch.einsum("ogi,og->ogi", groups, inverse) + zeros[..., None])
        return codes.clamp(0, 15).reshape(weight.shape).byte(), scales, zeros.byte()


def dequantize_groups(codes, scales, zeros, dtype):
    steps = codes.double().reshape(*scales.shape, -1) - zeros.double().unsqueeze(-1)
    return torch.einsum("ogi,og->ogi", steps, scales.double()).reshape(codes.shape).to(dtype)


def pack(codes):
    if codes.shape[-1] % 2 != 0 or not bool((codes < 16).all()):
        raise ValueError("pairs of nibbles")
    pairs = codes.reshape(*codes.shape[:-1], -1, 2).int()
    return (pairs * torch.tensor([1, 16], dtype=torch.int32, device=codes.device)).sum(-1).to(torch.uint8)


def unpack(packed):
    pairs = packed[..., None] // torch.tensor([1, 16], dtype=torch.uint8, device=packed.device) % 16
    return pairs.reshape(*packed.shape[:-1], -1)


def quantize_nf4(weight, block_size=64):
    if not block_size >= 1:
        raise ValueError("a block holds one or more")
    flat = torch.ravel(weight.detach()).to(torch.float64)
    blocks = -(-flat.numel() // block_size)
    rows = torch.cat([flat, flat.new_zeros(blocks * block_size - flat.numel())]).view(blocks, block_size)
    absmax = torch.linalg.vector_norm(rows, float("inf"), dim=1).float()
    rows = rows / torch.where(absmax > 0, absmax, torch.ones_like(absmax)).double()[:, None]
    codes = torch.zeros_like(rows, dtype=torch.uint8)
    for left, right in pairwise(NF4):
        codes += rows > (left + right) / 2
    return codes.reshape(-1)[: flat.numel()], absmax


def dequantize_nf4(codes, absmax, shape, dtype, block_size=64):
    table = torch.tensor(NF4, dtype=torch.float64, device=codes.device)
    sizes = torch.full((len(absmax),), block_size, device=codes.device)
    sizes[-1] = len(codes) - block_size * (len(absmax) - 1)
    levels = torch.take(table, codes.long()) * torch.repeat_interleave(absmax.double(), sizes)
    return levels.to(dtype).view(shape)


def bits_per_weight(block_size, *, scale_bits=32, double_block=None):
    if min(block_size, 1 if double_block is None else double_block) < 1:
        raise ValueError("sizes begin at 1")
    scale = scale_bits if double_block is None else 8 + scale_bits / double_block
    return (4 * block_size + scale) / block_size


class Int4Linear(nn.Module):
    def __init__(self, packed, scales, zeros, bias):
        super().__init__()
        for name, value in {"packed": packed, "scales": scales, "zeros": zeros, "bias": bias}.items():
            self.register_buffer(name, value)

    @classmethod
    @torch.no_grad()
    def from_linear(cls, linear, group_size):
        codes, scales, zeros = quantize_groups(linear.weight, group_size)
        return cls(pack(codes), scales, zeros, None if linear.bias is None else linear.bias + 0)

    def forward(self, x):
        wide = torch.promote_types(x.dtype, torch.float32)
        weight = dequantize_groups(unpack(self.packed), self.scales, self.zeros, wide)
        y = torch.einsum("...i,oi->...o", x.to(wide), weight)
        return (y if self.bias is None else y + self.bias.to(wide)).to(x.dtype)
