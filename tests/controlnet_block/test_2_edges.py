"""Stage 2. Any block, any channels, several controls, wrong arguments."""

import pytest
import torch
from torch import nn

from dojo.testing import expect, expect_close, expect_equal, expect_raises, expect_unchanged
from katas.controlnet_block import ControlNetBlock, zero_conv

from .helpers import Square, awake, controlled, convolutions, fill_conv, inputs


class Attention(nn.Module):
    """A residual block in which every pixel looks at every other."""

    def __init__(self):
        super().__init__()
        self.norm = nn.GroupNorm(2, 4)
        self.mix = nn.Linear(4, 4)

    def forward(self, x):
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        weights = torch.softmax(tokens @ tokens.transpose(1, 2), dim=-1)
        return x + self.mix(weights @ tokens).transpose(1, 2).reshape(x.shape)


BLOCKS = {
    "convolution": lambda: nn.Conv2d(4, 4, 3, padding=1),
    "norm, activation, strided convolution": lambda: nn.Sequential(
        nn.GroupNorm(2, 4), nn.SiLU(), nn.Conv2d(4, 4, 3, stride=2, padding=1)
    ),
    "batch norm in eval mode": lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)),
    "attention": Attention,
    "no parameters": nn.SiLU,
}


@pytest.mark.parametrize("make", BLOCKS.values(), ids=BLOCKS.keys())
def test_any_block_can_be_controlled(rng, make):
    """F alone at the start; twice F with zero_out set to the identity, because the copy still equals F."""
    block = make().double().eval()
    x, condition = inputs(rng, size=(6, 8))
    net = controlled(block)
    net.eval()
    expected = block(x)
    expect_close(net(x, condition), expected, what="the output at the start", hint="it should be F(x)")
    fill_conv(net.zero_out, torch.eye(4), torch.zeros(4))
    expect_close(
        net(x, condition),
        2 * expected,
        what="the output with zero_out as the identity",
        hint="the copy should be F with the same values, and see x while zero_in is zero",
    )


def test_a_block_without_parameters_gets_torchs_default_dtype(rng):
    """`next(block.parameters())` alone raises StopIteration here."""
    net = ControlNetBlock(nn.SiLU(), 4, 3)
    x, condition = (t.float() for t in inputs(rng))
    expect_equal(net.zero_in.weight.dtype, torch.float32, what="zero_in's dtype around nn.SiLU()")
    expect_equal(net(x, condition).dtype, torch.float32, what="the output's dtype around nn.SiLU()")


def test_the_frozen_half_never_sees_the_control(rng):
    """With zero_out still at zero the control must not matter, wherever zero_in has got to."""
    net = awake(controlled(convolutions()), rng)
    fill_conv(net.zero_out, torch.zeros(4, 4), torch.zeros(4))
    x, condition = inputs(rng)
    expect_close(
        net(x, condition), net.frozen(x), what="the output with zero_out at zero", hint="F takes x, not x + Z1(c)"
    )


def test_each_pixel_of_each_sample_has_its_own_control(rng):
    """Around a pointwise block everything is pointwise: a crop of the inputs gives a crop of the output."""
    net = awake(controlled(Square(0.5), 3, 2), rng)
    x, condition = inputs(rng, 3, 2, batch=3)
    whole = net(x, condition)
    for sample, row, column in [(0, 0, 0), (1, 4, 2), (2, 3, 5)]:
        spot = (slice(sample, sample + 1), slice(None), slice(row, row + 1), slice(column, column + 1))
        expect_close(
            net(x[spot], condition[spot]),
            whole[spot],
            what=f"sample {sample} at row {row}, column {column}, computed alone",
            hint="the control of a pixel belongs to that pixel of that sample",
        )


@pytest.mark.parametrize(("channels", "condition_channels"), [(4, 3), (4, 4), (2, 5), (1, 1)])
def test_the_zero_convs_fit_their_channels(channels, condition_channels):
    """zero_in leads from the control's channels to the block's, zero_out from the block's to the block's."""
    net = controlled(convolutions(channels), channels, condition_channels)
    for name, width in (("zero_in", condition_channels), ("zero_out", channels)):
        conv = getattr(net, name)
        expect_equal(list(conv.weight.shape), [channels, width, 1, 1], what=f"the shape of {name}.weight")
        values = sum(int(p.count_nonzero()) for p in conv.parameters())
        expect_equal(values, 0, what=f"the number of nonzero values in {name}", hint="both convolutions start at zero")


