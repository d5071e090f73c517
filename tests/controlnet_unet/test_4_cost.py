"""Stage 4. One pass through each network, a backward pass only where something trains."""

import torch

from dojo.testing import expect, expect_graph
from katas.controlnet_unet import MultiControlNet, controlled_eps

from .helpers import built, inputs


def large(rng):
    """A wider U-Net and inputs for it."""
    unet, net = built((16, 16, 32))
    return unet, net, inputs(rng, size=(8, 8))


def test_either_network_runs_once(rng, cost):
    """The U-Net once, and for each ControlNet one pass through encoder and middle: together 1.4 times the U-Net here.
    A second U-Net pass (a plain and a controlled one) would make it 2.4 times."""
    unet, net, (x, t, condition) = large(rng)
    with torch.no_grad():
        with cost() as plain:
            unet(x, t)
        with cost() as hint:
            net.hint(condition)
    for count in (1, 3):
        given = (net, condition) if count == 1 else (MultiControlNet([net] * 3), [condition] * 3)
        with torch.no_grad(), cost() as spent:
            controlled_eps(unet, given[0], x, t, given[1])
        ratio = (spent.flops - count * hint.flops) / plain.flops
        expect(ratio > 1, f"U-Net and ControlNet should both be seen to run, but {ratio:.2f} U-Nets' FLOPs were")
        limit = 1 + 0.55 * count
        expect(
            ratio <= limit,
            f"{count} ControlNets should cost at most {limit:.2f} times the plain U-Net, but cost {ratio:.2f} times",
            hint="one walk through the encoder gives all residuals; the U-Net runs once, on their sum",
        )


def test_nothing_goes_backward_through_the_frozen_encoder(rng, cost):
    """Only decoder and ControlNet lie behind the loss, and of the decoder only its activations. The limit leaves room for
    recomputing activations."""
    unet, net, (x, t, condition) = large(rng)
    with torch.no_grad():
        with cost() as whole:
            controlled_eps(unet, net, x, t, condition)
        with cost() as residuals_alone:
            net(x, t, condition)
        with cost() as encoder:
            h, emb = unet.conv_in(x), unet.time(t)
            for block in (*unet.down, unet.mid):
                h = block(h, emb)
    decoder = whole.flops - residuals_alone.flops - encoder.flops
    eps = controlled_eps(unet, net, x, t, condition)
    expect_graph(eps, what="the prediction")
    with cost() as spent:
        eps.sum().backward()
    sentence = f"backward should take more FLOPs than the ControlNet's forward, but {spent.flops:.3g} were seen"
    expect(spent.flops > residuals_alone.flops, sentence, hint="all of the ControlNet trains: detach nothing")
    limit = 2.1 * decoder + 3.1 * residuals_alone.flops
    expect(
        spent.flops <= limit,
        f"backward should take at most {limit:.3g} FLOPs, but takes {spent.flops:.3g}",
        hint="with the U-Net's parameters frozen autograd skips its encoder and its weights",
    )
