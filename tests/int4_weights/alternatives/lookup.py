"""Tables: a byte is looked up as two codes, NF4's midpoints are written out, and a group's 16 values are made first."""

import torch
from torch import nn

LEVELS = torch.tensor([-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635])
LEVELS = torch.cat([LEVELS, torch.tensor([-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534])])
LEVELS = torch.cat([LEVELS, torch.tensor([0.16093020141124725, 0.24611230194568634, 0.33791524171829224])])
LEVELS = torch.cat([LEVELS, torch.tensor([0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0])])
BYTES = torch.stack([torch.arange(256) & 15, torch.arange(256) >> 4], 1).to(torch.uint8)  # [256, 2]
MIDPOINTS = LEVELS.unfold(0, 2, 1).mean(1)


def check(condition, words):
    if not condition:
        raise ValueError(words)


def quantize_groups(weight, group_size):
    check(weight.ndim == 2 and group_size > 0, "a matrix, and groups of one or more")
    check(weight.shape[1] % group_size == 0, "groups of one size")
    weight = weight.detach().to(torch.promote_types(weight.dtype, torch.float32))
    groups = torch.stack(weight.split(weight.shape[1]))[0].unfold(1, group_size, group_size)  # [out, groups, size]
    low, high = -torch.relu(-groups.amin(-1)), torch.relu(groups.amax(-1))
    scales = ((high - low) / 15).to(torch.float32)
    empty = scales < 2**-126
    zeros = torch.where(empty, 0, (-low / scales).round()).clamp(0, 15)
    steps = torch.where(empty[..., None], 0, (groups / scales[..., None]).round())
    codes = torch.minimum(torch.maximum(steps, -zeros[..., None]), 15 - zeros[..., None]) + zeros[..., None]
    return codes.reshape(weight.shape).to(torch.uint8), scales, zeros.to(torch.uint8)


def dequantize_groups(codes, scales, zeros, dtype):
    steps = torch.arange(16, device=codes.device) - zeros[..., None].to(torch.int64)  # [out, groups, 16]
    values = (steps * scales[..., None]).to(dtype)
    return values.gather(2, codes.reshape(*scales.shape, -1).to(torch.int64)).reshape(codes.shape)


def pack(codes):
    check(codes.shape[-1] % 2 == 0, "pairs")
    check(codes.numel() == 0 or codes.max() <= 15, "four bits")
    return torch.sub(codes, 0)[..., ::2].add(codes[..., 1::2], alpha=16)


def unpack(packed):
    return BYTES.to(packed.device)[packed.to(torch.int32)].flatten(-2)


def quantize_nf4(weight, block_size=64):
    check(block_size > 0, "blocks of one or more")
    flat = weight.detach().to(torch.float32).reshape(-1)
    whole = flat.numel() // block_size * block_size
    head, tail = flat[:whole].reshape(-1, block_size), flat[whole:].reshape(1, -1)
    codes, sizes = [], []
    for blocks in (head, tail):  # the last block, where it is short, by itself
        if blocks.numel():
            most = blocks.abs().max(1).values
            ratios = torch.where(most[:, None] > 0, blocks / most[:, None], 0.0)
            codes.append(torch.searchsorted(MIDPOINTS.to(flat.device), ratios, out_int32=True).flatten())
            sizes.append(most)
    return torch.cat(codes).to(torch.uint8), torch.cat(sizes)


def dequantize_nf4(codes, absmax, shape, dtype, block_size=64):
    values = torch.outer(absmax, LEVELS.to(absmax.device)).to(dtype)  # [blocks, 16]
    block = torch.arange(codes.numel(), device=codes.device).div(block_size, rounding_mode="floor")
    return values[block, codes.to(torch.int64)].reshape(shape)


def bits_per_weight(block_size, *, scale_bits=32, double_block=None):
    check(block_size > 0 and (double_block is None or double_block > 0), "blocks of one or more")
    per_block = [scale_bits] if double_block is None else [8, scale_bits / double_block]
    return 4 + sum(bits / block_size for bits in per_block)


class Int4Linear(nn.Module):
    def __init__(self, packed, scales, zeros, bias):
        super().__init__()
        self.register_buffer("packed", packed)
        self.register_buffer("scales", scales)
        self.register_buffer("zeros", zeros)
        self.register_buffer("bias", bias)

    @classmethod
    def from_linear(cls, linear, group_size):
        state = {name: value.detach() for name, value in linear.state_dict().items()}
        codes, *rest = quantize_groups(state["weight"], group_size)
        return cls(pack(codes), *rest, state["bias"].clone() if "bias" in state else None)

    def forward(self, x):
        weight = dequantize_groups(unpack(self.packed), self.scales, self.zeros, x.dtype)
        y = (weight @ x.reshape(-1, x.shape[-1]).mT).mT.reshape(*x.shape[:-1], len(weight))
        return y if self.bias is None else y + self.bias.to(x.dtype)
