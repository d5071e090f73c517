"""Sums of codes in the layer: x is multiplied by the codes group by group, and zero points are taken off as sums of x.
Ties of zero points and codes go up."""

import torch
import torch.nn.functional as F

TABLE = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634),
    *(0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)


def half_up(x):
    return torch.floor(x + 0.5)


def quantize_groups(weight, group_size):
    if weight.dim() != 2:
        raise ValueError("a matrix")
    out, inputs = weight.shape
    if group_size < 1 or inputs != inputs // group_size * group_size:
        raise ValueError("groups")
    rows = weight.detach().reshape(-1, group_size).float()  # a row is a group
    zero = torch.zeros(len(rows), device=rows.device)
    low = torch.minimum(rows.min(dim=1).values, zero)
    high = torch.maximum(rows.max(dim=1).values, zero)
    scales = high / 15 - low / 15
    scales = torch.where(scales < torch.finfo(torch.float32).smallest_normal, torch.ones_like(scales), scales)
    zeros = half_up(-low / scales)
    codes = half_up(rows / scales.unsqueeze(1)) + zeros.unsqueeze(1)
    codes = torch.clamp(codes, min=0, max=15).to(torch.uint8)
    return codes.view(out, inputs), scales.view(out, -1), zeros.to(torch.uint8).view(out, -1)


def dequantize_groups(codes, scales, zeros, dtype):
    group = torch.arange(codes.shape[1], device=codes.device) // (codes.shape[1] // scales.shape[1])
    scales = scales[:, group]
    return torch.mul(torch.sub(codes.int(), zeros[:, group].int()), scales).to(dtype)


def pack(codes):
    if codes.shape[-1] & 1 or codes.bitwise_and(0xF0).any():
        raise ValueError("four bits, in pairs")
    low, high = codes.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.bitwise_or(low, torch.bitwise_left_shift(high, 4))


def unpack(packed):
    low = packed.bitwise_and(0x0F)
    high = packed.bitwise_right_shift(4)
    return torch.cat([low.unsqueeze(-1), high.unsqueeze(-1)], dim=-1).reshape(*packed.shape[:-1], -1)


def quantize_nf4(weight, block_size=64):
    if block_size < 1:
        raise ValueError("block_size")
    table = torch.tensor(TABLE, device=weight.device)
    flat = weight.detach().reshape(-1).float()
    index = torch.arange(flat.numel(), device=flat.device) // block_size
    absmax = torch.zeros(int(index[-1]) + 1, device=flat.device).scatter_reduce(0, index, flat.abs(), "amax")
    ratios = flat / (absmax + (absmax == 0))[index]
    above = torch.searchsorted(table, ratios.contiguous()).clamp(1, 15)
    codes = above - ((ratios - table[above - 1]) <= (table[above] - ratios)).long()
    return codes.to(torch.uint8), absmax


def dequantize_nf4(codes, absmax, shape, dtype, block_size=64):
    n = codes.numel()
    table = torch.tensor(TABLE, device=codes.device)
    levels = F.embedding(codes.int(), table[:, None]).squeeze(-1)
    padded = F.pad(levels, (0, len(absmax) * block_size - n)).view(len(absmax), block_size)
    return (padded * absmax[:, None]).view(-1)[:n].to(dtype).reshape(shape)


def bits_per_weight(block_size, *, scale_bits=32, double_block=None):
    for size in (block_size, double_block):
        if size is not None and size < 1:
            raise ValueError("too small")
    if double_block is None:
        return 4.0 + scale_bits / block_size
    weights = block_size * double_block  # those that share one scale of a scale
    return (4 * weights + 8 * double_block + scale_bits) / weights


class Int4Linear(torch.nn.Module):
    def __init__(self, packed, scales, zeros, bias=None):
        torch.nn.Module.__init__(self)
        self.register_buffer("packed", packed.clone())
        self.register_buffer("scales", scales.clone())
        self.register_buffer("zeros", zeros.clone())
        self.register_buffer("bias", None if bias is None else bias.clone())

    @classmethod
    def from_linear(cls, linear, group_size):
        with torch.no_grad():
            codes, scales, zeros = quantize_groups(linear.weight, group_size)
            return cls(pack(codes), scales, zeros, linear.bias)

    def forward(self, x):
        dtype = torch.promote_types(x.dtype, torch.float32)
        groups = self.scales.shape[1]
        codes = unpack(self.packed).unflatten(1, (groups, -1)).to(dtype)  # [out, groups, size]
        parts = x.to(dtype).unflatten(-1, (groups, -1))  # [*batch, groups, size]
        sums = torch.einsum("...gi,ogi->...og", parts, codes) - parts.sum(-1).unsqueeze(-2) * self.zeros
        y = (sums * self.scales).sum(-1)
        return (y if self.bias is None else y + self.bias).to(x.dtype)
