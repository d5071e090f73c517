"""Weights of a 4096 wide model: to groups, to NF4, back, and one token through the layer. The floor reads or writes each
float once, and the codes at 4 bits."""

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from dojo.testing.bench import work

SIZES = {"sweep": {"width": (512, 1024)}, "grows": {"width": 2}}


@work(width=4096, tiny={"width": 256}, **SIZES)
def groups(bench, width):
    """quantize_groups, in groups of 128."""
    weight = bench.randn(width, width)
    bench.katas(lambda kata: lambda: kata.quantize_groups(weight, 128)[1])
    bench.adapted("torchao", lambda kata: lambda: kata.quantize_groups(weight, 128)[1])

    def naive():
        rows = [row.aminmax() for row in weight.reshape(-1, 128)]
        return torch.stack([(high.clamp(min=0) - low.clamp(max=0)) / 15 for low, high in rows]).reshape(width, -1)

    bench.way("naive: ranges in a loop, no codes", naive)
    bench.same()
    bench.floor(bytes=5 * width * width)


@work(width=4096, tiny={"width": 256}, **SIZES)
def nf4(bench, width):
    """quantize_nf4, in blocks of 64."""
    weight = bench.randn(width, width)
    bench.katas(lambda kata: lambda: kata.quantize_nf4(weight)[0])
    table = bench.reference.NF4.to(bench.device)

    def distances():
        blocks = weight.reshape(-1, 64)
        return ((blocks / blocks.abs().amax(1, keepdim=True))[..., None] - table).abs().argmin(-1).flatten().byte()

    bench.way("naive: all 16 distances", distances)
    bench.same()
    bench.floor(bytes=5 * width * width)


@work(width=4096, tiny={"width": 512}, **SIZES)
def one_token(bench, width):
    """A forward of one token. Without a fused kernel it moves more than a float layer."""
    linear, x = nn.Linear(width, width).to(bench.device).requires_grad_(False), bench.randn(1, width)
    bench.katas(lambda kata: partial(kata.Int4Linear.from_linear(linear, 128), x))
    codes, scales, zeros = bench.reference.quantize_groups(linear.weight, 128)
    weight = bench.reference.dequantize_groups(codes, scales, zeros, torch.float32)
    bench.way("dequantised before", partial(F.linear, x, weight, linear.bias))
    bench.same(rtol=1e-3, atol=1e-3)
    bench.floor(bytes=width * width // 2, flops=2 * width * width)
