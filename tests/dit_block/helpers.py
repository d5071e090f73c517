"""Blocks whose weights are set by hand, and branches that answer with what they read."""

import torch
from torch.nn import functional as F

from dojo.testing import expect_equal, randn
from dojo.testing.modules import fill
from katas.dit_block import DiTBlock, FinalLayer

DIM, HEADS, HIDDEN = 6, 2, 9
BLOCK = ("shift1", "scale1", "gate1", "shift2", "scale2", "gate2")
FINAL = ("shift", "scale")
FORMULA = (
    "h = x + gate1 * attention(norm(x) * (1 + scale1) + shift1), then h + gate2 * mlp(norm(h) * (1 + scale2) + shift2)"
)
LAST = "linear(norm(x) * (1 + scale) + shift)"
READERS = ("attention", "the mlp", "the final layer")


def random_weights(module, rng, size=0.6):
    """The module in float64, and in the middle of its training: no parameter has zeros."""
    for parameter in module.double().parameters():
        fill(parameter, size * randn(rng, *parameter.shape))
    return module


def random_block(rng, dim=DIM, heads=HEADS, mlp_ratio=1.5):
    return random_weights(DiTBlock(dim, heads, mlp_ratio), rng)


def random_final(rng, dim=DIM, patch_size=2, out_channels=3):
    return random_weights(FinalLayer(dim, patch_size, out_channels), rng)


def new_block(rng, dim=DIM, heads=HEADS, mlp_ratio=1.5):
    """A block whose modulation is as it starts, and whose other weights are those of a trained one."""
    block = DiTBlock(dim, heads, mlp_ratio).double()
    for name, parameter in block.named_parameters():
        if not name.startswith("modulation"):
            fill(parameter, 0.6 * randn(rng, *parameter.shape))
    return block


def set_modulation(module, **values):
    """The module with these shifts, scales and gates for every c, and zeros for those that are not given."""
    names = FINAL if isinstance(module, FinalLayer) else BLOCK
    bias = module.get_parameter("modulation.bias")
    dim = len(bias) // len(names)
    parts = [torch.as_tensor(values.get(name, 0.0)).to(bias).expand(dim) for name in names]
    fill(bias, torch.cat(parts), what="modulation.bias")
    fill(module.get_parameter("modulation.weight"), 0.0, what="modulation.weight")
    return module


def transparent_block(dim, heads=1):
    """In float64: attention answers with the mean of the tokens that it reads, the mlp with what it reads (gelu(z) is z for
    z as large as 30, which the biases add and take away)."""
    block, eye, none = DiTBlock(dim, heads, 1.0).double(), torch.eye(dim), torch.zeros(dim)
    weights = {"qkv": torch.cat([0 * eye, 0 * eye, eye]), "proj": eye, "fc1": eye, "fc2": eye}
    biases = {"qkv": torch.cat([none] * 3), "proj": none, "fc1": none + 30, "fc2": none - 30}
    for name in weights:
        fill(block.get_parameter(f"{name}.weight"), weights[name], what=f"{name}.weight")
        fill(block.get_parameter(f"{name}.bias"), biases[name], what=f"{name}.bias")
    return set_modulation(block)


def transparent_final(dim):
    """In float64: the layer answers with what its linear layer reads."""
    layer = FinalLayer(dim, 1, dim).double()
    fill(layer.get_parameter("linear.weight"), torch.eye(dim), what="linear.weight")
    fill(layer.get_parameter("linear.bias"), 0.0, what="linear.bias")
    return set_modulation(layer)


def reads(reader, x, dtype=torch.float64, gate=1.0, **modulation):
    """What `reader` reads of the tokens x [tokens, dim], each a sample of its own: norm(x) * (1 + scale) + shift."""
    x = x[:, None].to(dtype)
    c = torch.ones_like(x[:, 0])
    if reader == "the final layer":
        got = set_modulation(transparent_final(x.shape[-1]).to(dtype), **modulation)(x, c)
    else:
        number = 1 if reader == "attention" else 2
        given = {f"{name}{number}": value for name, value in modulation.items()} | {f"gate{number}": gate}
        got = set_modulation(transparent_block(x.shape[-1]).to(dtype), **given)(x, c)
        expect_equal(list(got.shape), list(x.shape), what=f"the shape of the block of x {list(x.shape)}")
        got = (got.double() - x.double()) / gate
    expect_equal(list(got.shape), list(x.shape), what=f"the shape of what {reader} gives for x {list(x.shape)}")
    return got[:, 0]


def normed(x):
    """Tokens of mean 0 and variance 1."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def alone(module, x, c):
    """Each sample by itself."""
    return torch.cat([module(x[i : i + 1].clone(), c[i : i + 1].clone()) for i in range(len(x))])
