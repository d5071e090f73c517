"""The floor of a prediction is the U-Net's own forward, which the plain U-Net shows."""

from functools import partial

import torch

from dojo.testing.bench import work


def step(eps, *nets):
    for net in nets:
        net.zero_grad()
    out = eps()
    out.square().sum().backward()
    return out.detach()


def without_grad(eps):
    with torch.no_grad():
        return eps()


def expect_equal_outputs(results):
    """At the start, zero convolutions make every prediction the U-Net's own."""
    first, *others = results.values()
    for other in others:
        torch.testing.assert_close(other, first, rtol=1e-4, atol=1e-4)


def inputs(bench, batch, side, scale):
    t = bench.randint(1000, batch)
    return bench.randn(batch, 4, side, side), t, bench.randn(batch, 3, scale * side, scale * side)


SIZE = {
    "batch": 8,
    "width": 32,
    "side": 16,
    "sweep": {"batch": (1, 4, 16)},
    "gpu": {"batch": 16, "width": 320, "side": 64},
}
GROWTH = {"grows": {"batch": 1}, "tiny": {"batch": 2, "width": 8, "side": 8}, "counts": "flops"}


@work(**SIZE, **GROWTH)
def train(bench, batch, width, side):
    """A training step of the ControlNet on latents of four channels."""

    def controlled(kata, trainable=False):
        torch.manual_seed(0)  # every way starts with the same U-Net
        unet = kata.TinyUNet(4, (width, width, 2 * width), 32).to(bench.device)
        net = kata.ControlNet(unet, 3)
        unet.requires_grad_(trainable)
        x, t, condition = arguments(kata)
        return partial(step, lambda: kata.controlled_eps(unet, net, x, t, condition), unet, net)

    def arguments(kata):
        if not made:
            made.extend(inputs(bench, batch, side, kata.VAE_SCALE_FACTOR))
        return made

    made = []
    bench.katas(controlled)
    first = next(iter(bench.implementations.values()))
    bench.way("naive: the U-Net trains too", controlled(first, trainable=True))
    bench.check(expect_equal_outputs)
    bench.floor(flops=2 * 2 * batch * 4 * width * 9 * side**2)  # the first convolutions of both nets alone


@work(**SIZE, **GROWTH)
def predict(bench, batch, width, side):
    """One prediction, without gradients."""

    def nets(kata):
        torch.manual_seed(0)
        unet = kata.TinyUNet(4, (width, width, 2 * width), 32).to(bench.device)
        return unet, kata.ControlNet(unet, 3)

    def controlled(kata):
        unet, net = nets(kata)
        x, t, condition = made or made.extend(inputs(bench, batch, side, kata.VAE_SCALE_FACTOR)) or made
        return partial(without_grad, lambda: kata.controlled_eps(unet, net, x, t, condition))

    made = []
    bench.katas(controlled)
    first = next(iter(bench.implementations.values()))
    unet, net = nets(first)
    both = first.MultiControlNet([net, nets(first)[1]])
    x, t, condition = made
    bench.way(
        "with two ControlNets",
        partial(without_grad, lambda: first.controlled_eps(unet, both, x, t, [condition] * 2)),
    )
    bench.way("the plain U-Net", partial(without_grad, lambda: unet(x, t)))
    bench.check(expect_equal_outputs)
    bench.floor(flops=2 * batch * 4 * width * 9 * side**2)
