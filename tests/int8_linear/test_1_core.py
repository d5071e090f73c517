"""Stage 1. Quantise and back, the integer product, the layer."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dojo.testing import expect, expect_close, expect_equal, expect_unchanged, randint, randn
from dojo.testing.describe import describe
from katas.int8_linear import dequantize, int8_matmul

from .helpers import BIAS, BOTH, FORMULA, IDS, from_linear, linear, quantized, wanted, worked_example

EACH = pytest.mark.parametrize("dynamic", BOTH, ids=IDS)


def test_codes_and_scales_of_a_worked_example():
    """The largest of each row becomes 127 or -127, whichever sign it has: 254 / 127 = 2 and 63.5 / 127 = 1 / 2."""
    x = torch.tensor([[254.0, -4, 2, 100], [0.5, 1, -63.5, 30]])
    codes, scales = quantized(x)
    hint = "scale = max|row| / 127, for each row: the absolute value first, and 127, not 128 or 255"
    expect_close(scales, torch.tensor([2.0, 0.5]), what=f"the scales of {x.tolist()}", hint=hint)
    want = torch.tensor([[127, -2, 1, 50], [1, 2, -127, 60]], dtype=torch.int8)
    expect_equal(codes, want, what=f"the codes of {x.tolist()}", hint="row / scale, rounded, as int8")


def test_codes_are_rounded_half_to_even():
    """.to(torch.int8) cuts digits off, and floor rounds negative numbers away from zero. The scale is 1 here."""
    x = torch.tensor([[127.0, 0.6, -0.6, 1.4, -1.4, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5]])
    want = torch.tensor([[127, 1, -1, 1, -1, 0, 2, 2, 0, -2, -2]], dtype=torch.int8)
    expect_equal(quantized(x)[0], want, what=f"the codes of {x.tolist()}", hint="torch.round, then .to(torch.int8)")


def test_dequantize_multiplies_each_row_by_its_scale():
    """As many rows as columns: a scale for each column has the right shape, too."""
    codes = torch.tensor([[127, -2], [1, -127]], dtype=torch.int8)
    got = dequantize(codes, torch.tensor([0.5, 2.0]), torch.float32)
    want = torch.tensor([[63.5, -1.0], [2.0, -254.0]])
    expect_close(got, want, what="dequantize([[127, -2], [1, -127]], [0.5, 2])", hint="scales[:, None] * codes")


@pytest.mark.parametrize("shape", [(5, 7), (6, 6), (3, 200), (4, 1)], ids=str)
def test_no_number_is_off_by_more_than_half_a_scale(rng, shape):
    """That is what rounding can do at most, if the scale is as small as the row's largest number allows."""
    x = randn(rng, *shape, dtype=torch.float32)
    with expect_unchanged(x, what="x"):
        codes, scales = quantized(x)
    what = f"max|code| in each row of a {list(shape)} matrix"
    top = torch.full((shape[0],), 127, dtype=torch.int32)
    expect_equal(codes.int().abs().amax(1), top, what=what, hint="one scale for each row, max|row| / 127")
    error = (codes * scales[:, None] - x).abs().double() / scales[:, None]
    sentence = (
        f"|x - scale * code| should be at most scale / 2, but is {error.max():.3g} scales in a {list(shape)} matrix"
    )
    expect(error.max() <= 0.5001, sentence, hint="row / scale, rounded to the nearest")


def test_rows_have_scales_of_their_own(rng):
    """With one scale for all, a loud row takes all digits from the others."""
    x = randn(rng, 4, 9, dtype=torch.float32)
    codes, scales = quantized(x)
    loud = x.clone()
    loud[2] *= 1000
    new_codes, new_scales = quantized(loud)
    hint = "the largest of each row (dim=1), not of the matrix or of a column"
    expect_equal(new_codes, codes, what="the codes after one row was multiplied by 1000", hint=hint)
    want = scales * torch.tensor([1.0, 1.0, 1000.0, 1.0])
    expect_close(new_scales, want, what="the scales after row 2 was multiplied by 1000", hint=hint)


