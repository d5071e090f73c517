"""Stage 2. Rows of zeros, any leading dimensions, each token for itself, state dict, wrong arguments."""

import copy

import pytest
import torch
from torch import nn

from dojo.testing import called_for, expect, expect_close, expect_equal, expect_raises, expect_unchanged, randn
from dojo.testing.casts import UndefinedCasts
from katas.int8_linear import MAX_TERMS, Int8Linear, dequantize, int8_matmul, quantize_per_row

from .helpers import BIAS, BOTH, FORMULA, IDS, from_linear, linear, quantized, wanted, worked_example

EACH = pytest.mark.parametrize("dynamic", BOTH, ids=IDS)


def test_a_row_of_zeros_comes_back_as_zeros():
    """0 / 0 is NaN, and NaN has no code: what a cast makes of it depends on the machine. Pruned rows and padding do
    this. The scale is free, as long as it is finite."""
    x = torch.tensor([[0.0, 0, 0], [1, -2, 0], [0, -0.0, 0]])
    with UndefinedCasts() as casts:
        codes, scales = quantized(x)
    hint = "where max|row| is 0, divide by 1"
    sentence = (
        f"no NaN should be cast to an integer for a row of zeros, but {casts.count} were: any code may come of it"
    )
    expect(casts.count == 0, sentence, hint=hint)
    expect(scales.isfinite().all(), f"the scales should be finite, but are {scales.tolist()}", hint=hint)
    expect_equal(codes[::2], torch.zeros(2, 3, dtype=torch.int8), what="the codes of a row of zeros", hint=hint)
    back = dequantize(codes, scales, torch.float32)
    expect_equal(back[::2].abs(), torch.zeros(2, 3), what="a row of zeros, quantised and back", hint=hint)
    expect_equal(
        codes[1].tolist(), [64, -127, 0], what="the codes of [1, -2, 0] between them", hint="only zeros change"
    )


def test_codes_follow_sign_and_size(rng):
    """Minus x has minus the codes and the same scales: the range is symmetric, and -128 is not used. A row times 8 has the
    same codes and 8 times the scale: nothing is added to a scale."""
    x = randn(rng, 5, 8, dtype=torch.float32)
    codes, scales = quantized(x)
    negative, same = quantized(-x)
    hint = "no zero point: from -127 to 127"
    expect_equal(negative, -codes, what="the codes of -x", hint=hint)
    expect_close(same, scales, what="the scales of -x", hint=hint)
    for factor in (8.0, 2.0**-40, 2.0**60, 2.0**-112):
        what, hint = f"{factor:g} * x", "max|row| / 127: no eps is added, and none is a lower limit"
        new_codes, new_scales = quantized(factor * x)
        expect_close(new_scales / factor, scales, what=f"the scales of {what}, divided by it,", hint=hint)
        expect_equal(new_codes, codes, what=f"the codes of {what}", hint=hint)


def test_integers_come_back_exactly():
    """Every whole number up to 127, with 127 among them, is its own code; also times a power of two."""
    row = torch.arange(-127.0, 128)
    x = torch.stack([row, row / 8, row * 4])
    codes, scales = quantized(x)
    want = row.to(torch.int8).expand(3, 255)
    expect_equal(codes, want, what="the codes of -127 to 127, times 1, 1/8 and 4", hint="the scale is max / 127")
    got = dequantize(codes, scales, torch.float32)
    expect_close(got, x, what="-127 to 127, quantised and back", hint="scale * code")


def test_any_memory_layout(rng):
    """A transposed weight, a slice of tokens."""
    x = randn(rng, 5, 7, dtype=torch.float32)
    codes, _ = quantized(x)
    turned = quantized(x.mT.contiguous().mT)[0]
    expect_equal(turned, codes, what="the codes of x in another memory layout", hint="no view() that needs contiguity")
    a, b = codes[:, :3], quantized(randn(rng, 3, 4, dtype=torch.float32))[0].mT
    want = int8_matmul(a.contiguous(), b.contiguous())
    expect_equal(
        int8_matmul(a, b), want, what="int8_matmul of slices and transposes", hint="a b^T, whatever the strides"
    )


