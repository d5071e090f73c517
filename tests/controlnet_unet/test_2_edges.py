"""Stage 2. The scale, several ControlNets, any depth and size, wrong arguments."""

import copy

import pytest
import torch
from torch import nn

from dojo.testing import expect, expect_close, expect_equal, expect_raises, expect_unchanged, randn
from katas.controlnet_unet import ControlNet, MultiControlNet, controlled_eps

from .helpers import awake, built, doors, expect_residuals, inputs, open_doors, residuals, skips


@pytest.mark.parametrize("scale", [0.5, 2.0, -1.0, 0.0])
def test_residuals_are_linear_in_the_scale(rng, scale):
    """Every residual, the middle's too, and once: not the condition, and not the zero convolution's input."""
    unet, net = built()
    x, t, condition = inputs(rng)
    awake(net, rng)
    whole = residuals(net, x, t, condition)
    expect_residuals(
        residuals(net, x, t, condition, scale),
        [scale * r for r in whole],
        unet,
        note=f"at scale {scale:g}",
        hint="multiply what the zero convolutions give (bias included) by scale, and nothing else",
    )


def test_the_prediction_is_the_decoders_at_that_scale(rng):
    """The scale reaches the decoder once. Scaling the change of eps is guidance, another thing: the decoder is not linear."""
    unet, net = built()
    x, t, condition = inputs(rng)
    awake(net, rng)
    none = controlled_eps(unet, net, x, t, condition, 0.0)
    expect_equal(none, unet(x, t), what="eps at scale 0", hint="controlled_eps hands the scale to the ControlNet")
    half = copy.deepcopy(net)
    with torch.no_grad():
        for conv in doors(half):
            conv.weight.mul_(0.5), conv.bias.mul_(0.5)
    expect_close(
        controlled_eps(unet, net, x, t, condition, scale=0.5),
        controlled_eps(unet, half, x, t, condition),
        what="eps at scale 0.5",
        hint="as if every zero convolution were half as large: the residuals are scaled, once, and not the prediction",
    )


def test_two_controlnets_add_up(rng):
    """Each with its own condition (of other channels, too) and its own scale; level by level, and the middle."""
    unet, edges = built()
    pose = ControlNet(unet, 2)
    x, t, first = inputs(rng)
    *_, second = inputs(rng, condition_channels=2)
    awake(edges, rng), awake(pose, rng, 2)
    pairs = zip(residuals(edges, x, t, first, 0.5), residuals(pose, x, t, second, -2.0), strict=True)
    wanted = [a + b for a, b in pairs]
    both = MultiControlNet([edges, pose])
    hint = "call every net with its own condition and scale, and sum each level over the nets"
    expect_residuals(residuals(both, x, t, [first, second], [0.5, -2.0]), wanted, unet, note="of two nets", hint=hint)
    thrice = MultiControlNet([edges, edges, edges])
    for scale in (1.0, 2):
        expect_residuals(
            residuals(thrice, x, t, [first] * 3, scale),
            [3 * r for r in residuals(edges, x, t, first, scale)],
            unet,
            note=f"of three equal nets, all at scale {scale}",
            hint="a sum, not a mean; one number as scale serves all nets",
        )
    expect_close(
        controlled_eps(unet, both, x, t, [first, second], [0.5, -2.0]),
        unet(x, t, wanted[:-1], wanted[-1]),
        what="controlled_eps with a MultiControlNet",
        hint="it has a ControlNet's interface, so nothing special should be needed",
    )


def test_one_controlnet_in_a_multicontrolnet_is_that_controlnet(rng):
    """Scale 1 unless told; the nets are registered, so `.to()`, `state_dict()` and the optimizer reach them."""
    unet, net = built()
    x, t, condition = inputs(rng)
    awake(net, rng)
    alone = MultiControlNet([net])
    expect_residuals(
        residuals(alone, x, t, [condition]), residuals(net, x, t, condition), unet, note="of one net", hint="no more"
    )
    kept = isinstance(alone.nets, nn.ModuleList) and len(alone.nets) == 1 and alone.nets[0] is net
    expect(kept, "`nets` should be an nn.ModuleList of the given nets", hint="a plain list hides them from PyTorch")


