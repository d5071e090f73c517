"""What any right ControlNet block does, whatever it wraps. No gradient to x through the frozen half is asked for."""

import copy
from collections import Counter

import pytest
import torch
from torch import nn

from dojo.testing import expect, expect_close, expect_equal, expect_raises, expect_unchanged, randn
from katas.controlnet_block import ControlNetBlock, zero_conv


class Square(nn.Module):
    """gain * x ** 2, pixel by pixel: simple enough to compute by hand, and not linear."""

    def __init__(self, gain=1.0):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain, dtype=torch.float64))

    def forward(self, x):
        return self.gain * x**2


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


def convolutions(channels=4, depth=2):
    layers = [nn.Conv2d(channels, channels, 3, padding=1)]
    for _ in range(depth - 1):
        layers += [nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1)]
    return nn.Sequential(*layers).double()


def controlled(block, channels=4, condition_channels=3):
    """All in float64: which dtype the new layers come in is a question of its own, asked in stage 3."""
    return ControlNetBlock(block, channels, condition_channels).double()


def inputs(rng, channels=4, condition_channels=3, batch=2, size=(5, 6)):
    return randn(rng, batch, channels, *size), randn(rng, batch, condition_channels, *size)


def fill(conv, weight, bias):
    expect(conv.bias is not None, "a zero convolution should have a bias, but has none")
    with torch.no_grad():
        conv.weight.copy_(torch.as_tensor(weight).reshape(conv.weight.shape))
        conv.bias.copy_(torch.as_tensor(bias))


def awake(net, rng):
    """The block as some training leaves it: the zero convolutions are zero no more."""
    with torch.no_grad():
        for conv in (net.zero_in, net.zero_out):
            for parameter in conv.parameters():
                parameter.copy_(randn(rng, *parameter.shape) / 2)
    return net


def backward(net, x, condition, slope):
    """Fresh gradients of sum(slope * y)."""
    y = net(x.clone(), condition)
    expect(
        y.requires_grad,
        "the output should depend on something trainable, but has no gradient at all",
        hint="only the frozen half may run under torch.no_grad()",
    )
    net.zero_grad()
    (slope * y).sum().backward()


def largest_gradient(module):
    return max((p.grad.abs().max().item() for p in module.parameters() if p.grad is not None), default=0.0)


# Stage 1: zero convolutions, a frozen block and its copy, the first steps of training


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
def test_a_zero_conv_maps_each_pixel_to_the_same_place(rng):
    """Stride 1 and no padding: the control must stay where it was drawn, and fit onto x."""
    conv = zero_conv(2, 2).double()
    fill(conv, torch.eye(2), [0.0, 0.0])
    picture = randn(rng, 1, 2, 4, 5)
    expect_close(conv(picture), picture, what="zero_conv(2, 2) with the identity as its weight")


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
def test_a_worked_example():
    """F(x) = x^2 on one pixel (2, -1), F' = 2 x^2, and a control c = 3: Z1(c) = (3.5, -3), so F'(5.5, -4) = (60.5, 32),
    Z2 of that is (2 * 32 + 10, 60.5 + 3 * 32 + 20) = (74, 176.5), and y is larger by F(x) = (4, 1)."""
    net = controlled(Square(), 2, 1)
    with torch.no_grad():
        net.copy.gain.fill_(2.0)
    fill(net.zero_in, [1.0, -1.0], [0.5, 0.0])
    fill(net.zero_out, [[0.0, 2.0], [1.0, 3.0]], [10.0, 20.0])
    x = torch.tensor([2.0, -1.0], dtype=torch.float64).reshape(1, 2, 1, 1)
    condition = torch.full((1, 1, 1, 1), 3.0, dtype=torch.float64)
    expect_close(
        net(x, condition).flatten(),
        torch.tensor([78.0, 177.5], dtype=torch.float64),
        what="y for x = (2, -1), c = 3",
        hint="Z1(c) is added to the copy's input only, and Z2 of the copy's output to F(x)",
    )


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
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


# Stage 2: any block, any channels, several controls, wrong arguments

BLOCKS = {
    "convolution": lambda: nn.Conv2d(4, 4, 3, padding=1),
    "norm, activation, strided convolution": lambda: nn.Sequential(
        nn.GroupNorm(2, 4), nn.SiLU(), nn.Conv2d(4, 4, 3, stride=2, padding=1)
    ),
    "batch norm in eval mode": lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)),
    "attention": Attention,
    "no parameters": nn.SiLU,
}


@pytest.mark.stage(2)
@pytest.mark.parametrize("make", BLOCKS.values(), ids=BLOCKS.keys())
def test_any_block_can_be_controlled(rng, make):
    """F alone at the start; twice F with zero_out set to the identity, because the copy still equals F."""
    block = make().double().eval()
    x, condition = inputs(rng, size=(6, 8))
    net = controlled(block)
    net.eval()
    expected = block(x)
    expect_close(net(x, condition), expected, what="the output at the start", hint="it should be F(x)")
    fill(net.zero_out, torch.eye(4), torch.zeros(4))
    expect_close(
        net(x, condition),
        2 * expected,
        what="the output with zero_out as the identity",
        hint="the copy should be F with the same values, and see x while zero_in is zero",
    )