@pytest.mark.parametrize("shape", [(6,), (1, 6), (2, 3, 6), (2, 1, 2, 6), (0, 6), (2, 0, 6)], ids=str)
@EACH
def test_any_leading_dimensions(rng, dynamic, shape):
    """One token, a batch of texts, an empty batch."""
    layer, x = from_linear(linear(rng), dynamic), randn(rng, *shape, dtype=torch.float32)
    with called_for(f"x of shape {list(shape)}"), expect_unchanged(x, what="x"):
        got = layer(x)
    what = f"the {IDS[dynamic]} output for x of shape {list(shape)}"
    hint = "reshape(-1, in) for the tokens, and the leading dimensions back at the end"
    want = wanted(layer, x, dynamic) if x.numel() else x.new_zeros(*shape[:-1], 5)
    expect_close(got, want.float(), what=what, hint=hint, rtol=1e-5, atol=1e-4)
    if x.dim() > 1:
        turned = x.transpose(0, 1).contiguous().transpose(0, 1)
        with called_for(f"x of shape {list(shape)} and strides {turned.stride()}", hint="reshape, not view"):
            again = layer(turned)
        expect_close(again, got, what=f"{what}, in another memory layout", hint="reshape, not view")


@pytest.mark.parametrize("sizes", [(4, 1), (2, 1), (2, 4)], ids=str)
@EACH
def test_one_output_or_two_inputs(rng, dynamic, sizes):
    """Where a dimension is 1, a wrong axis broadcasts."""
    layer, x = from_linear(linear(rng, *sizes), dynamic), randn(rng, 3, sizes[0], dtype=torch.float32)
    want = wanted(layer, x, dynamic).float()
    what = f"the {IDS[dynamic]} output of a layer from {sizes[0]} to {sizes[1]}"
    expect_close(layer(x), want, what=what, hint=FORMULA, rtol=1e-5, atol=1e-4)


def test_a_token_does_not_see_the_others(rng):
    """Otherwise an answer would depend on who else is in the batch. A token of outliers keeps its scale to itself."""
    layer, x = from_linear(linear(rng), dynamic=True), randn(rng, 2, 3, 6, dtype=torch.float32)
    x[0, 1] *= 500
    got = layer(x)
    alone = torch.stack([torch.stack([layer(token) for token in row]) for row in x])
    hint = "each row of x has its own scale: not one for the batch, or for a text"
    tolerance = {"rtol": 1e-5, "atol": 1e-5}  # the last bit may differ between the middle of a vector and its end
    expect_close(got, alone, what="the dynamic output, against each token alone,", hint=hint, **tolerance)


@EACH
def test_a_layer_keeps_nothing_from_a_call(rng, dynamic):
    """A scale that is measured at the first call (static quantisation) clips what is larger later."""
    layer, x = from_linear(linear(rng), dynamic), randn(rng, 4, 6, dtype=torch.float32)
    before = {name: buffer.clone() for name, buffer in layer.state_dict().items()}
    first = layer(x)
    got = layer(64 * x)
    hint = "scales of x are computed at each call"
    bias = layer.bias.detach()
    expect_close((got - bias) / 64, first - bias, what="the second call, at 64 * x,", hint=hint, rtol=1e-5, atol=1e-4)
    expect_equal(layer(x), first, what="the same x again", hint=hint)
    for name, buffer in layer.state_dict().items():
        expect_equal(buffer, before[name], what=f"{name} after three calls", hint="a forward changes no buffer")


@EACH
def test_training_mode_makes_no_difference(rng, dynamic):
    """There is nothing to train here."""
    layer, x = from_linear(linear(rng), dynamic), randn(rng, 4, 6, dtype=torch.float32)
    want = layer.eval()(x).detach()
    got = layer.train()(x).detach()
    expect_equal(got, want, what="the output in training mode", hint="no look at self.training")


@EACH
def test_a_token_of_zeros_gives_the_bias(dynamic):
    """Padding, or a dead activation."""
    got = worked_example(dynamic)(torch.zeros(2, 3))
    hint = "where max|row| is 0, divide by 1"
    expect_close(got, torch.tensor([BIAS, BIAS]), what="the output for tokens of zeros", hint=hint)


@EACH
def test_the_layer_is_a_snapshot(rng, dynamic):
    """Training the float layer further must not reach the quantised one, its bias included."""
    source, x = linear(rng), randn(rng, 4, 6, dtype=torch.float32)
    layer = from_linear(source, dynamic)
    want = layer(x).detach().clone()
    with torch.no_grad():
        source.weight.zero_()
        source.bias.zero_()
    expect_equal(layer(x).detach(), want, what="the output after the source has changed", hint="clone the bias")
    held = [name for name, buffer in layer.named_buffers() if buffer.requires_grad]
    expect_equal(held, [], what="the buffers with a graph", hint="detach what comes from a Parameter")
    twin = copy.deepcopy(layer)
    twin.codes.zero_()
    expect_equal(layer(x).detach(), want, what="the output after a deep copy was changed", hint="share nothing")


