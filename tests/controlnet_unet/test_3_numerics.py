"""Stage 3. Dtypes, devices, gradients through the frozen decoder."""

import pytest
import torch
from torch.nn import functional as F

from dojo.testing import HALVES, backward, expect, expect_equal, expect_slope, randint, randn
from katas.controlnet_unet import ControlNet, MultiControlNet, controlled_eps

from .helpers import awake, built, inputs


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32], ids=str)
def test_the_controlnet_takes_the_unets_dtype(rng, dtype):
    """Pretrained models are loaded in half precision; one float32 layer between half ones raises or promotes."""
    unet, net = built(kind=dtype)
    kinds = {str(p.dtype) for p in net.parameters()}
    expect_equal(kinds, {str(dtype)}, what="the dtypes of the ControlNet", hint="new layers follow the U-Net's")
    x, t, condition = inputs(rng)
    x, condition = x.to(dtype), condition.to(dtype)
    down, mid = net(x, t, condition, 0.5)
    expect_equal({str(r.dtype) for r in [*down, mid]}, {str(dtype)}, what="the dtypes of the residuals")
    both = MultiControlNet([net, net])
    down, mid = both(x, t, [condition] * 2, [0.5, 1.0])
    expect_equal({str(r.dtype) for r in [*down, mid]}, {str(dtype)}, what="the dtypes of a MultiControlNet's residuals")
    expect_equal(controlled_eps(unet, both, x, t, [condition] * 2), unet(x, t), what=f"the first prediction in {dtype}")


def test_the_controlnet_takes_the_unets_device():
    """The meta device stands in for a GPU: a layer left on the CPU would fail at the first forward there."""
    _, net = built(kind="meta")
    where = {p.device.type for p in net.parameters()}
    expect_equal(where, {"meta"}, what="the devices of the ControlNet", hint="put the new layers where the U-Net is")


@pytest.mark.parametrize(
    "name", ["condition", "hint.weight", "time.mlp.0.weight", "conv_in.bias", "down.1.conv1.weight", "zero_mid.weight"]
)
def test_gradients_are_the_predictions_slopes(rng, name):
    """Backward against a central difference in float64, through the frozen decoder of two summed ControlNets."""
    unet, net = built()
    awake(net, rng)
    both = MultiControlNet([net, ControlNet(unet, 3)])
    x, t, condition = inputs(rng)
    condition.requires_grad_()
    slope = randn(rng, *x.shape)
    tensor = {"condition": condition, **dict(net.named_parameters())}[name]
    conditions = [condition, condition.detach()]

    def loss():
        return (slope * controlled_eps(unet, both, x, t, conditions, [0.7, 1.0])).sum()

    backward(loss(), what="the prediction", hint="no no_grad around it")
    hint = "nothing may be detached, under no_grad, or changed in place"
    expect_slope(loss, tensor, rng, name=name, hint=hint)


def test_it_learns_to_follow_the_condition(rng):
    """Twenty steps: eps should grow by what the picture shows. Afterwards the change that an unseen picture makes must
    resemble that picture (cosine above 0.5; an untrained or blind control has 0)."""
    unet, net = built((16,), 1, torch.float32)

    def drawn(count):
        x, t, _ = inputs(rng, count, (4, 4))
        quarters = randint(rng, 0, 2, count, 1, 2, 2).float() * 2 - 1  # each light or dark
        shown = F.interpolate(quarters, size=(4, 4)).expand(-1, 2, 4, 4)
        x = x.float()
        return x, t, F.interpolate(quarters, size=(16, 16)), unet(x, t) + shown, shown

    optimizer = torch.optim.Adam(net.parameters(), lr=0.03, foreach=True)
    batches = zip(*(part.split(8) for part in drawn(20 * 8)), strict=True)
    for x, t, condition, wanted, _ in batches:
        loss = F.mse_loss(controlled_eps(unet, net, x, t, condition), wanted)
        optimizer.zero_grad()
        backward(loss, what="the prediction")
        optimizer.step()
    x, t, condition, wanted, shown = drawn(64)
    change = controlled_eps(unet, net, x, t, condition) - (wanted - shown)
    alike = F.cosine_similarity(change.flatten(), shown.flatten(), dim=0).item()
    expect(
        alike > 0.5,
        f"the change in eps should resemble the picture (cosine above 0.5), but its cosine is {alike:.2f}",
        hint="does the hint depend on the condition, and does every layer of it learn?",
    )