def test_int8_matmul_of_a_worked_example():
    """a b^T: the rows of both. int8 @ int8 gives int8 in torch, and 127 * 127 = 16129 does not fit."""
    a = torch.tensor([[127, -127, 127], [2, 0, -3]], dtype=torch.int8)
    b = torch.tensor([[127, -127, 127], [1, 2, 3], [0, 0, -1], [-127, 127, 0]], dtype=torch.int8)
    want = torch.tensor([[48387, 254, -127, -32258], [-127, -7, 3, -254]], dtype=torch.int32)
    with expect_unchanged(a, b, what="an argument"):
        got = int8_matmul(a, b)
    what = f"int8_matmul({a.tolist()}, {b.tolist()})"
    expect_equal(got, want, what=what, hint="sums of int8 products need int32, on the way and in the result")


@pytest.mark.parametrize("sizes", [(1, 2, 1), (3, 9, 9), (2, 130, 4), (17, 33, 8)], ids=str)
def test_int8_matmul_takes_every_term(rng, sizes):
    """Kernels take 8, 16 or 32 at a time: what is left over counts as well."""
    m, k, n = sizes
    a, b = (randint(rng, -127, 128, rows, k).to(torch.int8) for rows in (m, n))
    want = (a.long() @ b.long().T).int()
    hint = "a b^T, over all of k; pad with zeros, cut nothing off"
    expect_equal(int8_matmul(a, b), want, what=f"int8_matmul of [{m}, {k}] and [{n}, {k}]", hint=hint)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@EACH
def test_a_layer_holds_codes_and_scales_and_no_parameters(rng, dynamic, bias):
    """An optimizer that sees the codes would train them, and what is no buffer is lost in the state dict."""
    layer = from_linear(linear(rng, bias=bias), dynamic)
    hint = "register_buffer for codes, scales and bias; nothing is an nn.Parameter"
    names = [name for name, _ in layer.named_parameters()]
    expect_equal(names, [], what="the parameters of Int8Linear.from_linear(linear)", hint=hint)
    wanted_buffers = {"codes": ([5, 6], torch.int8), "scales": ([5], torch.float32)}
    wanted_buffers |= {"bias": ([5], torch.float32)} if bias else {}
    buffers = {name: (list(buffer.shape), buffer.dtype) for name, buffer in layer.named_buffers()}
    expect_equal(buffers, wanted_buffers, what="the buffers of a layer from 6 to 5", hint=hint)
    keys = sorted(layer.state_dict())
    expect_equal(keys, sorted(wanted_buffers), what="the names in the state dict", hint="persistent buffers")
    if not bias:
        absent = getattr(layer, "bias", "missing")
        expect(absent is None, f"bias should be None without one, but is {describe(absent)}", hint=hint)


@EACH
def test_the_weight_is_quantised_row_by_row(rng, dynamic):
    """A row of weight [out, in] makes one output. Its scale can be taken out of the sum over in; a column's cannot."""
    source = linear(rng, 6, 6)
    weight, bias = source.weight, source.bias
    with expect_unchanged(weight, bias, what="the source layer", hint="quantise a new tensor"):
        layer = from_linear(source, dynamic)
    kept = source.weight is weight and source.bias is bias and weight.requires_grad and bias.requires_grad
    expect(kept, "the source layer should keep its own Parameters, and train, but does not", hint="leave it alone")
    codes, scales = quantized(weight.detach(), "quantize_per_row(weight)")
    hint = "quantize_per_row(linear.weight), as it is: [out, in]"
    expect_equal(layer.codes, codes, what="layer.codes", hint=hint)
    expect_close(layer.scales, scales, what="layer.scales", hint=hint)
    expect_equal(layer.bias, bias.detach(), what="layer.bias", hint="the bias is kept as it is")


