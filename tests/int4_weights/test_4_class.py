"""Stage 4. The layer."""

import copy

import pytest
import torch
from torch import nn

from dojo.testing import FLOATS, called_for, expect, expect_close, expect_equal, expect_raises, expect_unchanged, randn
from dojo.testing.describe import describe
from katas.int4_weights import Int4Linear

from .helpers import from_linear, grouped, linear, output, wanted, weight_of

FORMULA = "x (dequantised weight)^T + bias"


def worked_example(dtype=torch.float32):
    """Weight [[-1, 0, 3, 0.5], [0, 4, -8, 16]] in groups of 2: codes [[0, 2, 6, 1], [0, 1, 3, 15]]."""
    packed = torch.tensor([[32, 22], [16, 243]], dtype=torch.uint8)
    scales, zeros = torch.tensor([[0.5, 0.5], [4, 2.0]]), torch.tensor([[2, 0], [0, 7]], dtype=torch.uint8)
    return Int4Linear(packed, scales, zeros, torch.tensor([10.0, 20.0], dtype=dtype))


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_a_layer_holds_four_buffers_and_no_parameters(rng, bias):
    """An optimizer that sees the codes would train them, and what is no buffer is lost in the state dict."""
    layer = from_linear(linear(rng, bias=bias))
    hint = "register_buffer for packed, scales, zeros and bias; nothing is an nn.Parameter"
    names = [name for name, _ in layer.named_parameters()]
    expect_equal(names, [], what="the parameters of Int4Linear.from_linear(linear, 4)", hint=hint)
    wanted_buffers = {
        "packed": ([5, 4], torch.uint8),
        "scales": ([5, 2], torch.float32),
        "zeros": ([5, 2], torch.uint8),
    }
    wanted_buffers |= {"bias": ([5], torch.float32)} if bias else {}
    buffers = {name: (list(buffer.shape), buffer.dtype) for name, buffer in layer.named_buffers()}
    expect_equal(buffers, wanted_buffers, what="the buffers of a layer from 8 to 5, in groups of 4,", hint=hint)
    keys = sorted(layer.state_dict())
    expect_equal(keys, sorted(wanted_buffers), what="the names in the state dict", hint="persistent buffers")
    absent = getattr(layer, "bias", "missing")
    expect(bias or absent is None, f"bias should be None without one, but is {describe(absent)}", hint=hint)


def test_the_weight_is_quantised_and_packed(rng):
    """[out, in], as it is: a group is a run of inputs of one output."""
    source = linear(rng, 8, 8)
    weight, bias = source.weight, source.bias
    with expect_unchanged(weight, bias, what="the source layer", hint="quantise a new tensor"):
        layer = from_linear(source)
    kept = source.weight is weight and source.bias is bias and weight.requires_grad and bias.requires_grad
    expect(kept, "the source layer should keep its own Parameters, and train, but does not", hint="leave it alone")
    codes, scales, zeros = grouped(weight, 4, "quantize_groups(linear.weight, 4)")
    hint = "pack(codes) of quantize_groups(linear.weight, group_size)"
    want = codes[:, ::2] + 16 * codes[:, 1::2]
    expect_equal(layer.packed, want, what="layer.packed", hint=hint)
    expect_equal(layer.scales, scales, what="layer.scales", hint=hint)
    expect_equal(layer.zeros, zeros, what="layer.zeros", hint=hint)
    expect_equal(layer.bias, bias.detach(), what="layer.bias", hint="the bias is kept as it is")


def test_a_forward_of_a_worked_example():
    """At [2, 1, -2, 4] the rows give -6 and 84; then comes the bias."""
    got = output(worked_example(), torch.tensor([[2.0, 1, -2, 4]]))
    what = "a layer with the weight [[-1, 0, 3, 0.5], [0, 4, -8, 16]] and the bias [10, 20] at [2, 1, -2, 4]"
    expect_close(got, torch.tensor([[4.0, 104.0]]), what=what, hint=FORMULA)