@pytest.mark.stage(2)
def test_a_block_without_parameters_gets_torchs_default_dtype(rng):
    """`next(block.parameters())` alone raises StopIteration here."""
    net = ControlNetBlock(nn.SiLU(), 4, 3)
    x, condition = (t.float() for t in inputs(rng))
    expect_equal(net.zero_in.weight.dtype, torch.float32, what="zero_in's dtype around nn.SiLU()")
    expect_equal(net(x, condition).dtype, torch.float32, what="the output's dtype around nn.SiLU()")


@pytest.mark.stage(2)
def test_the_frozen_half_never_sees_the_control(rng):
    """With zero_out still at zero the control must not matter, wherever zero_in has got to."""
    net = awake(controlled(convolutions()), rng)
    fill(net.zero_out, torch.zeros(4, 4), torch.zeros(4))
    x, condition = inputs(rng)
    expect_close(
        net(x, condition), net.frozen(x), what="the output with zero_out at zero", hint="F takes x, not x + Z1(c)"
    )


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
@pytest.mark.parametrize(("channels", "condition_channels"), [(4, 3), (4, 4), (2, 5), (1, 1)])
def test_the_zero_convs_fit_their_channels(channels, condition_channels):
    """zero_in leads from the control's channels to the block's, zero_out from the block's to the block's."""
    net = controlled(convolutions(channels), channels, condition_channels)
    for name, width in (("zero_in", condition_channels), ("zero_out", channels)):
        conv = getattr(net, name)
        expect_equal(list(conv.weight.shape), [channels, width, 1, 1], what=f"the shape of {name}.weight")
        values = sum(int(p.count_nonzero()) for p in conv.parameters())
        expect_equal(values, 0, what=f"the number of nonzero values in {name}", hint="both convolutions start at zero")


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
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


# Stage 3: dtypes, devices, gradients


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_the_new_layers_take_the_blocks_dtype(rng, dtype):
    """Pretrained models are loaded in half precision; a float32 layer between two half ones raises or promotes."""
    net = awake(ControlNetBlock(convolutions().to(dtype), 4, 3), rng)
    for name in ("zero_in", "zero_out"):
        expect_equal(
            getattr(net, name).weight.dtype, dtype, what=f"{name}'s dtype", hint="ask the block's first parameter"
        )
    x, condition = (t.to(dtype) for t in inputs(rng))
    exact = copy.deepcopy(net).double()(x.double(), condition.double())
    slack = 8 * torch.finfo(dtype).eps  # a few roundings in a row of values up to about 4
    expect_close(net(x, condition), exact.to(dtype), what=f"the output in {dtype}", rtol=slack, atol=slack)


@pytest.mark.stage(3)
def test_the_first_parameter_decides_where_dtypes_are_mixed():
    """Norms are often kept in float32 within a half-precision model: what x meets first gives the dtype."""
    net = ControlNetBlock(nn.Sequential(nn.Conv2d(4, 4, 1, dtype=torch.bfloat16), nn.GroupNorm(2, 4)), 4, 3)
    for name in ("zero_in", "zero_out"):
        what, hint = f"{name}'s dtype around a bfloat16 convolution and a float32 norm", "the block's first parameter"
        expect_equal(getattr(net, name).weight.dtype, torch.bfloat16, what=what, hint=hint)


@pytest.mark.stage(3)
def test_the_new_layers_take_the_blocks_device():
    """The meta device stands in for a GPU: a layer left on the CPU would fail at the first forward there."""
    net = ControlNetBlock(convolutions().to("meta"), 4, 3)
    for name in ("zero_in", "zero_out", "copy"):
        where = {p.device.type for p in getattr(net, name).parameters()}
        expect_equal(where, {"meta"}, what=f"the device of {name}", hint="put the new layers where the block is")


@pytest.mark.stage(3)
def test_channels_last_inputs_work(rng):
    """Diffusion models often run in this memory format: the same numbers with other strides."""
    net = awake(controlled(convolutions()), rng)
    x, condition = inputs(rng)
    x_last, condition_last = (t.contiguous(memory_format=torch.channels_last) for t in (x, condition))
    expect_close(net(x_last, condition_last), net(x, condition), what="the output of channels-last inputs")


