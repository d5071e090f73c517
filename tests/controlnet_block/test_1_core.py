"""Stage 1. Zero convolutions, a frozen block and its copy, the first steps of training."""

import pytest
import torch
from torch import nn

from dojo.testing import expect, expect_close, expect_equal, expect_unchanged, randn
from dojo.testing.modules import expect_parameters
from katas.controlnet_block import zero_conv

from .helpers import Square, backward, controlled, convolutions, fill_conv, inputs


def largest_gradient(module):
    return max((p.grad.abs().max().item() for p in module.parameters() if p.grad is not None), default=0.0)


def test_a_zero_conv_is_a_trainable_1x1_convolution_of_zeros():
    """Zero weight *and* zero bias: PyTorch draws both at random, and a bias alone already shifts every pixel."""
    conv = zero_conv(3, 5)
    expect(isinstance(conv, nn.Conv2d), f"zero_conv should return an nn.Conv2d, but returned {type(conv).__name__}")
    expect_equal(
        list(conv.weight.shape),
        [5, 3, 1, 1],
        what="the weight's shape of zero_conv(3, 5)",
        hint="nn.Conv2d(in_channels, out_channels, kernel_size=1); the weight is [out, in, 1, 1]",
    )
    expect(conv.bias is not None, "zero_conv should have a bias, but has none", hint="the bias is zeroed, not left out")
    for name, parameter in conv.named_parameters():
        expect_equal(
            int(parameter.count_nonzero()),
            0,
            what=f"the number of nonzero values in zero_conv(3, 5).{name}",
            hint="zero the weight and the bias after the constructor has drawn them",
        )
        expect(
            parameter.requires_grad,
            f"zero_conv's {name} should be trainable, but requires no gradient",
            hint="zero at the start does not mean frozen",
        )


def test_a_zero_conv_maps_each_pixel_to_the_same_place(rng):
    """Stride 1 and no padding: the control must stay where it was drawn, and fit onto x."""
    conv = zero_conv(2, 2).double()
    fill_conv(conv, torch.eye(2), [0.0, 0.0])
    picture = randn(rng, 1, 2, 4, 5)
    expect_close(conv(picture), picture, what="zero_conv(2, 2) with the identity as its weight")


def test_the_parameters_are_those_of_the_block_its_copy_and_two_zero_convs():
    """zero_in leads from the control's channels to the block's, zero_out from the block's to the block's."""
    block = convolutions()
    inside = {name: list(p.shape) for name, p in block.named_parameters()}
    shapes = {f"{half}.{name}": shape for half in ("frozen", "copy") for name, shape in inside.items()}
    shapes |= {
        "zero_in.weight": [4, 3, 1, 1],
        "zero_out.weight": [4, 4, 1, 1],
        "zero_in.bias": [4],
        "zero_out.bias": [4],
    }
    net, what = controlled(block), "ControlNetBlock(block, channels=4, condition_channels=3)"
    hint = (
        "frozen is the block, copy its deep copy, zero_in and zero_out come from zero_conv; nothing else has parameters"
    )
    expect_parameters(net, shapes, what=what, hint=hint, dtype=torch.float64)
    for name in ("zero_in", "zero_out"):
        values = sum(int(p.count_nonzero()) for p in getattr(net, name).parameters())
        expect_equal(values, 0, what=f"the number of nonzero values in {name}", hint="both convolutions start at zero")


def test_the_given_block_is_kept_and_frozen(rng):
    """Not a copy of it and not re-initialised: the rest of the pretrained model still holds this very object."""
    block = convolutions()
    with expect_unchanged(*block.parameters(), what="the block's weights"):
        net = controlled(block)
    expect(net.frozen is block, "`frozen` should be the block that was given, but is another object")
    trainable = [name for name, p in block.named_parameters() if p.requires_grad]
    expect_equal(
        trainable,
        [],
        what="the frozen block's trainable parameters",
        hint="requires_grad_(False); torch.no_grad() in forward alone leaves them marked as trainable",
    )


def test_the_copy_has_equal_values_in_memory_of_its_own(rng):
    """It starts from what the model knows. A shared or shallow copy would train (or freeze) the original with it."""
    block = nn.Sequential(*convolutions(), nn.BatchNorm2d(4).double())
    net = controlled(block)
    originals, copies = block.state_dict(), net.copy.state_dict()
    expect_equal(list(copies), list(originals), what="the names of the copy's parameters and buffers")
    for name, original in originals.items():
        expect_equal(
            copies[name], original, what=f"copy.{name}", hint="copy the trained values; do not build the block anew"
        )
        expect(
            copies[name].data_ptr() != original.data_ptr(),
            f"copy.{name} should have memory of its own, but is the frozen block's",
            hint="copy.deepcopy(block): copy.copy, or the same object twice, shares every tensor",
        )
    fixed = [name for name, p in net.copy.named_parameters() if not p.requires_grad]
    expect_equal(
        fixed,
        [],
        what="the copy's parameters that cannot train",
        hint="a copy of a frozen block is frozen: switch its gradients on",
    )


