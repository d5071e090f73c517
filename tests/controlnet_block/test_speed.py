"""How fast, beside the frozen block alone and a block whose F trains too: `pytest --benchmark-only --katas=solutions tests/controlnet_block`. No verdict on seconds."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.benchmark import Timer

from dojo.testing import expect_close, measure
from dojo.testing.gpu import compare, gpu_benchmark, report, seconds_of
from katas.controlnet_block import ControlNetBlock


def convolutions(channels, **kind):
    conv = partial(nn.Conv2d, channels, channels, 3, padding=1, **kind)
    return nn.Sequential(conv(), nn.SiLU(), conv())


def forward_and_backward(net, *inputs):
    net.zero_grad()
    y = net(*inputs)
    y.square().sum().backward()
    return y.detach()


def test_speed_on_cpu(benchmark, capsys, rng):
    """Forward and backward of [8, 64, 32, 32]. The floor is F's forward plus a training step of one copy."""
    x, condition = torch.randn(8, 64, 32, 32, generator=rng), torch.randn(8, 3, 32, 32, generator=rng)
    net, naive, other = (ControlNetBlock(convolutions(64), 64, 3) for _ in range(3))
    naive.frozen.requires_grad_(True)  # the optimizer would never get F, but backward works for it
    expect_close(
        forward_and_backward(net, x, condition), net.frozen(x), what="the output at the start", rtol=1e-5, atol=1e-6
    )
    ways = {
        "yours": partial(forward_and_backward, net, x, condition),
        "naive (backward through F too)": partial(forward_and_backward, naive, x, condition),
        "training one block, no control": partial(forward_and_backward, other.copy, x),
        "F's forward alone": partial(net.frozen, x),
    }
    compare(benchmark, capsys, ways, rounds=10)


@pytest.mark.gpu
@pytest.mark.benchmark(group="ControlNet block on CUDA, forward and backward of [32, 320, 64, 64] bfloat16")
def test_speed_on_gpu(benchmark, capsys):
    """Nearly all the work is 3x3 convolutions: reported as a fraction of one forward's rate, measured just before."""
    kind = {"device": "cuda", "dtype": torch.bfloat16}
    conv, probe = nn.Conv2d(320, 320, 3, padding=1, **kind), torch.randn(32, 320, 64, 64, **kind)
    with torch.no_grad(), measure() as once:
        conv(probe)
    with torch.no_grad():
        ceiling = once.flops / Timer("conv(x)", globals={"conv": conv, "x": probe}).blocked_autorange().median
    net = ControlNetBlock(convolutions(320, **kind), 320, 3)

    def inputs():
        return net, torch.randn(32, 320, 64, 64, **kind), torch.randn(32, 3, 64, 64, **kind)

    with measure() as spent:
        forward_and_backward(*inputs())
    (_, x, _), y = gpu_benchmark(benchmark, forward_and_backward, inputs)
    with torch.no_grad():
        expect_close(y, net.frozen(x), what="the output at the start")
    achieved = spent.flops / seconds_of(benchmark)
    report(
        benchmark, capsys,
        f"{achieved / 1e12:.0f} TFLOP/s, {achieved / ceiling:.0%} of one convolution's {ceiling / 1e12:.0f} TFLOP/s",
        achieved=achieved, fraction=achieved / ceiling,
    )  # fmt: skip