@pytest.mark.parametrize(
    ("sizes", "bias"), [((8, 5), True), ((8, 8), True), ((12, 1), False), ((4, 4), False)], ids=str
)
def test_the_output_is_that_of_the_codes(rng, sizes, bias):
    """Tolerance: 1e-5 of the largest, float32 sums of 12."""
    layer, x = from_linear(linear(rng, *sizes, bias)), randn(rng, 4, sizes[0], dtype=torch.float32)
    with expect_unchanged(x, what="x"):
        got = output(layer, x)
    want = wanted(layer, x).float()
    tolerance = {"rtol": 1e-5, "atol": 1e-5 * want.abs().max().item()}
    expect_close(got, want, what=f"the output of a layer from {sizes[0]} to {sizes[1]}", hint=FORMULA, **tolerance)


@pytest.mark.parametrize("shape", [(8,), (1, 8), (2, 3, 8), (2, 1, 2, 8), (0, 8)], ids=str)
def test_any_leading_dimensions(rng, shape):
    """One token, a batch of texts, an empty batch."""
    layer, x = from_linear(linear(rng)), randn(rng, *shape, dtype=torch.float32)
    with called_for(f"x of shape {list(shape)}"):
        got = output(layer, x)
        if x.dim() > 1:
            again = output(layer, x.transpose(0, 1).contiguous().transpose(0, 1))
            expect_close(again, got, what="the output in another memory layout", hint="reshape, not view")
    what = f"the output for x of shape {list(shape)}"
    expect_close(got, wanted(layer, x).float(), what=what, hint=FORMULA, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("source", [torch.float32, None], ids=["float32 layer", "layer like x"])
def test_the_output_has_the_dtype_of_x(rng, dtype, source):
    """Tolerance: the weight may be rounded to the dtype of x, each product and the sum of 8, so 10 roundings of the
    largest that may come out; 1e-6 of it where x is wider than float32."""
    float_layer = linear(rng, dtype=source or dtype)
    layer, x = from_linear(float_layer), randn(rng, 4, 8).to(dtype)
    what = f"the bias of a layer from {source or dtype}"
    expect_equal(layer.bias, float_layer.bias.detach(), what=what, hint="as it is, in its own dtype")
    what = f"the output for x in {dtype}, of a layer from {source or dtype}"
    with called_for(f"x in {dtype}, a layer from {source or dtype}"):
        got = output(layer, x, what)
    size = (x.double().abs() @ weight_of(layer).abs().mT).max().item() + layer.bias.abs().max().item()
    tolerance = {"rtol": 0.0, "atol": max(10 * torch.finfo(dtype).eps, 1e-6) * size}
    expect_close(got.double(), wanted(layer, x), what=what, hint="the dtype of x, or a wider one", **tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_half_precision_bias_narrows_nothing(dtype):
    """A layer from a float16 one: at [2049, 1/3, 0, 0] the first row gives -2049 + 10, where float16 has steps of 2."""
    got = output(worked_example(torch.float16), torch.tensor([[2049, 1 / 3, 0, 0]], dtype=dtype))
    want = torch.tensor([[-2039, 4 / 3 + 20]], dtype=torch.float64)
    what = f"a layer with a float16 bias at [2049, 1/3, 0, 0] in {dtype}"
    rtol = 1e-12 if dtype == torch.float64 else 1e-6
    hint = "all in the dtype of x, or a wider one; float64 stays float64"
    expect_close(got.double(), want, what=what, hint=hint, rtol=rtol, atol=0.0)


def test_small_and_many_weights_in_half_precision():
    """A scale of 2^-27 is 0 in float16, 8 times that is not. 8192 codes 8 steps above their zero point add up to 65536, where
    float16 ends at 65504; with the scale 1/128 the answer is 512."""
    zeros = torch.full((1, 1), 7, dtype=torch.uint8)
    for n, scale, x, want in ((8, 2.0**-27, 1024.0, 2.0**-11), (8192, 2.0**-7, 1.0, 512.0)):
        layer = Int4Linear(torch.full((1, n // 2), 255, dtype=torch.uint8), torch.full((1, 1), scale), zeros, None)
        got = output(layer, torch.full((1, n), x).half())
        what = f"the output for {n} times {x:g} in float16, of codes 15, zeros 7 and a scale of {scale:g},"
        hint = "scales are float32: (code - zero) * scale is rounded to float16, and not its factors"
        expect_close(got.double(), torch.full((1, 1), want).double(), what=what, hint=hint, rtol=2e-3, atol=0.0)


def test_a_gradient_reaches_x(rng):
    """QLoRA trains adapters in front of such layers. d sum(y) / dx is the sum of the weight's rows."""
    layer, x = from_linear(linear(rng)), randn(rng, 3, 8, dtype=torch.float32).requires_grad_()
    y = output(layer, x)
    expect(y.requires_grad, "the output should have a graph, as x does", hint="no no_grad or detach in forward")
    (got,) = torch.autograd.grad(y.sum(), x)
    want = weight_of(layer).sum(0).float().expand(3, 8)
    expect_close(got, want, what="the gradient of sum(y) with respect to x", hint=FORMULA, rtol=1e-5, atol=1e-4)


def test_the_layer_is_a_snapshot(rng):
    """Training the float layer further must not reach the quantised one, its bias included. Nor does a call."""
    source, x = linear(rng), randn(rng, 4, 8, dtype=torch.float32)
    layer = from_linear(source)
    want = output(layer, x).clone()
    held = [name for name, buffer in layer.named_buffers() if buffer.requires_grad]
    expect_equal(held, [], what="the buffers with a graph", hint="detach what comes from a Parameter")
    with torch.no_grad():
        source.weight.zero_()
        source.bias.zero_()
    expect_equal(layer(x), want, what="the output after the source has changed", hint="clone the bias")
    before = {name: buffer.clone() for name, buffer in layer.state_dict().items()}
    expect_equal(layer.eval()(x), want, what="the output after eval()", hint="there is nothing to train here")
    for name, buffer in layer.state_dict().items():
        expect_equal(buffer, before[name], what=f"{name} after some calls", hint="a forward changes no buffer")


def test_a_state_dict_carries_the_layer_over(rng):
    """Save here, load there: a layer of the same shape becomes this one."""
    layer, other = (from_linear(linear(rng)) for _ in range(2))
    x = randn(rng, 4, 8, dtype=torch.float32)
    want = output(layer, x)
    other(x)  # what this one keeps must not survive
    result = other.load_state_dict(copy.deepcopy(layer.state_dict()))
    expect(not (result.missing_keys or result.unexpected_keys), f"the state dict should fit, but gives {result}")
    hint = "forward reads the buffers, and nothing that was computed from them before"
    expect_equal(other(x), want, what="the output of a layer that has loaded the state dict", hint=hint)


def test_the_constructor_and_from_linear_agree(rng):
    """A subclass is made by from_linear as one. Groups that do not come out even, and odd rows, raise as before."""

    class Special(Int4Linear):
        pass

    source, x = linear(rng), randn(rng, 4, 8, dtype=torch.float32)
    layer = from_linear(source)
    built = Int4Linear(layer.packed, layer.scales, layer.zeros, layer.bias)
    expect_equal(built(x), layer(x), what="Int4Linear(packed, scales, zeros, bias)(x)", hint="keep all four")
    special = type(Special.from_linear(source, 4)).__name__
    expect_equal(special, "Special", what="the class of Special.from_linear(linear, 4)", hint="cls(...), a classmethod")
    for inputs, group_size in ((8, 3), (3, 3)):
        words = f"from_linear of a layer with {inputs} inputs in groups of {group_size}"
        with expect_raises(ValueError, what=words, hint="quantize_groups and pack check"):
            Int4Linear.from_linear(nn.Linear(inputs, 2), group_size)
