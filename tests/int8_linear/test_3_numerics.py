"""Stage 3. Every dtype, outliers, exact sums, a layer that is cast."""

import pytest
import torch

from dojo.testing import FLOATS, HALVES, called_for, expect, expect_close, expect_equal, numbers, randn, roundings
from dojo.testing.casts import UndefinedCasts
from dojo.testing.describe import describe
from katas.int8_linear import dequantize, int8_matmul

from .helpers import BOTH, IDS, from_linear, linear, quantized, wanted, weight_of, worked_example

EACH = pytest.mark.parametrize("dynamic", BOTH, ids=IDS)
EVERY = pytest.mark.parametrize("dtype", FLOATS, ids=str)
WIDE = "convert to float32 first, then max, divide and round"


@EVERY
@pytest.mark.parametrize("size", [1.0, 2.0**-13, 2.0**12], ids=["around 1", "small", "large"])
def test_every_floating_dtype_is_quantised_in_float32(rng, dtype, size):
    """In float16 a maximum of 1e-6 has the scale 0, and x * 127 is infinite from 516 on; in bfloat16 a scale is off by
    0.4 %. Tolerance of a scale: 4 roundings of float32."""
    x = (size * randn(rng, 5, 9)).to(dtype)
    with called_for(f"x in {dtype}, times {size:g}"):
        codes, scales = quantized(x)
    want = x.double().abs().amax(1) / 127
    got, hint = scales.double() / want, WIDE
    ones = torch.ones(5).double()
    what = f"the scales of x in {dtype}, divided by max|row| / 127,"
    expect_close(got, ones, what=what, hint=hint, **roundings(4, torch.float32))
    error = ((codes.double() * scales.double()[:, None] - x.double()) / want[:, None]).abs().max()
    sentence = f"|x - scale * code| in {dtype} should be at most scale / 2, but is {error:.3g} scales"
    expect(error <= 0.5001, sentence, hint=WIDE)


def test_the_smallest_numbers_of_each_dtype():
    """2^-24 is the smallest of float16, and its scale is a normal number of float32. Further down, where float32 itself
    ends, a row may count as zeros, but not turn into NaN or wrap around."""
    row = torch.tensor([[2.0**-24, -(2.0**-24), 0]]).half()
    codes, scales = quantized(row)
    expect_equal(codes.tolist(), [[127, -127, 0]], what="the codes of [2^-24, -2^-24, 0] in float16", hint=WIDE)
    for dtype, sizes in ((torch.float32, [1e-38, 1e-41, 1e-44, 1.4e-45]), (torch.float64, [1e-38, 1e-44, 1e-300])):
        for size in sizes:
            x = torch.tensor([[1.0, -1, 0.5]], dtype=torch.float64).mul(size).to(dtype)
            with UndefinedCasts() as casts:
                codes, scales = quantized(x)
            what = f"{size:g} * [1, -1, 0.5] in {dtype}"
            back = codes.double() * scales.double()[:, None]
            hint = "a scale of 0 divides by zero: look at the scale as float32 has it"
            expect(scales.isfinite().all(), f"the scale of {what} should be finite, but is {scales.item()}", hint=hint)
            sentence = f"nothing infinite should be cast to an integer for {what}, but {casts.count} numbers were"
            expect(casts.count == 0, sentence, hint=hint)
            sentence = f"{what} should come back within 2e-36, but came back as {back.tolist()}"
            expect((back - x.double()).abs().max() <= 2e-36, sentence, hint=hint)


def test_the_largest_numbers_of_each_dtype():
    """Nothing is multiplied before it is divided."""
    for dtype in FLOATS:
        most = min(torch.finfo(dtype).max, torch.finfo(torch.float32).max)
        codes, scales = quantized(torch.tensor([[most, -most, 0]], dtype=dtype))
        row, hint = f"[{most:g}, -{most:g}, 0] in {dtype}", "(row / max) * 127 or row / (max / 127)"
        expect_equal(codes.tolist(), [[127, -127, 0]], what=f"the codes of {row}", hint=hint)
        expect_close(scales.double(), numbers(most) / 127, what=f"the scale of {row}", hint=WIDE, rtol=1e-6, atol=0.0)


@EVERY
def test_dequantize_gives_every_dtype(dtype):
    """The product is made in float32 and rounded once. A scale of 1e-9 is 0 in float16, and 0.3 is off by 0.1 % in
    bfloat16. Tolerance: 1.2 roundings of dtype, and 2 of float32."""
    codes = torch.arange(-127, 128).to(torch.int8).expand(3, 255)
    scales = torch.tensor([0.3, 0.01, 1e-9])
    exact = codes.double() * scales.double()[:, None]
    got = dequantize(codes, scales, dtype)
    expect_equal(got.dtype, dtype, what=f"the dtype of dequantize(..., {dtype})", hint="the third argument")
    info = torch.finfo(dtype)
    tolerance = {"rtol": 0.6 * info.eps + 2e-7, "atol": 0.6 * info.smallest_normal * info.eps}
    what = f"dequantize to {dtype}, for scales of {scales.tolist()},"
    expect_close(got.double(), exact, what=what, hint="(scale * code) in float32, then .to(dtype)", **tolerance)