def test_two_controls_on_one_block_share_nothing_else(rng):
    """Edges and a pose on the same model: F is frozen already when the second copy is made, and F' must still train."""
    block = convolutions()
    first, second = controlled(block, 4, 4), controlled(block, 4, 4)
    fixed = [name for name, p in second.copy.named_parameters() if not p.requires_grad]
    expect_equal(
        fixed,
        [],
        what="the second copy's parameters that cannot train",
        hint="the copy inherits requires_grad=False from a frozen block: switch it on again",
    )
    awake(first, rng)
    with torch.no_grad():
        for parameter in first.copy.parameters():
            parameter.add_(1.0)
    x, condition = inputs(rng, condition_channels=4)
    expect_close(
        second(x, condition),
        block(x),
        what="the second, untrained control after the first was trained",
        hint="no state in common",
    )
    pairs = {"zero_in and zero_out": (first.zero_in, first.zero_out), "two zero_in": (first.zero_in, second.zero_in)}
    for what, (one, other) in pairs.items():
        expect(one is not other, f"{what} should be two layers, but are one", hint="make a new convolution each time")


def test_everything_is_a_registered_submodule(rng):
    """A block hidden in a list is missed by .to(), state_dict() and load_state_dict(); one with two names, or a buffer
    for a number, makes the checkpoint larger or foreign to others."""
    net = awake(controlled(convolutions()), rng)
    names = {name.split(".")[0] for name in net.state_dict()}
    missing = {"frozen", "copy", "zero_in", "zero_out"} - names
    hint = "assign each one to self as a plain attribute"
    expect(not missing, f"state_dict() should hold all four submodules, but lacks {sorted(missing)}", hint=hint)
    extra = names - {"frozen", "copy", "zero_in", "zero_out"}
    hint = "register the block once, as `frozen`; keep numbers as plain attributes"
    expect(not extra, f"state_dict() should hold the four submodules only, but has {sorted(extra)} as well", hint=hint)
    other = controlled(convolutions())
    other.load_state_dict(net.state_dict())
    x, condition = inputs(rng)
    expect_close(other(x, condition), net(x, condition), what="the output after load_state_dict")


def test_the_inputs_are_not_modified(rng):
    """`x += zero_in(condition)` writes into the caller's tensor, and F then sees the control as well."""
    net = awake(controlled(convolutions()), rng)
    x, condition = inputs(rng)
    with expect_unchanged(x, condition, what="x or condition"), torch.no_grad():
        first = net(x, condition)
    expect_close(net(x, condition), first, what="the same call a second time")
    net = awake(controlled(nn.Identity()), rng)
    hint = "F(x) may be x itself: add out of place, y + z and not y += z"
    with expect_unchanged(x, condition, what="x or condition of a block that returns its input", hint=hint):
        net(x, condition)


class Mode(nn.Module):
    """Returns its input, and notes the mode of every forward pass."""

    def __init__(self):
        super().__init__()
        self.modes = []

    def forward(self, x):
        self.modes.append(self.training)
        return x


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_the_copy_runs_in_the_mode_of_the_whole(rng, mode):
    """Dropout and BatchNorm in the copy train as usual. Only the frozen block may be kept in eval mode."""
    net = controlled(Mode())
    hint = "an override of train() ends with `return self`"
    expect(net.train(mode == "train") is net, f"{mode}() should return the block, as nn.Module's does", hint=hint)
    net.copy.modes.clear()
    net(*inputs(rng))
    hint = "an override of train() keeps nothing but `frozen` in eval mode, and calls super().train(mode)"
    expect_equal(net.copy.modes, [mode == "train"], what=f"the copy's `training` in forward after {mode}()", hint=hint)


@pytest.mark.parametrize("channels", [0, -1])
def test_fewer_than_one_channel_is_an_error(channels):
    """PyTorch builds a convolution with 0 channels without a word."""
    with expect_raises(ValueError, what=f"zero_conv({channels}, 4)"):
        zero_conv(channels, 4)
    with expect_raises(ValueError, what=f"zero_conv(4, {channels})"):
        zero_conv(4, channels)
    with expect_raises(ValueError, what=f"ControlNetBlock(block, channels={channels}, condition_channels=3)"):
        ControlNetBlock(nn.Conv2d(4, 4, 1), channels, 3)
    with expect_raises(ValueError, what=f"ControlNetBlock(block, channels=4, condition_channels={channels})"):
        ControlNetBlock(nn.Conv2d(4, 4, 1), 4, channels)
