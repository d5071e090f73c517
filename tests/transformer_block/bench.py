"""The feed-forward part and the block of a small Llama, in evaluation. The floor is the FLOPs of the three projections; at
few rows, as in decoding, it is the bytes of the weights instead."""

import torch
from torch import nn
from torch.nn import functional as F

from dojo.testing.bench import work

SIZES = {"sweep": {"rows": (64, 1024)}, "grows": {"rows": 1}, "counts": "flops"}


class Nothing(nn.Module):
    """Attention that costs nothing."""

    def forward(self, x):
        return torch.zeros(()).to(x).expand_as(x)


def row_by_row(layer, x):
    """A loop over tokens: each of them reads all weights."""
    return torch.stack([layer.down(F.silu(layer.gate(row)) * layer.up(row)) for row in x])


def fused(layer, x):
    """One product for gate and up, whose weights stand side by side in memory."""
    weight = torch.cat([layer.gate.weight, layer.up.weight]).detach()

    def forward(x):
        gate, up = F.linear(x, weight).chunk(2, -1)
        return layer.down(F.silu(gate) * up)

    return evaluated(forward, x)


def evaluated(forward, *inputs):
    def run():
        with torch.no_grad():
            return forward(*inputs)

    return run


@work(
    rows=512,
    dim=1024,
    hidden=2816,
    tiny={"rows": 8, "dim": 32, "hidden": 96},
    gpu={"rows": 8192, "dim": 4096, "hidden": 11008},
    **SIZES,
)
def swiglu(bench, rows, dim, hidden):
    """SwiGLU."""
    x = bench.randn(rows, dim)
    first = next(iter(bench.implementations.values())).SwiGLU(dim, hidden).to(bench.device)

    def of(module):
        own = module.SwiGLU(dim, hidden).to(bench.device)
        own.load_state_dict(first.state_dict())
        return evaluated(own, x)

    bench.katas(of)
    bench.way("naive: row by row", evaluated(row_by_row, first, x))
    bench.way("gate and up in one product", fused(first, x))
    bench.adapted("transformers", of)
    bench.same(rtol=1e-3, atol=1e-4)
    bench.floor(flops=6 * rows * dim * hidden)


@work(
    rows=512,
    dim=1024,
    hidden=2816,
    tiny={"rows": 8, "dim": 32, "hidden": 96},
    gpu={"rows": 8192, "dim": 4096, "hidden": 11008},
    **SIZES,
)
def block(bench, rows, dim, hidden):
    """The block, around attention that costs nothing."""
    x = bench.randn(rows, dim)
    first = next(iter(bench.implementations.values())).Block(dim, hidden, Nothing()).to(bench.device)

    def of(module):
        own = module.Block(dim, hidden, Nothing()).to(bench.device)
        own.load_state_dict(first.state_dict())
        return evaluated(own, x)

    bench.katas(of)
    bench.way("naive: row by row", evaluated(lambda x: x + row_by_row(first.mlp, first.norm2(x)), x))
    bench.adapted("transformers", of)
    bench.same(rtol=1e-3, atol=1e-4)
    bench.floor(flops=6 * rows * dim * hidden)