def test_a_second_controlnet_on_a_frozen_unet_trains_and_shares_nothing(rng):
    """The U-Net is frozen already when the second copy is made; a copy of frozen parameters is frozen."""
    unet, first = built()
    second = ControlNet(unet, 3)
    fixed = [name for name, p in second.named_parameters() if not p.requires_grad]
    hint = "a copy inherits requires_grad=False from a frozen U-Net: requires_grad_(True) switches it on again"
    expect_equal(fixed, [], what="the second ControlNet's parameters that cannot train", hint=hint)
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.add_(1.0)
    x, t, condition = inputs(rng)
    expect_equal(
        controlled_eps(unet, second, x, t, condition),
        unet(x, t),
        what="the second, untrained control after the first was trained",
        hint="no layer in common",
    )


@pytest.mark.parametrize(
    ("channels", "size", "batch"), [((4,), (3, 5), 1), ((4, 6), (5, 7), 3), ((8, 2, 4, 2), (9, 6), 2)], ids=str
)
def test_any_depth_width_and_size(rng, channels, size, batch):
    """One level, odd sizes, widths that fall: everything is asked of the U-Net, nothing is a constant."""
    unet, net = built(channels)
    x, t, condition = inputs(rng, batch, size)
    open_doors(awake(net, rng))
    expect_residuals(
        residuals(net, x, t, condition),
        skips(unet, x, t, added=net.hint(condition)),
        unet,
        note=f"over a U-Net of {list(channels)}",
        hint="widths and depth come from the U-Net",
    )
    expect_equal(list(controlled_eps(unet, net, x, t, condition).shape), list(x.shape), what="the prediction's shape")


def test_each_sample_has_its_own_timestep_and_condition(rng):
    """Of a batch or alone: the same numbers. The real hint encoder is in place here."""
    unet, net = built()
    x, t, condition = inputs(rng, batch=3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(randn(rng, *parameter.shape) / 5)
    whole = controlled_eps(unet, net, x, t, condition)
    for i in range(3):
        alone = controlled_eps(unet, net, x[i : i + 1], t[i : i + 1], condition[i : i + 1])
        expect_close(alone, whole[i : i + 1], what=f"sample {i}, computed alone", hint="samples never meet")


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_nothing_given_is_changed(rng, training):
    """Neither inputs nor modes, of any layer; and a second call gives the same."""
    unet, net = built()
    awake(net, rng)
    layers = [*unet.train(training).modules(), *net.train(training).modules()]
    x, t, condition = inputs(rng)
    with expect_unchanged(x, t, condition, what="x, t or condition"), torch.no_grad():
        first = controlled_eps(unet, net, x, t, condition)
    expect_equal(controlled_eps(unet, net, x, t, condition), first, what="the same call a second time")
    what = "`training` of all layers after a prediction"
    expect_equal({layer.training for layer in layers}, {training}, what=what, hint="the mode is the caller's")


@pytest.mark.parametrize("picture", [(8, 8), (4, 4), (1, 1), (32, 16), (16, 32), (34, 32)], ids=str)
def test_a_condition_of_another_size_is_an_error(rng, picture):
    """A 4x4 picture gives a 1x1 hint, which is broadcast over the latent: wrong pictures, and no message."""
    _, net = built()
    x, t, _ = inputs(rng)
    with expect_raises(ValueError, what=f"a condition of {picture} for latents of (8, 8)"):
        net(x, t, randn(rng, 2, 3, *picture))


def test_wrong_counts_are_errors(rng):
    """zip stops at the shortest list without a word, and one of the ControlNets is simply not there."""
    unet, net = built()
    x, t, condition = inputs(rng)
    for channels in (0, -1):
        with expect_raises(ValueError, what=f"ControlNet(unet, condition_channels={channels})"):
            ControlNet(unet, channels)
    with expect_raises(ValueError, what="MultiControlNet([])"):
        MultiControlNet([])
    both = MultiControlNet([net, ControlNet(unet, 3)])
    counts = [(1, 1.0), (3, 1.0), (2, [1.0]), (2, [1.0] * 3), (1, [1.0] * 2), (1, [1.0]), (3, [1.0] * 3)]
    for conditions, scales in counts:
        with expect_raises(ValueError, what=f"two nets, {conditions} conditions and scale={scales}"):
            both(x, t, [condition] * conditions, scales)
