"""The block and the final layer of a small DiT, in evaluation. The floor is the FLOPs of the layers, of attention, and of the
modulation, which is computed once a sample."""

import torch
from torch import nn
from torch.nn import functional as F

from dojo.testing.bench import work

SIZES = {"sweep": {"batch": (2, 8), "tokens": (64, 256)}, "grows": {"batch": 1}, "counts": "flops"}


def evaluated(forward, *inputs):
    def run():
        with torch.no_grad():
            return forward(*inputs)

    return run


def trained(module, like=None):
    """The module with weights that are not zero: those of `like`, or random ones."""
    if like is not None:
        module.load_state_dict(like.state_dict())
        return module
    for layer in module.children():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.02)
    return module


def norm(x):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def block_per_token(block, heads, x, c):
    """Modulation for each token, one head after the other, and the scores in memory."""
    shift1, scale1, gate1, shift2, scale2, gate2 = block.modulation(F.silu(c)[:, None].expand_as(x)).chunk(6, -1)
    q, k, v = (part.chunk(heads, -1) for part in block.qkv(norm(x) * (1 + scale1) + shift1).chunk(3, -1))
    scale = q[0].shape[-1] ** -0.5
    mixed = [(q[i] @ k[i].mT * scale).softmax(-1) @ v[i] for i in range(heads)]
    x = x + gate1 * block.proj(torch.cat(mixed, -1))
    return x + gate2 * block.fc2(F.gelu(block.fc1(norm(x) * (1 + scale2) + shift2), approximate="tanh"))


def final_per_token(layer, x, c):
    shift, scale = layer.modulation(F.silu(c)[:, None].expand_as(x)).chunk(2, -1)
    return layer.linear(norm(x) * (1 + scale) + shift)


@work(
    batch=4,
    tokens=256,
    dim=384,
    heads=6,
    tiny={"batch": 2, "tokens": 16, "dim": 24, "heads": 4},
    gpu={"batch": 8, "tokens": 1024, "dim": 1152, "heads": 16},
    **SIZES,
)
def block(bench, batch, tokens, dim, heads):
    """The block."""
    x, c = bench.randn(batch, tokens, dim), bench.randn(batch, dim)
    first = trained(next(iter(bench.implementations.values())).DiTBlock(dim, heads)).to(bench.device)

    def of(module):
        return evaluated(trained(module.DiTBlock(dim, heads).to(bench.device), first), x, c)

    bench.katas(of)
    bench.adapted("diffusers", of)
    bench.way("naive: modulation for each token, a loop over heads", evaluated(block_per_token, first, heads, x, c))
    bench.same(rtol=1e-3, atol=1e-4)
    bench.floor(flops=batch * (tokens * (24 * dim**2 + 4 * tokens * dim) + 12 * dim**2))


@work(
    batch=4,
    tokens=256,
    dim=384,
    outputs=16,
    tiny={"batch": 2, "tokens": 16, "dim": 24, "outputs": 4},
    gpu={"batch": 8, "tokens": 1024, "dim": 1152, "outputs": 16},
    **SIZES,
)
def final_layer(bench, batch, tokens, dim, outputs):
    """The final layer."""
    x, c = bench.randn(batch, tokens, dim), bench.randn(batch, dim)
    first = trained(next(iter(bench.implementations.values())).FinalLayer(dim, 1, outputs)).to(bench.device)

    def of(module):
        return evaluated(trained(module.FinalLayer(dim, 1, outputs).to(bench.device), first), x, c)

    bench.katas(of)
    bench.adapted("diffusers", of)
    bench.way("naive: modulation for each token", evaluated(final_per_token, first, x, c))
    bench.same(rtol=1e-3, atol=1e-4)
    bench.floor(flops=batch * (tokens * 2 * dim * outputs + 4 * dim**2))
