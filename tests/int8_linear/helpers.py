"""Layers for the tests, and what any right one gives. The oracles are the codes' own definition and the float layer."""

import torch
from torch import Tensor, nn

from dojo.testing import Wrong, expect, expect_equal, randn
from dojo.testing.describe import describe
from katas.int8_linear import Int8Linear, quantize_per_row

BOTH = [False, True]  # dynamic
IDS = ["weight-only", "dynamic"]
CODES, SCALES, BIAS = [[127, -2, 3], [4, 127, -6]], [0.5, 0.25], [10.0, 20.0]
FORMULA = "weight-only: x times the dequantised weight, plus bias; dynamic: integers times s_x times s_w, plus bias"


def quantized(x, what="quantize_per_row(x)"):
    """(codes, scales) of quantize_per_row, after a look at what it returned."""
    got = quantize_per_row(x)
    pair = isinstance(got, tuple | list) and len(got) == 2 and all(isinstance(part, Tensor) for part in got)
    if not pair:  # describing a result takes as long as computing it
        raise Wrong(
            f"{what} should be two tensors, (codes, scales), but is {describe(got)}", hint="return codes, scales"
        )
    codes, scales = got
    expect_equal(list(codes.shape), list(x.shape), what=f"the shape of the codes of {what}", hint="that of x")
    expect_equal(codes.dtype, torch.int8, what=f"the dtype of the codes of {what}")
    expect_equal(list(scales.shape), [len(x)], what=f"the shape of the scales of {what}", hint="one for each row")
    expect_equal(scales.dtype, torch.float32, what=f"the dtype of the scales of {what}", hint="float32, always")
    return codes, scales


def linear(rng, inputs=6, outputs=5, bias=True, dtype=torch.float32):
    """A linear layer with rows of unequal sizes."""
    layer = nn.Linear(inputs, outputs, bias, dtype=dtype)
    with torch.no_grad():
        layer.weight.copy_(randn(rng, outputs, inputs) * 2.0 ** torch.arange(-2, outputs - 2)[:, None])
        if bias:
            layer.bias.copy_(randn(rng, outputs))
    return layer


def from_linear(source, dynamic):
    """Int8Linear.from_linear, after a look at what it returned."""
    layer = Int8Linear.from_linear(source, dynamic=dynamic)
    expect_layer(layer)
    return layer


def expect_layer(layer, what="from_linear(linear)"):
    expect(isinstance(layer, Int8Linear), f"{what} should be an Int8Linear, but is {describe(layer)}")
    for name in ("codes", "scales"):
        value = getattr(layer, name, None)
        sentence = f"the layer should have a tensor `{name}`, but it is {describe(value)}"
        expect(isinstance(value, Tensor), sentence, hint="register_buffer in __init__")


def weight_of(layer):
    """The dequantised weight, float64."""
    return layer.codes.double() * layer.scales.double()[:, None]


def wanted(layer, x, dynamic):
    """What the layer's own codes give, float64: the dequantised weight times x, which is quantised, too, if dynamic."""
    if dynamic:
        codes, scales = quantized(x.reshape(-1, x.shape[-1]), "quantize_per_row of the tokens")
        x = (codes.double() * scales.double()[:, None]).reshape(x.shape)
    y = x.double() @ weight_of(layer).mT
    return y if layer.bias is None else y + layer.bias.double()


def worked_example(dynamic, dtype=torch.float32):
    """[3, 2] outputs: weight [[63.5, -1, 1.5], [1, 31.75, -1.5]]."""
    layer = Int8Linear(
        torch.tensor(CODES, dtype=torch.int8), torch.tensor(SCALES), torch.tensor(BIAS, dtype=dtype), dynamic=dynamic
    )
    expect_layer(layer, "Int8Linear(codes, scales, bias)")
    return layer
