"""What a kata returned, looked at before its numbers are; layers; the levels of NF4 by their definition."""

import torch
from torch import Tensor, nn

from dojo.testing import expect, expect_equal, randn
from dojo.testing.describe import describe
from katas.int4_weights import Int4Linear, dequantize_groups, dequantize_nf4, quantize_groups, quantize_nf4

HALF_WAY = 0.5001  # half a scale, and what float32 loses in w / scale


def expect_tensors(got, names, what):
    """Whether a kata's result is one tensor for each of the names."""
    fits = isinstance(got, tuple | list) and len(got) == len(names) and all(isinstance(part, Tensor) for part in got)
    expected = f"{what} should be {len(names)} tensors, ({', '.join(names)}), but is {describe(got)}"
    expect(fits, expected, hint=f"return {', '.join(names)}")


def expect_form(tensor, shape, dtype, what, hint=""):
    expect(isinstance(tensor, Tensor), f"{what} should be a tensor, but is {describe(tensor)}")
    expect_equal(list(tensor.shape), list(shape), what=f"the shape of {what}", hint=hint)
    expect_equal(tensor.dtype, dtype, what=f"the dtype of {what}")


def expect_nibbles(codes, what):
    most = codes.max().item() if codes.numel() else 0
    expect(most <= 15, f"{what} should be at most 15, but reach {most}: four bits hold no more", hint="clamp(0, 15)")