def test_the_integer_product_is_exact():
    """4096 products of 127 * 127, one of them with 126: 66064257. float32 has steps of 4 there, and float16 ends at 65504.
    A rounded sum breaks what the integers are there for: the same result on every machine, in every order."""
    a = torch.full((2, 4096), 127, dtype=torch.int8)
    b = torch.full((3, 4096), 127, dtype=torch.int8)
    a[0, 0], b[2] = 126, -127
    got, full = int8_matmul(a, b), 4096 * 127 * 127
    want = torch.tensor([[full - 127, full - 127, 127 - full], [full, full, -full]], dtype=torch.int32)
    what = "int8_matmul of rows of 4096 times 127, one of them with a 126,"
    expect_equal(got, want, what=what, hint="int32 or float64: float32 is exact up to 2^24 = 16777216")


def test_the_longest_sums_fit_into_int32():
    """2^17 products of 127 * 127: 2114060288, a little below 2^31. One less in a single place shows a rounding."""
    a = torch.full((1, 2**17), 127, dtype=torch.int8)
    b = a.clone()
    b[0, -1] = 126
    want = torch.tensor([[2**17 * 127 * 127 - 127]], dtype=torch.int32)
    hint = "no limit below 2^17, and no float32 on the way"
    expect_equal(int8_matmul(a, b), want, what="int8_matmul with k=2^17, all 127 but one 126,", hint=hint)
    expect_equal(int8_matmul(-a, b), -want, what="int8_matmul with k=2^17, all -127,", hint=hint)


