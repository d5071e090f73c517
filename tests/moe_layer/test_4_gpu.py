"""Stage 4. On a GPU: the same answers, on the device of the inputs."""

import pytest
import torch

from dojo.testing import expect_close, expect_equal
from katas.moe_layer import load_balancing_loss, within_capacity

from .helpers import choosing_layer, random_choices, routed, tokens_that_choose


@pytest.mark.gpu
def test_everything_stays_on_the_gpu(rng):
    """Masks, counts and the sum are made where the tokens are."""
    chosen = random_choices(rng, 64, 4, 2)
    x = tokens_that_choose(rng, chosen, 4).float()
    for on_gpu, want, what in (
        (routed(x.cuda(), 2)[0], routed(x, 2)[0], "the weights"),
        (routed(x.cuda(), 2)[1], chosen, "the experts"),
        (load_balancing_loss(x.cuda(), chosen.cuda()), load_balancing_loss(x, chosen), "the loss"),
        (within_capacity(chosen.cuda(), 4, 9), within_capacity(chosen, 4, 9), "the places"),
    ):
        expect_equal(on_gpu.device.type, "cuda", what=f"the device of {what}")
        expect_close(on_gpu.cpu(), want, what=f"{what} on the GPU")
    mask = torch.arange(64) % 3 > 0
    got = load_balancing_loss(x.cuda(), chosen.cuda(), mask=mask.cuda())
    expect_close(got.cpu(), load_balancing_loss(x, chosen, mask=mask), what="the masked loss on the GPU")
    for options in ({}, {"capacity_factor": 0.75}):
        layer = choosing_layer(4, 2, **options).float()
        want = layer(x)
        for expert in layer.experts:
            expert.given.clear()
        got = layer.cuda()(x.cuda())
        expect_equal(got.device.type, "cuda", what=f"the device of the answers ({options or 'no options'})")
        expect_close(got.cpu(), want, what="the layer on the GPU", rtol=1e-3, atol=1e-4)  # the gate may use TF32