@EACH
def test_a_state_dict_carries_the_layer_over(rng, dynamic):
    """Save here, load there: a layer of the same shape becomes this one."""
    layer, other = (from_linear(linear(rng), dynamic) for _ in range(2))
    x = randn(rng, 4, 6, dtype=torch.float32)
    want = layer(x).detach()
    other(x)  # what this one keeps must not survive
    result = other.load_state_dict(copy.deepcopy(layer.state_dict()))
    expect(not (result.missing_keys or result.unexpected_keys), f"the state dict should fit, but gives {result}")
    hint = "forward reads the buffers, and nothing that was computed from them before"
    expect_equal(other(x).detach(), want, what="the output of a layer that has loaded the state dict", hint=hint)


def test_the_constructor_and_from_linear_agree(rng):
    """A subclass of Int8Linear is made by from_linear as one."""

    class Special(Int8Linear):
        pass

    source, x = linear(rng), randn(rng, 4, 6, dtype=torch.float32)
    layer = from_linear(source, dynamic=True)
    built = Int8Linear(layer.codes, layer.scales, layer.bias, dynamic=True)
    expect_equal(built(x), layer(x), what="Int8Linear(codes, scales, bias, dynamic=True)(x)", hint="keep all three")
    special = type(Special.from_linear(source, dynamic=True)).__name__
    expect_equal(special, "Special", what="the class of Special.from_linear(linear)", hint="cls(...), a classmethod")


def test_a_weight_only_layer_takes_any_x():
    """It quantises nothing at a call, so NaN and infinities go through it as through any linear layer."""
    for value in (float("nan"), float("inf")):
        x, what = torch.tensor([[1.0, value, 0], [2, 1, -2]]), f"a weight-only layer at a token with {value}"
        with called_for(what, hint="only a dynamic layer looks at x"):
            got = worked_example(dynamic=False)(x)
        expect(not got[0].isfinite().any(), f"{what} should not give finite numbers, but gives {got[0].tolist()}")
        expect_close(got[1], torch.tensor([133.0, 56.75]), what=f"the token beside it, in {what},")


def test_what_cannot_be_quantised_is_an_error():
    """NaN and infinities have no code, and the scale would spread them over their row."""
    for value in (float("nan"), float("inf"), float("-inf")):
        x = torch.tensor([[1.0, 2], [value, 0]])
        with expect_raises(ValueError, what=f"quantize_per_row of a matrix with {value}", hint="isfinite().all()"):
            quantize_per_row(x)
        with expect_raises(ValueError, what=f"a dynamic layer at a token with {value}", hint="quantize_per_row checks"):
            worked_example(dynamic=True)(torch.tensor([[1.0, value, 0]]))
        source = nn.Linear(2, 2)
        with torch.no_grad():
            source.weight.copy_(x)
        for dynamic in BOTH:
            with expect_raises(
                ValueError, what=f"from_linear of a weight with {value}", hint="quantize_per_row checks"
            ):
                Int8Linear.from_linear(source, dynamic=dynamic)


def test_wrong_shapes_are_errors():
    """A vector would be one scale for each number; a product of other sizes is a bug somewhere else."""
    for shape in ((3,), (), (2, 2, 3)):
        with expect_raises(ValueError, what=f"quantize_per_row of shape {list(shape)}", hint="x.dim() == 2"):
            quantize_per_row(torch.ones(shape))
    for a, b in (((3,), (2, 3)), ((2, 3), (3,)), ((2, 2, 3), (2, 3)), ((2, 3), (2, 2, 3)), ((2, 3), (3, 2))):
        words = f"int8_matmul of {list(a)} and {list(b)}"
        with expect_raises(ValueError, what=words, hint="a is [m, k], b is [n, k]"):
            int8_matmul(torch.ones(a, dtype=torch.int8), torch.ones(b, dtype=torch.int8))


def test_sums_that_int32_may_not_hold_are_errors():
    """127 * 127 * 133145 is above 2^31; the limit is the last power of two, 2^17 products."""
    k = MAX_TERMS + 1
    with expect_raises(ValueError, what=f"int8_matmul with k={k}", hint="k <= MAX_TERMS"):
        int8_matmul(torch.ones(1, k, dtype=torch.int8), torch.ones(1, k, dtype=torch.int8))