def grouped(weight, group_size, what="quantize_groups"):
    """(codes, scales, zeros) of quantize_groups, after a look at what it returned."""
    got = quantize_groups(weight, group_size)
    expect_tensors(got, ("codes", "scales", "zeros"), what)
    codes, scales, zeros = got
    rows, n = weight.shape
    hint = "one for each group: [out, in / group_size]"
    expect_form(
        codes, weight.shape, torch.uint8, f"the codes of {what}", "that of the weight; two in a byte come later"
    )
    expect_form(scales, (rows, n // group_size), torch.float32, f"the scales of {what}", hint)
    expect_form(zeros, (rows, n // group_size), torch.uint8, f"the zeros of {what}", hint)
    expect_nibbles(zeros, f"the zeros of {what}")
    expect_nibbles(codes, f"the codes of {what}")
    expect(not scales.requires_grad, f"the scales of {what} should have no graph", hint="weight.detach()")
    return codes, scales, zeros


def back_of(codes, scales, zeros):
    """What the codes stand for, float64, one group after the other: [out, groups, group_size]."""
    steps = codes.double().reshape(*scales.shape, -1) - zeros.double()[..., None]
    return steps * scales.double()[..., None]


def expect_groups(weight, group_size, what):
    """The scale is (high - low) / 15, the zero point the nearest to -low / scale, and no weight is off by half a scale."""
    codes, scales, zeros = grouped(weight, group_size, f"quantize_groups of {what}")
    groups = weight.detach().double().reshape(*scales.shape, group_size)
    zero = torch.zeros((), dtype=torch.float64)
    low, high = torch.minimum(groups.amin(2), zero), torch.maximum(groups.amax(2), zero)
    ratio = (scales.double() * 15 / (high - low) - 1).abs().max().item()
    sentence = f"each scale of {what} should be (high - low) / 15, but is off by {ratio:.2%}"
    hint = "low = min(0, smallest), high = max(0, largest) of each group, in float32"
    expect(ratio <= 2e-6, sentence, hint=hint)
    off = (zeros.double() + low / scales.double()).abs().max()
    sentence = f"each zero point of {what} should be -low / scale, rounded, but is off by {off:.3g}"
    expect(off <= HALF_WAY, sentence, hint="(-low / scale).round()")
    error = ((back_of(codes, scales, zeros) - groups).abs() / scales.double()[..., None]).max()
    sentence = f"|w - (code - zero) * scale| should be at most scale / 2 in {what}, but is {error:.3g} scales"
    expect(error <= HALF_WAY, sentence, hint="(w / scale).round() + zero, clamped to [0, 15]")
    return codes, scales, zeros


def dequantized(codes, scales, zeros, dtype=torch.float32, what="dequantize_groups"):
    """dequantize_groups, after a look at what it returned. It has a sentence for uint8."""
    got = dequantize_groups(codes, scales, zeros, dtype)
    expect_form(got, codes.shape, dtype, what, "that of the codes")
    return got


def levels():
    """The 16 levels of NF4, float64: quantiles of a normal distribution, 8 below 0 and 8 above, divided by the largest."""
    upper, lower = (torch.special.ndtri(torch.linspace(0.9677083, 0.5, n).double())[:-1] for n in (9, 8))
    return torch.cat([-lower, torch.zeros(1).double(), upper.flip(0)]) / upper.max()


def nf4(weight, block_size, what="quantize_nf4"):
    """(codes, absmax) of quantize_nf4, after a look at what it returned."""
    got = quantize_nf4(weight, block_size)
    expect_tensors(got, ("codes", "absmax"), what)
    codes, absmax = got
    n = weight.numel()
    expect_form(
        codes, (n,), torch.uint8, f"the codes of {what}", "flat, one for each weight: the last block may be short"
    )
    expect_form(absmax, (-(-n // block_size),), torch.float32, f"the absmax of {what}", "one for each block")
    expect_nibbles(codes, f"the codes of {what}")
    expect(not absmax.requires_grad, f"the absmax of {what} should have no graph", hint="weight.detach()")
    return codes, absmax


def blocks_of(weight, block_size):
    """The flat weight, float64, and for each of its numbers the block."""
    flat = torch.cat([part.reshape(-1) for part in weight.detach().double()]) if weight.dim() > 1 else weight.double()
    return flat, torch.arange(len(flat)) // block_size


def from_nf4(codes, absmax, shape, dtype=torch.float32, block_size=64, what="dequantize_nf4"):
    """dequantize_nf4, after a look at what it returned."""
    got = dequantize_nf4(codes, absmax, shape, dtype, block_size)
    expect_form(got, shape, dtype, what, "the one that is asked for")
    return got


def linear(rng, inputs=8, outputs=5, bias=True, dtype=torch.float32):
    """A linear layer with rows of unequal sizes."""
    layer = nn.Linear(inputs, outputs, bias, dtype=dtype)
    with torch.no_grad():
        layer.weight.copy_(randn(rng, outputs, inputs) * 2.0 ** torch.arange(-2, outputs - 2)[:, None])
        if bias:
            layer.bias.copy_(randn(rng, outputs))
    return layer


def from_linear(source, group_size=4):
    """Int4Linear.from_linear, after a look at what it returned."""
    layer = Int4Linear.from_linear(source, group_size)
    expect(isinstance(layer, Int4Linear), f"from_linear(linear) should be an Int4Linear, but is {describe(layer)}")
    for name in ("packed", "scales", "zeros"):
        value = getattr(layer, name, None)
        sentence = f"the layer should have a tensor `{name}`, but it is {describe(value)}"
        expect(isinstance(value, Tensor), sentence, hint="register_buffer in __init__")
    return layer


def weight_of(layer):
    """The layer's weight, float64, from its buffers."""
    codes = torch.zeros(len(layer.packed), 2 * layer.packed.shape[1])
    codes[:, ::2], codes[:, 1::2] = layer.packed % 16, layer.packed.div(16, rounding_mode="floor")
    return back_of(codes, layer.scales, layer.zeros).flatten(1)


def wanted(layer, x):
    """What the layer's buffers give, float64."""
    y = x.detach().double() @ weight_of(layer).mT
    return y if layer.bias is None else y + layer.bias.double()


def output(layer, x, what="the output"):
    """The layer's output, after a look at what it returned."""
    got = layer(x)
    expect_form(got, (*x.shape[:-1], len(layer.packed)), x.dtype, what, "[*batch, out]")
    return got
