"""Stage 3. Dtypes, devices, gradients."""

import copy

import pytest
import torch
from torch import nn

from dojo.testing import FLOATS, expect, expect_close, expect_equal, expect_slope, randn
from katas.controlnet_block import ControlNetBlock

from .helpers import awake, backward, controlled, convolutions, inputs


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
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


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_at_the_start_no_condition_is_too_large(rng, dtype):
    """Zero times any finite number is zero: the first step of training sees the pretrained model, to the last bit."""
    block = convolutions().to(dtype)
    net = ControlNetBlock(block, 4, 3)
    x, condition = (t.to(dtype) for t in inputs(rng))
    largest = condition.sign() * torch.finfo(dtype).max
    expect_equal(net(x, largest), block(x), what=f"the output at the start for a condition as large as {dtype} allows")


def test_the_first_parameter_decides_where_dtypes_are_mixed():
    """Norms are often kept in float32 within a half-precision model: what x meets first gives the dtype."""
    net = ControlNetBlock(nn.Sequential(nn.Conv2d(4, 4, 1, dtype=torch.bfloat16), nn.GroupNorm(2, 4)), 4, 3)
    for name in ("zero_in", "zero_out"):
        what, hint = f"{name}'s dtype around a bfloat16 convolution and a float32 norm", "the block's first parameter"
        expect_equal(getattr(net, name).weight.dtype, torch.bfloat16, what=what, hint=hint)


def test_the_new_layers_take_the_blocks_device():
    """The meta device stands in for a GPU: a layer left on the CPU would fail at the first forward there."""
    net = ControlNetBlock(convolutions().to("meta"), 4, 3)
    for name in ("zero_in", "zero_out", "copy"):
        where = {p.device.type for p in getattr(net, name).parameters()}
        expect_equal(where, {"meta"}, what=f"the device of {name}", hint="put the new layers where the block is")


def test_channels_last_inputs_work(rng):
    """Diffusion models often run in this memory format: the same numbers with other strides."""
    net = awake(controlled(convolutions()), rng)
    x, condition = inputs(rng)
    x_last, condition_last = (t.contiguous(memory_format=torch.channels_last) for t in (x, condition))
    expect_close(net(x_last, condition_last), net(x, condition), what="the output of channels-last inputs")


@pytest.mark.parametrize("name", ["condition", "zero_in.weight", "zero_in.bias", "copy.0.weight", "zero_out.weight"])
def test_gradients_are_the_outputs_slopes(rng, name):
    """Backward against a central difference in float64. The condition's gradient trains the encoder in front of it."""
    net = awake(controlled(convolutions()), rng)
    x, condition = inputs(rng)
    condition.requires_grad_()
    slope = randn(rng, 2, 4, 5, 6)
    tensor = {"condition": condition, **dict(net.named_parameters())}[name]
    backward(net, x, condition, slope)
    expect_slope(
        lambda: (slope * net(x.clone(), condition)).sum(),
        tensor,
        rng,
        name=name,
        hint="nothing may be detached or changed in place",
    )


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