def test_a_weight_only_forward_of_a_worked_example():
    """Codes [[127, -2, 3], [4, 127, -6]] and scales [1/2, 1/4]: at [2, 1, -2] the sums are 246 and 147."""
    got = worked_example(dynamic=False)(torch.tensor([[2.0, 1, -2]]))
    hint = "x (scales * codes)^T + bias; the bias is not scaled"
    expect_close(got, torch.tensor([[133.0, 56.75]]), what="a weight-only layer at [2, 1, -2]", hint=hint)


def test_a_dynamic_forward_of_a_worked_example():
    """[254, -2, 4] has the scale 2 and the codes [127, -1, 2]; the sums are 16137 and 369. [0, 31.75, 1] has the scale
    1/4 and the codes [0, 127, 4]; the sums are -242 and 16105."""
    got = worked_example(dynamic=True)(torch.tensor([[254.0, -2, 4], [0, 31.75, 1]]))
    want = torch.tensor([[16137 * 2 * 0.5 + 10, 369 * 2 * 0.25 + 20], [-242 / 8 + 10, 16105 / 16 + 20]])
    hint = "integers times s_x of the token (a row of y) times s_w of the output (a column of y), then plus bias"
    expect_close(got, want, what="a dynamic layer at [[254, -2, 4], [0, 31.75, 1]]", hint=hint)


def test_dynamic_quantises_x_and_weight_only_does_not():
    """0.4 beside 127 has the code 0: it counts in a weight-only layer, and is gone in a dynamic one."""
    x = torch.tensor([[127.0, 0.4, 0]])
    for dynamic, want in zip(BOTH, (63.5 * 127 - 0.4, 63.5 * 127), strict=True):
        got = worked_example(dynamic)(x)
        want = torch.tensor([[want + BIAS[0], 127 + (0 if dynamic else 31.75 * 0.4) + BIAS[1]]])
        expect_close(got, want, what=f"a layer with dynamic={dynamic} at [127, 0.4, 0]", hint=FORMULA)


@pytest.mark.parametrize(("outputs", "bias"), [(5, True), (4, True), (5, False)], ids=["to 5", "to 4", "no bias"])
@EACH
def test_the_output_is_that_of_the_codes(rng, dynamic, outputs, bias):
    """Rescaled integers are exactly the product of what was dequantised. With as many tokens as outputs the scales fit
    either side. Tolerance: 1e-5 of the largest, float32 sums of 6."""
    layer, x = from_linear(linear(rng, 6, outputs, bias), dynamic), randn(rng, 4, 6, dtype=torch.float32)
    x *= torch.tensor([1.0, 10.0, 0.1, 3.0])[:, None]
    want = wanted(layer, x, dynamic)
    with expect_unchanged(x, what="x"):
        got = layer(x)
    tolerance = {"rtol": 1e-5, "atol": 1e-5 * want.abs().max().item()}
    what = f"the {IDS[dynamic]} output, beside the product of the dequantised numbers"
    expect_close(got, want.float(), what=what, hint=FORMULA, **tolerance)


@EACH
def test_the_error_keeps_its_bound(rng, dynamic):
    """Each weight is off by s_w / 2 at most, each x by s_x / 2 if it is quantised, too. So the output is off by at most
    the sum of |x| s_w / 2 + |w| s_x / 2 + s_x s_w / 4; nothing about this is luck."""
    source, x = linear(rng, 40, 7), randn(rng, 6, 40, dtype=torch.float32)
    layer = from_linear(source, dynamic)
    exact = F.linear(x.double(), source.weight.detach().double(), source.bias.detach().double())
    s_w = layer.scales.double()
    bound = x.double().abs().sum(1, keepdim=True) * s_w / 2
    if dynamic:
        s_x = x.double().abs().amax(1, keepdim=True) / 127
        bound = bound + s_x * source.weight.detach().double().abs().sum(1) / 2 + 40 * s_x * s_w / 4
    got = layer(x)
    expect(isinstance(got, Tensor), f"the layer's output should be a tensor, but is {describe(got)}")
    share = ((got.double() - exact).abs() / bound).max()
    sentence = f"the output may be off from the float layer's by its bound, but is off by {share:.3g} times that"
    expect(share <= 1.001, sentence, hint=FORMULA)