@EVERY
@pytest.mark.parametrize("source", [torch.float32, None], ids=["float32 layer", "layer like x"])
@EACH
def test_the_output_has_the_dtype_of_x(rng, dynamic, dtype, source):
    """Tolerance: the weight may be rounded to the dtype of x, each product and the sum of 6, so 8 roundings of the
    largest that may come out; 1e-6 of it where x is wider than float32."""
    float_layer = linear(rng, dtype=source or dtype)
    layer, x = from_linear(float_layer, dynamic), randn(rng, 4, 6).to(dtype)
    what = f"the bias of a layer from {source or dtype}"
    expect_equal(layer.bias, float_layer.bias.detach(), what=what, hint="as it is, in its own dtype")
    with called_for(f"x in {dtype}, a layer from {source or dtype}"):
        got = layer(x)
    what = f"the {IDS[dynamic]} output for x in {dtype}, of a layer from {source or dtype}"
    expect_equal(getattr(got, "dtype", None), dtype, what=f"the dtype of {what}", hint="convert back at the end")
    want = wanted(layer, x, dynamic)
    size = (x.double().abs() @ weight_of(layer).abs().mT).max().item() + layer.bias.abs().max().item()
    tolerance = {"rtol": 0.0, "atol": max(8 * torch.finfo(dtype).eps, 1e-6) * size}
    expect_close(got.double(), want, what=what, hint="rescale in float32, add the bias there", **tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@EACH
def test_a_half_precision_bias_narrows_nothing(dynamic, dtype):
    """A layer from a float16 one, at a wider x. Weight-only works in the dtype of x: every product with [127, 1/3, 3] is
    known to 1e-12 in float64. Dynamic has the codes [127, 0, 3]: sums of 16138 and 490, and float16 has steps of 4 there."""
    got = worked_example(dynamic, torch.float16)(torch.tensor([[127, 1 / 3, 3]], dtype=dtype))
    third = 0 if dynamic else 1 / 3
    want = torch.tensor([[16138 / 2 - third + 10, 490 / 4 + 31.75 * third + 20]], dtype=torch.float64)
    hint = "the wider of float32 and the dtype of x, the bias included; float64 stays float64"
    what = f"a {IDS[dynamic]} layer with a float16 bias at [[127, 1/3, 3]] in {dtype}"
    rtol = 1e-12 if dtype == torch.float64 and not dynamic else 1e-6
    expect_close(got.double(), want, what=what, hint=hint, rtol=rtol, atol=0.0)


def test_products_with_codes_do_not_overflow_in_half_precision():
    """1024 codes of 127 add up to 130048, where float16 ends at 65504. With the scale 1/128 the answer is 1016."""
    for dynamic in BOTH:
        layer = linear(torch.Generator().manual_seed(0), 1024, 2)
        with torch.no_grad():
            layer.weight.fill_(127 / 128)
            layer.bias.zero_()
        got = from_linear(layer, dynamic)(torch.ones(1, 1024).half())
        want = torch.full((1, 2), 1016.0).half()
        what = f"the {IDS[dynamic]} output for 1024 ones in float16 and weights of 127/128"
        expect_close(got, want, what=what, hint="scale the codes before the sum, or sum in float32")


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_a_dynamic_output_is_rounded_once(rng, dtype):
    """s_x s_w of the sum, and the bias, in float32: what comes out is the nearest number of dtype, half a step away at
    most, but for what float32 itself has lost. A second rounding makes it a whole step."""
    layer, x = from_linear(linear(rng, 6, 8), dynamic=True), randn(rng, 64, 6).to(dtype)
    with torch.no_grad():
        layer.bias.copy_(30 * layer.bias)
    want = wanted(layer, x, dynamic=True)
    lost = 1e-6 * (x.double().abs() @ weight_of(layer).abs().mT + layer.bias.double().abs())
    step = torch.finfo(dtype).eps * 2.0 ** want.abs().log2().floor()
    off = (((layer(x).double() - want).abs() - lost) / step).max()
    sentence = f"a dynamic output in {dtype} should be off by half a step of {dtype}, but is off by {off:.2f} steps"
    expect(off <= 0.501, sentence, hint="convert to the dtype of x as the last step, after the bias")


def test_small_weights_keep_their_scales(rng):
    """1e-6 / 127 is 0 in float16: a float16 layer with such a row must not lose it."""
    source = linear(rng, dtype=torch.float16)
    with torch.no_grad():
        source.weight[1] = torch.tensor([1.0, -1, 1, -1, 0, 0]).half() * 2.0**-20
        source.bias.zero_()
    for dynamic in BOTH:
        layer = from_linear(source, dynamic)
        got = layer(1024 * torch.tensor([[1.0, -1, 1, -1, 0, 0]]))[0, 1].double()
        want = torch.tensor(2.0**-8).double()
        what = f"the {IDS[dynamic]} output of a float16 row of 2^-20"
        expect_close(got, want, what=what, hint="scales are float32, always", rtol=1e-5, atol=0.0)


CASTS = {
    "half()": lambda model: model.half(),
    "bfloat16()": lambda model: model.bfloat16(),
    "to(torch.float16)": lambda model: model.to(torch.float16),
    "double()": lambda model: model.double(),
    "half().float()": lambda model: model.half().float(),
}


@pytest.mark.parametrize("name", CASTS)
@EACH
def test_a_cast_leaves_codes_and_scales_alone(rng, dynamic, name):
    """A model is often cast after its layers were quantised: then float16 scales would be off by 2^-11, or 0 for small
    rows, and bfloat16 scales by 2^-9, half of what rounding the codes costs."""
    layer = from_linear(linear(rng), dynamic)
    with torch.no_grad():
        layer.scales[0] = 1e-9
    codes, scales = layer.codes.clone(), layer.scales.clone()
    model = torch.nn.Sequential(layer)
    with called_for(f"model.{name}"):
        CASTS[name](model)
    hint = "all casts go through nn.Module._apply: override it, and put the float32 scales back"
    expect_equal(model[0].codes, codes, what=f"codes after model.{name}", hint=hint)
    expect_equal(model[0].scales, scales, what=f"scales after model.{name}", hint=hint)
    x = randn(rng, 3, 6).half()
    expect_equal(model(x).dtype, torch.float16, what=f"the dtype of the output after model.{name}", hint="that of x")
    returned = layer.half()
    sentence = f"layer.half() should return the layer, as for every module, but returned {describe(returned)}"
    expect(returned is layer, sentence, hint="_apply returns self")


def test_a_move_takes_all_buffers_along(rng):
    """To another device, with a cast or without: a scale that stays behind breaks the first call there."""
    for move in ({"device": "meta"}, {"device": "meta", "dtype": torch.bfloat16}):
        layer = torch.nn.Sequential(from_linear(linear(rng), dynamic=True)).to(**move)[0]
        devices = {name: buffer.device.type for name, buffer in layer.named_buffers()}
        want = dict.fromkeys(("codes", "scales", "bias"), "meta")
        call = f".to({', '.join(f'{k}={v!r}' for k, v in move.items())})"
        hint = "put scales back on the device of the others"
        expect_equal(devices, want, what=f"the device of each buffer after {call}", hint=hint)
        what = f"the dtype of scales after {call}"
        expect_equal(layer.scales.dtype, torch.float32, what=what, hint="float32, always")
