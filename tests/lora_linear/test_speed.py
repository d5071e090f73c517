"""How fast, beside the naive way, full fine-tuning, peft and loralib: `pytest --benchmark-only --katas=solutions tests/lora_linear`. No verdict on seconds."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dojo.testing import expect_close
from dojo.testing.gpu import compare, copy_bandwidth, gpu_benchmark, installed, matmul_rate, report, seconds_of
from katas.lora_linear import LoRALinear

WIDTH, RANK, ALPHA = 4096, 16, 32.0


class Naive(nn.Module):
    """W + B A, formed in every forward."""

    def __init__(self, base, A, B):
        super().__init__()
        self.base, self.A, self.B = base, nn.Parameter(A), nn.Parameter(B)

    def forward(self, x):
        return F.linear(x, self.base.weight + ALPHA / RANK * self.B @ self.A, self.base.bias)


def adapted(layer, A, B):
    """The layer with this adapter, B no longer zero."""
    with torch.no_grad():
        layer.lora_A.copy_(A)
        layer.lora_B.copy_(B)
    return layer


def with_peft(base, A, B):
    from peft import LoraConfig
    from peft.tuners.lora import Linear

    layer = Linear(base, "default", LoraConfig(r=RANK, lora_alpha=ALPHA), r=RANK, lora_alpha=ALPHA)
    with torch.no_grad():
        layer.lora_A["default"].weight.copy_(A)
        layer.lora_B["default"].weight.copy_(B)
    return layer


def with_loralib(base, A, B):
    import loralib

    layer = loralib.Linear(WIDTH, WIDTH, r=RANK, lora_alpha=ALPHA)
    layer.weight, layer.bias = base.weight, base.bias
    return adapted(layer, A, B)


def train_step(layer, x):
    """Forward and backward; an earlier layer wants the gradient of x, too."""
    layer.zero_grad()
    x = x.detach().requires_grad_()
    layer(x).backward(x.detach())
    return x.grad


@pytest.mark.parametrize("what", ["forward", "forward and backward"])
def test_speed_on_cpu(benchmark, capsys, rng, what):
    """64 rows through 4096 -> 4096 at rank 16. All ways share one frozen W, but for full fine-tuning."""
    A, B = torch.randn(RANK, WIDTH, generator=rng), torch.randn(WIDTH, RANK, generator=rng) / WIDTH
    x, base = torch.randn(64, WIDTH, generator=rng), nn.Linear(WIDTH, WIDTH)
    layers = {"yours": adapted(LoRALinear(base, RANK, ALPHA), A, B), "W + B A each time": Naive(base, A, B)}
    if installed("peft"):
        layers["peft"] = with_peft(base, A, B)
    if installed("loralib"):
        layers["loralib"] = with_loralib(base, A, B)
    run = (lambda layer, x: layer(x)) if what == "forward" else train_step
    want = run(layers["yours"], x).detach()
    for name, layer in layers.items():
        # float32 sums of 4096 terms, in two orders
        expect_close(run(layer, x).detach(), want, what=f"{name}: {what}", rtol=1e-3, atol=1e-3)
    merged = adapted(LoRALinear(base, RANK, ALPHA), A, torch.zeros_like(B))  # B = 0: W stays as the others need it
    merged.merge()
    layers |= {"merged": merged, "full fine-tuning": nn.Linear(WIDTH, WIDTH)}
    compare(benchmark, capsys, {name: partial(run, layer, x) for name, layer in layers.items()}, rounds=10)


def on_gpu(dtype=torch.bfloat16):
    layer = LoRALinear(nn.Linear(WIDTH, WIDTH, device="cuda", dtype=dtype), RANK, ALPHA)
    return adapted(layer, torch.randn(RANK, WIDTH, device="cuda"), torch.randn(WIDTH, RANK, device="cuda") / WIDTH)


def exact(layer, x):
    return layer.double()(x.double()).to(x.dtype)


@pytest.mark.gpu
@pytest.mark.benchmark(group="LoRA on CUDA, 4096 -> 4096, rank 16, bfloat16")
def test_training_speed_on_gpu(benchmark, capsys):
    """8192 tokens, forward and backward: two products with W, reported as a fraction of the card's matmul rate."""
    ceiling, layer = matmul_rate(dtype=torch.bfloat16), on_gpu()

    def inputs():
        return layer, torch.randn(8192, WIDTH, device="cuda", dtype=torch.bfloat16)

    (_, x), _ = gpu_benchmark(benchmark, train_step, inputs)
    y = layer(x)
    expect_close(y, exact(layer, x), what="the output", rtol=2e-2, atol=5e-2)  # bfloat16: 8 bits
    achieved = 2 * 2 * x.numel() * WIDTH / seconds_of(benchmark)
    report(
        benchmark, capsys,
        f"two products with W at {achieved / 1e12:.0f} TFLOP/s, {achieved / ceiling:.0%} of this card's {ceiling / 1e12:.0f}",
        achieved=achieved, fraction=achieved / ceiling,
    )  # fmt: skip


@pytest.mark.gpu
@pytest.mark.parametrize("merged", [False, True], ids=["with its branch", "merged"])
@pytest.mark.benchmark(group="LoRA on CUDA, one row of 4096 -> 4096, rank 16, bfloat16")
def test_decoding_speed_on_gpu(benchmark, capsys, merged):
    """One row: the floor is reading W once. Merging takes the branch's launches away, and no byte of W."""
    ceiling, layer = copy_bandwidth(), on_gpu().requires_grad_(False)
    if merged:
        layer.merge()

    def inputs():
        return layer, torch.randn(1, WIDTH, device="cuda", dtype=torch.bfloat16)

    (_, x), y = gpu_benchmark(benchmark, lambda layer, x: layer(x), inputs)
    achieved = layer.base.weight.nbytes / seconds_of(benchmark)
    expect_close(y, exact(layer, x), what="the output", rtol=2e-2, atol=5e-2)  # bfloat16: 8 bits
    report(
        benchmark, capsys,
        f"read W at {achieved / 1e9:.0f} GB/s, {achieved / ceiling:.0%} of this card's {ceiling / 1e9:.0f} GB/s",
        achieved=achieved, fraction=achieved / ceiling,
    )  # fmt: skip