@pytest.mark.stage(3)
@pytest.mark.parametrize("name", ["condition", "zero_in.weight", "zero_in.bias", "copy.0.weight", "zero_out.weight"])
def test_gradients_are_the_outputs_slopes(rng, name):
    """Backward against a central difference in float64. The condition's gradient trains the encoder in front of it."""
    net = awake(controlled(convolutions()), rng)
    x, condition = inputs(rng)
    condition.requires_grad_()
    slope = randn(rng, 2, 4, 5, 6)
    tensor = {"condition": condition, **dict(net.named_parameters())}[name]
    backward(net, x, condition, slope)
    expect(tensor.grad is not None, f"{name} should get a gradient, but has none", hint="is it detached, or frozen?")
    direction = randn(rng, *tensor.shape)

    def loss(step):
        with torch.no_grad():
            tensor.add_(step * direction)
            value = (slope * net(x.clone(), condition)).sum()
            tensor.sub_(step * direction)
        return value

    # The difference quotient itself is off by about 1e-9 here (rounding / step, and step^2).
    expect_close(
        (tensor.grad * direction).sum(),
        (loss(1e-5) - loss(-1e-5)) / 2e-5,
        what=f"the slope along {name}",
        hint="nothing may be detached or changed in place",
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.stage(3)
def test_x_gets_its_gradient_through_the_copy(rng):
    """x may come from another block under training. The frozen half may add its share of the gradient or keep it."""
    net = awake(controlled(convolutions()), rng)
    x, condition = inputs(rng)
    slope, x = randn(rng, 2, 4, 5, 6), x.requires_grad_()
    backward(net, x, condition, slope)
    hint = "only the frozen half may run under no_grad or on x.detach(); the copy sees x itself"
    expect(x.grad is not None, "x should get a gradient through the copy, but has none", hint=hint)
    through_copy = net.zero_out(net.copy(x + net.zero_in(condition)))
    (want,) = torch.autograd.grad((slope * through_copy).sum(), x)
    (share,) = torch.autograd.grad((slope * net.frozen(x)).sum(), x)
    whole = torch.allclose(x.grad, want + share)
    expect_close(x.grad, want + share if whole else want, what="dL/dx, without the frozen half's share", hint=hint)


# Stage 4: counted work, memory and parameters


def deep(rng, channels=16):
    """Three convolutions in float32, inputs for them, and the FLOPs of one forward: 2 per multiply-add."""
    block = convolutions(channels, depth=3).float()
    x, condition = (t.float() for t in inputs(rng, channels, size=(12, 12)))
    return block, x, condition, 2 * x.numel() * channels * 9 * 3


@pytest.mark.stage(4)
def test_forward_costs_both_halves_once(rng, cost):
    """F and F' are equal in size, and two 1x1 convolutions are small change: about twice the block's FLOPs."""
    block, x, condition, once = deep(rng)
    net = ControlNetBlock(block, 16, 3)
    with cost() as spent:
        net(x, condition)
    ratio = spent.flops / once
    expect(
        ratio >= 1.9, f"F and F' should each run as torch operators, but only {ratio:.2f}x the block's FLOPs were seen"
    )
    expect(
        ratio <= 2.15,
        f"forward should cost about 2.05x the block's FLOPs, but costs {ratio:.2f}x",
        hint="call `frozen` and `copy` once each",
    )


@pytest.mark.stage(4)
def test_backward_spends_nothing_on_the_frozen_half(rng, cost):
    """The copy's backward takes twice its forward (its inputs and its weights); F's weights would add 1.67x.
    The limit leaves room for recomputing the copy's activations in the backward pass (1x)."""
    block, x, condition, once = deep(rng)
    y = ControlNetBlock(block, 16, 3)(x, condition)
    expect(y.requires_grad, "the output should depend on something trainable, but has no gradient at all")
    with cost() as spent:
        y.sum().backward()
    ratio = spent.flops / once
    expect(
        ratio <= 3.3,
        f"backward should cost about 2.1x the block's forward, but costs {ratio:.2f}x",
        hint="freeze F with requires_grad_(False): autograd then skips it",
    )


@pytest.mark.stage(4)
def test_the_frozen_half_keeps_no_activations(rng):
    """What autograd saves for backward is the memory that training needs: the copy's activations, not F's too.
    One trained block saves 5 activations here; the copy and the two zero convolutions take 6.2, with F's it is 10.2."""
    block, x, condition, _ = deep(rng)
    net = ControlNetBlock(block, 16, 3)
    saved = Counter()

    def pack(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = net(x, condition)
    expect(y.requires_grad, "the output should depend on something trainable, but has no gradient at all")
    weights = {p.untyped_storage().data_ptr() for p in net.parameters()}
    activations = sum(size for where, size in saved.items() if where not in weights) / x.nbytes
    expect(
        activations <= 8.2,
        f"about 6.2x the bytes of x should be kept for backward, but {activations:.1f}x are",
        hint="freeze F with requires_grad_(False), so that autograd saves nothing for it",
    )


@pytest.mark.stage(4)
def test_what_trains_is_the_copy_and_two_small_layers():
    """Gradients, optimizer state and the checkpoint to share are counted by this number."""
    block = convolutions(16)
    size = sum(p.numel() for p in block.parameters())
    net = ControlNetBlock(block, 16, 3)
    trainable = {name: p.numel() for name, p in net.named_parameters() if p.requires_grad}
    expect_equal(
        sorted({name.split(".")[0] for name in trainable}),
        ["copy", "zero_in", "zero_out"],
        what="the submodules with trainable parameters",
        hint="the copy and both zero convolutions train, and nothing else does",
    )
    expect_equal(
        sum(trainable.values()),
        size + (3 * 16 + 16) + (16 * 16 + 16),
        what="the number of trainable parameters",
        hint="the copy's, and weight and bias of the two 1x1 convolutions",
    )
