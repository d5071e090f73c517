"""The floor is the frozen layer's own products: one with W forward, one more for the gradient of x backward.
peft and loralib spend the same FLOPs, nearly all of them in W: a few hundredths are all that can be gained on them."""

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from dojo.testing.bench import work


class Naive(nn.Module):
    """W + B A, formed in every forward."""

    def __init__(self, base, A, B, scaling):
        super().__init__()
        self.base, self.A, self.B, self.scaling = base, nn.Parameter(A), nn.Parameter(B), scaling

    def forward(self, x):
        return F.linear(x, self.base.weight + self.scaling * self.B @ self.A, self.base.bias)


def with_weights(layer, parameters, values):
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)
    return layer


def with_peft(base, A, B, rank):
    from peft import LoraConfig
    from peft.tuners.lora import Linear

    layer = Linear(base, "default", LoraConfig(r=rank, lora_alpha=2 * rank), r=rank, lora_alpha=2 * rank)
    return with_weights(layer, (layer.lora_A["default"].weight, layer.lora_B["default"].weight), (A, B))


def with_loralib(base, A, B, rank):
    import loralib

    layer = loralib.Linear(base.in_features, base.out_features, r=rank, lora_alpha=2 * rank)
    layer.weight, layer.bias = base.weight, base.bias
    return with_weights(layer, (layer.lora_A, layer.lora_B), (A, B))


def forward(layer, x):
    with torch.no_grad():
        return layer(x)


def train_step(layer, x):
    """Forward and backward; an earlier layer wants the gradient of x, too."""
    layer.zero_grad()
    x = x.detach().requires_grad_()
    layer(x).backward(x.detach())
    return x.grad


def layers(bench, run, rows, width, rank):
    base = nn.Linear(width, width).to(bench.device).requires_grad_(False)
    A, B = bench.randn(rank, width), bench.randn(width, rank) / width
    x = bench.randn(rows, width)

    def of_kata(kata):
        layer = kata.LoRALinear(base, rank, 2 * rank)
        return partial(run, with_weights(layer, (layer.lora_A, layer.lora_B), (A, B)), x)

    bench.katas(of_kata)
    bench.way("naive: W + B A each time", partial(run, Naive(base, A, B, 2.0), x))
    bench.peer("peft", lambda: partial(run, with_peft(base, A, B, rank), x))
    bench.peer("loralib", lambda: partial(run, with_loralib(base, A, B, rank), x))
    bench.same(rtol=1e-3, atol=1e-3)  # float32 sums of 4096 terms, in two orders


GROWTH = {"grows": {"rows": 1, "width": 2}, "tiny": {"rows": 64, "width": 512, "rank": 4}, "counts": "flops"}


@work(
    rows=64,
    width=4096,
    rank=16,
    sweep={"rows": (1, 16, 256), "width": (1024, 2048), "rank": (4, 64)},
    gpu={"rows": 8192},
    **GROWTH,
)
def train(bench, rows, width, rank):
    """Forward and backward."""
    layers(bench, train_step, rows, width, rank)
    bench.floor(bytes=2 * 4 * width**2, flops=2 * 2 * rows * width**2)


@work(rows=64, width=4096, rank=16, gpu={"rows": 1}, **GROWTH)
def infer(bench, rows, width, rank):
    """Forward alone."""
    layers(bench, forward, rows, width, rank)
    bench.floor(bytes=4 * width**2, flops=2 * rows * width**2)
