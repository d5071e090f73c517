"""How fast, beside the plain U-Net and one that is trained as a whole: `pytest --benchmark-only --katas=solutions tests/controlnet_unet`. No verdict on seconds."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.benchmark import Timer

from dojo.testing import expect_close, measure
from dojo.testing.gpu import compare, gpu_benchmark, report, seconds_of
from katas.controlnet_unet import VAE_SCALE_FACTOR, ControlNet, MultiControlNet, TinyUNet, controlled_eps


def pair(channels, **kind):
    unet = TinyUNet(4, channels, 32).to(**kind)
    return unet, ControlNet(unet, 3)


def inputs(batch, size, **kind):
    x, t = torch.randn(batch, 4, size, size, **kind), torch.randint(1000, (batch,), device=kind.get("device"))
    return x, t, torch.randn(batch, 3, VAE_SCALE_FACTOR * size, VAE_SCALE_FACTOR * size, **kind)


def step(unet, net, x, t, condition):
    net.zero_grad()
    unet.zero_grad()
    eps = controlled_eps(unet, net, x, t, condition)
    eps.square().sum().backward()
    return eps.detach()


def train_alone(unet, x, t):
    unet.zero_grad()
    unet(x, t).square().sum().backward()


def test_speed_on_cpu(benchmark, capsys, rng):
    """A training step on latents of [8, 4, 16, 16], and predictions with none, one and two ControlNets."""
    unet, net = pair((32, 32, 64))
    whole, other = pair((32, 32, 64))
    whole.requires_grad_(True)
    x, t, condition = inputs(8, 16)
    expect_close(step(unet, net, x, t, condition), unet(x, t), what="eps at the start", rtol=1e-5, atol=1e-6)
    both = MultiControlNet([net, other])

    def predict(*controlnets):
        with torch.no_grad():
            return controlled_eps(unet, *controlnets) if controlnets else unet(x, t)

    ways = {
        "yours, a training step": partial(step, unet, net, x, t, condition),
        "naive, with the U-Net trainable": partial(step, whole, other, x, t, condition),
        "training the U-Net, no control": partial(train_alone, whole, x, t),
        "yours, a prediction": partial(predict, net, x, t, condition),
        "a prediction with two ControlNets": partial(predict, both, x, t, [condition] * 2),
        "the plain U-Net's prediction": predict,
    }
    compare(benchmark, capsys, ways, rounds=10)


@pytest.mark.gpu
@pytest.mark.benchmark(group="ControlNet on CUDA, a training step on latents of [16, 4, 64, 64] bfloat16")
def test_speed_on_gpu(benchmark, capsys):
    """Nearly all the work is 3x3 convolutions: reported as a fraction of one forward's rate, measured just before."""
    kind = {"device": "cuda", "dtype": torch.bfloat16}
    conv, probe = nn.Conv2d(320, 320, 3, padding=1, **kind), torch.randn(16, 320, 64, 64, **kind)
    with torch.no_grad(), measure() as once:
        conv(probe)
    with torch.no_grad():
        ceiling = once.flops / Timer("conv(x)", globals={"conv": conv, "x": probe}).blocked_autorange().median
    unet, net = pair((320, 320, 640), **kind)
    make = partial(inputs, 16, 64, **kind)
    with measure() as spent:
        step(unet, net, *make())
    (x, t, _), eps = gpu_benchmark(benchmark, partial(step, unet, net), make)
    with torch.no_grad():
        expect_close(eps, unet(x, t), what="eps at the start")
    achieved = spent.flops / seconds_of(benchmark)
    report(
        benchmark, capsys,
        f"{achieved / 1e12:.0f} TFLOP/s, {achieved / ceiling:.0%} of one convolution's {ceiling / 1e12:.0f} TFLOP/s",
        achieved=achieved, fraction=achieved / ceiling,
    )  # fmt: skip