@pytest.mark.parametrize("size", [1.0, 1e12])
def test_it_starts_as_the_frozen_block_whatever_the_control(rng, size):
    """The point of the zeros: on day one the pretrained model is intact, however wild the control is."""
    block = convolutions()
    x, condition = inputs(rng)
    expect_close(
        controlled(block)(x, condition * size),
        block(x),
        what=f"the untrained block's output for a control around {size:g}",
        hint="zero_out must give exactly zero, and the frozen half must see x alone",
    )


def test_a_worked_example():
    """F(x) = x^2 on one pixel (2, -1), F' = 2 x^2, and a control c = 3: Z1(c) = (3.5, -3), so F'(5.5, -4) = (60.5, 32),
    Z2 of that is (2 * 32 + 10, 60.5 + 3 * 32 + 20) = (74, 176.5), and y is larger by F(x) = (4, 1)."""
    net = controlled(Square(), 2, 1)
    with torch.no_grad():
        net.copy.gain.fill_(2.0)
    fill_conv(net.zero_in, [1.0, -1.0], [0.5, 0.0])
    fill_conv(net.zero_out, [[0.0, 2.0], [1.0, 3.0]], [10.0, 20.0])
    x = torch.tensor([2.0, -1.0], dtype=torch.float64).reshape(1, 2, 1, 1)
    condition = torch.full((1, 1, 1, 1), 3.0, dtype=torch.float64)
    expect_close(
        net(x, condition).flatten(),
        torch.tensor([78.0, 177.5], dtype=torch.float64),
        what="y for x = (2, -1), c = 3",
        hint="Z1(c) is added to the copy's input only, and Z2 of the copy's output to F(x)",
    )


def test_the_first_gradient_reaches_the_last_zero_conv_alone(rng):
    """Why zeros can learn: Z2's gradient is (slope of the loss) x (the copy's output), and neither of them is zero.
    What lies behind Z2 gets its gradient through Z2's weight, which is still zero."""
    net = controlled(convolutions())
    x, condition = inputs(rng)
    slope = randn(rng, 2, 4, 5, 6)
    features = net.frozen(x)
    backward(net, x, condition, slope)
    weight, bias = net.zero_out.weight.grad, net.zero_out.bias.grad
    expect_close(
        None if weight is None else weight[:, :, 0, 0],
        torch.einsum("bohw, bihw -> oi", slope, features),
        what="zero_out.weight.grad at the first step",
        hint="zero_out must act on the copy's output directly: no gate that is zero as well, no detach, no no_grad",
    )
    expect_close(bias, slope.sum((0, 2, 3)), what="zero_out.bias.grad at the first step")
    for name in ("copy", "zero_in", "frozen"):
        expect_equal(
            largest_gradient(getattr(net, name)),
            0.0,
            what=f"the largest gradient of `{name}` at the first step",
            hint="with zero_out at zero nothing behind it can move yet",
        )


def test_the_second_gradient_reaches_the_copy_and_the_first_zero_conv(rng):
    """One step has made Z2 nonzero, so now everything that is trainable learns."""
    net = controlled(convolutions())
    x, condition = inputs(rng)
    slope = randn(rng, 2, 4, 5, 6)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    backward(net, x, condition, slope)
    optimizer.step()
    backward(net, x, condition, slope)
    for name in ("copy", "zero_in", "zero_out"):
        for part, parameter in getattr(net, name).named_parameters():
            expect(
                parameter.grad is not None and bool((parameter.grad != 0).any()),
                f"{name}.{part} should get a gradient at the second step, but gets none",
                hint="nothing between zero_in and the output may be detached, under no_grad or multiplied by zero",
            )


def test_training_makes_the_control_count_and_leaves_the_frozen_block_alone(rng):
    """AdamW with weight decay over *all* parameters, as people call it: what has no gradient must not move."""
    block = convolutions()
    net = controlled(block)
    x, condition = inputs(rng)
    slope = randn(rng, 2, 4, 5, 6)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.05, weight_decay=0.1)
    with expect_unchanged(*block.parameters(), what="the frozen block", hint="freeze F, and give F' memory of its own"):
        for _ in range(4):
            backward(net, x, condition, slope)
            optimizer.step()
    change = (net(x, condition) - net(x, -condition)).abs().max().item()
    expect(
        change > 1e-6,
        f"after 4 steps another control should change the output, but changes it by {change:.1e}",
        hint="does the condition reach the copy, and does zero_in learn?",
    )
