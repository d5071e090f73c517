"""A training step of equal blocks, plain and in segments. The floor is the FLOPs of a step with every block run twice."""

from functools import partial

import torch
import torch.utils.checkpoint
from torch import nn

from dojo.testing.bench import work


def step(run, layers, x):
    """The gradients of one step."""
    for parameter in layers.parameters():
        parameter.grad = None
    run(layers, x).square().mean().backward()
    return tuple(parameter.grad for parameter in layers.parameters())


def plain(layers, x):
    return layers(x)


def every_block(layers, x):
    for layer in layers:
        x = torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False)
    return x


def in_segments(kata, segments, layers, x):
    return kata.checkpoint_sequential(layers, segments, x)


@work(
    rows=2048,
    dim=512,
    layers=16,
    segments=4,
    tiny={"rows": 64, "dim": 16},
    gpu={"rows": 16384, "dim": 2048, "layers": 32},
    sweep={"rows": (512, 1024), "layers": (4, 8), "segments": (1, 16)},
    grows={"rows": 1, "dim": 2},
    counts="flops",
)
def training_step(bench, rows, dim, layers, segments):
    """16 blocks of two products in 4 segments: 4/3 of the plain step, which keeps all that the blocks compute."""
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)) for _ in range(layers)]
    model, x = nn.Sequential(*blocks).to(bench.device), bench.randn(rows, dim).requires_grad_()
    bench.katas(lambda kata: partial(step, partial(in_segments, kata, segments), model, x))
    bench.way("plain, all is kept", partial(step, plain, model, x))
    bench.way("torch: a checkpoint for each block", partial(step, every_block, model, x))
    bench.same(rtol=1e-4, atol=1e-6)
    bench.floor(flops=4 * layers * 2 * 2 * rows * dim * 4 * dim)
