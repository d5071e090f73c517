"""Stage 3. The backward pass, every floating dtype."""

import pytest
import torch

from dojo.testing import (
    FLOATS,
    HALVES,
    called_for,
    expect,
    expect_close,
    expect_equal,
    expect_unchanged,
    numbers,
    randn,
)
from katas.conv2d import conv2d

from .helpers import NAMES, SETTINGS, given, gradients, image, integers, shown, title

EACH = pytest.mark.parametrize("setting", SETTINGS, ids=title)
EVERY = pytest.mark.parametrize("dtype", FLOATS, ids=str)
BACK = "a pixel gets, for each window that reads it, grad times the weight that it met there: shares add up"
KERNEL = "weight (u, v) gets the sum of grad (i, j) times pixel (sh * i + u, sw * j + v), over positions and the batch"
WIDEN = "convert to float32 first and to the dtype of x last, after the bias"


def test_a_worked_backward_pass():
    """Windows of 2 x 2 over 3 x 3 pixels. With the gradient 1 in the first of four windows and 10 in the last, the corner
    (0, 0) is read once, with weight 1; the centre by both, with the weights 4 and 1."""
    x, weight = image([1, 2, 3], [4, 5, 6], [7, 8, 9]), image([1, 2], [3, 4])
    got = gradients(image([1, 0], [0, 10]), x, weight)
    what = "of conv2d_backward([[1, 0], [0, 10]], x=[[1, 2, 3], [4, 5, 6], [7, 8, 9]], weight=[[1, 2], [3, 4]])"
    want = image([1, 2, 0], [3, 14, 20], [0, 30, 40])
    expect_close(got["grad_x"], want, what=f"grad_x {what}", hint=BACK)
    expect_close(got["grad_weight"], image([51, 62], [84, 95]), what=f"grad_weight {what}", hint=KERNEL)
    expect_close(got["grad_bias"], numbers(11), what=f"grad_bias {what}", hint="the sum of grad")


def test_pixels_get_a_share_of_every_window_that_reads_them():
    """All of grad and weight are 1: grad_x counts windows. With stride 2, the last column is in none."""
    ones = torch.ones(1, 1, 2, 2).double()
    got = gradients(torch.ones(1, 1, 2, 2).double(), torch.zeros(1, 1, 3, 3).double(), ones)["grad_x"]
    want = image([1, 2, 1], [2, 4, 2], [1, 2, 1])
    expect_close(got, want, what="grad_x of 3x3 pixels, with grad and a 2x2 kernel of ones,", hint=BACK)
    grad, x, weight = (torch.ones(1, 1, *size).double() for size in ((1, 2), (3, 6), (2, 3)))
    got = gradients(grad, x, weight, stride=2)["grad_x"]
    want = image([1, 1, 2, 1, 1, 0], [1, 1, 2, 1, 1, 0], [0] * 6)
    expect_close(got, want, what="grad_x of 3x6 pixels, with grad and a 2x3 kernel of ones, stride=2,", hint=BACK)


@EACH
def test_grad_x_is_the_slope_of_your_convolution(rng, setting):
    """conv2d is linear in x. So the slope along a pixel is the result for an image that is 1 there and 0 elsewhere, times
    grad, summed. Exact, since all numbers are integers."""
    x, weight = given(rng, setting)
    options = {"stride": setting.stride, "padding": setting.padding}
    grad = integers(rng, 2, 4, *setting.result)
    got = gradients(grad, x, weight, **options)["grad_x"]
    moved = conv2d(torch.eye(x[0].numel()).double().view(-1, *x[0].shape), weight, **options)
    want = (grad.flatten(1) @ moved.flatten(1).T).view_as(x)
    what = f"grad_x for {shown(setting)}, against the slope of your conv2d,"
    expect_close(got, want, what=what, hint=BACK)


@EACH
def test_grad_weight_is_the_slope_of_your_convolution(rng, setting):
    """conv2d is linear in the weight as well: kernels that are 1 in one place and 0 elsewhere."""
    x, weight = given(rng, setting)
    options = {"stride": setting.stride, "padding": setting.padding}
    grad = integers(rng, 2, 4, *setting.result)
    got = gradients(grad, x, weight, **options)["grad_weight"]
    moved = conv2d(x, torch.eye(weight[0].numel()).double().view(-1, *weight[0].shape), **options)
    want = sum(g.flatten(1) @ m.flatten(1).T for g, m in zip(grad, moved, strict=True)).view_as(weight)
    what = f"grad_weight for {shown(setting)}, against the slope of your conv2d,"
    expect_close(got, want, what=what, hint=KERNEL)


@EACH
def test_grad_bias_is_the_sum_of_grad(rng, setting):
    """A number for each output channel: over the batch and all positions."""
    x, weight = given(rng, setting)
    grad = integers(rng, 2, 4, *setting.result)
    got = gradients(grad, x, weight, setting.stride, setting.padding)["grad_bias"]
    hint = "grad.sum over batch, rows and columns; no mean"
    expect_close(got, grad.sum((0, 2, 3)), what=f"grad_bias for {shown(setting)}", hint=hint)


def test_gradients_of_an_empty_batch():
    """No images have no gradient, and the weights get 0."""
    x, weight = torch.zeros(0, 3, 5, 4).double(), torch.ones(4, 3, 2, 2).double()
    with called_for("a batch of 0 images", hint="reshape cannot work out a -1 of no elements: give it the numbers"):
        got = gradients(torch.zeros(0, 4, 2, 2).double(), x, weight, 2)
    for name, like in zip(NAMES, (x, weight, weight[:, 0, 0, 0]), strict=True):
        expect_close(got[name], torch.zeros_like(like), what=f"{name} of a batch of 0 images", hint="sums of nothing")


@pytest.mark.parametrize("padding", [0, (1, 2)], ids=str)
def test_the_backward_pass_leaves_its_arguments_and_takes_views(rng, padding):
    """grad may be expanded from one number, as the gradient of a sum is: all of its elements are one in memory."""
    x, weight = randn(rng, 2, 3, 5, 6), randn(rng, 4, 3, 3, 2)
    shape = conv2d(x, weight, None, 2, padding).shape
    grad, views = randn(rng, *shape), [t.mT.contiguous().mT for t in (x, weight)]
    with expect_unchanged(grad, x, weight, what="an argument of conv2d_backward"):
        want = gradients(grad, x, weight, 2, padding)
    hint = "reshape instead of view, and the strides that the tensor has"
    with called_for("grad, x and weight as views", hint=hint):
        got = gradients(grad.mT.contiguous().mT, *views, 2, padding)
        flat = gradients(numbers(2).expand(shape), x, weight, 2, padding)
    whole = gradients(torch.full(shape, 2.0).double(), x, weight, 2, padding)
    for name in NAMES:
        expect_close(got[name], want[name], what=f"{name} of views, padding={padding}", hint=hint)
        expect_close(flat[name], whole[name], what=f"{name} with grad expanded from one number", hint=hint)


def test_the_gradients_are_made_by_hand(rng):
    """No graph: under torch.inference_mode() autograd records nothing, and the formula works as before."""
    grad, x, weight = randn(rng, 2, 4, 4, 5), randn(rng, 2, 3, 5, 6), randn(rng, 4, 3, 2, 2)
    want = gradients(grad, x, weight)
    try:
        with torch.inference_mode():
            got = gradients(grad.clone(), x.clone(), weight.clone())
    except RuntimeError as error:
        expect(False, f"conv2d_backward should do without autograd, but needs it: {error}", hint=BACK)
    for name, result in got.items():
        expect_close(result.clone(), want[name], what=f"{name} under torch.inference_mode()", hint=BACK)


@EVERY
def test_every_floating_dtype(rng, dtype):
    """Small integers are exact in each of them."""
    x, weight, bias = (integers(rng, *shape, largest=2) for shape in ((2, 3, 5, 4), (4, 3, 2, 2), (4,)))
    want = conv2d(x, weight, bias, 2, 1)
    got = conv2d(x.to(dtype), weight.to(dtype), bias.to(dtype), 2, 1)
    expect_close(got, want.to(dtype), what=f"conv2d in {dtype}", hint=WIDEN)
    grad = integers(rng, *want.shape, largest=1)
    want = gradients(grad, x, weight, 2, 1)
    for name, got in gradients(grad.to(dtype), x.to(dtype), weight.to(dtype), 2, 1).items():
        expect_close(got, want[name].to(dtype), what=f"{name} in {dtype}", hint=WIDEN)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_wide_dtypes_keep_their_digits(dtype):
    """1 + 2^-20 is exact in float32, and 1 + 2^-40 in float64; both are 1 in the next narrower dtype."""
    fine = 1 + 2.0 ** (-20 if dtype == torch.float32 else -40)
    x, ones = torch.full((1, 1, 1, 2), fine, dtype=dtype), torch.ones(1, 1, 1, 1, dtype=dtype)
    limits = {"rtol": 0.0, "atol": (fine - 1) / 4}
    expect_close(conv2d(x, ones), x, what=f"an image of {fine!r} with a kernel of 1 in {dtype}", hint=WIDEN, **limits)
    got = gradients(x, x, ones)
    for name, want in (("grad_x", x), ("grad_weight", 2 * fine**2 * ones), ("grad_bias", 2 * x[0, 0, 0, :1])):
        expect_close(got[name], want, what=f"{name} of {fine!r} in {dtype}", hint=WIDEN, **limits)


# A sum of one large number and nine small ones, which half precision would lose one by one: 2048 + 1 = 2048 in float16.
LARGE = {torch.float16: 2048.0, torch.bfloat16: 256.0}
PLACES = pytest.mark.parametrize("place", [0, 8], ids=["first", "last"])
HALF = pytest.mark.parametrize("dtype", HALVES, ids=str)


def series(dtype, place):
    """Eight ones and one large number, and its exact sum, in this dtype."""
    values = torch.ones(9, dtype=dtype)
    values[place] = LARGE[dtype]
    return values, torch.tensor(LARGE[dtype] + 8, dtype=dtype)


@HALF
@PLACES
def test_sums_of_the_result_do_not_run_in_half_precision(dtype, place):
    """Over the kernel, its rows, its columns, and the input channels."""
    values, want = series(dtype, place)
    for shape in ((1, 1, 3, 3), (1, 1, 9, 1), (1, 1, 1, 9), (1, 9, 1, 1)):
        got = conv2d(values.view(shape), torch.ones(shape, dtype=dtype))
        what = f"{LARGE[dtype]:g} + 8 * 1 over a kernel {list(shape)} in {dtype}"
        expect_equal(got, want.view(1, 1, 1, 1), what=what, hint=WIDEN)


@HALF
def test_the_result_is_rounded_once(dtype):
    """2049 and 257 lie between two numbers of float16 and bfloat16. One more is exact, unless the sum was rounded before."""
    large = LARGE[dtype]
    x, ones = torch.tensor([large, 1], dtype=dtype).view(1, 2, 1, 1), torch.ones(1, 2, 1, 1, dtype=dtype)
    got = conv2d(x, ones, torch.ones(1, dtype=dtype))
    want = torch.full((1, 1, 1, 1), large + 2, dtype=dtype)
    expect_equal(got, want, what=f"{large + 1:g}, plus a bias of 1, in {dtype}", hint=WIDEN)


def test_sums_may_pass_the_end_of_float16():
    """65504. 48000 + 48000 - 48000 is 48000, in any order; and a bias may bring a sum back."""
    for values in ((48000, 48000, -48000), (-48000, 48000, 48000)):
        x, ones = numbers(*values).half(), torch.ones(3).half()
        for shape in ((1, 1, 1, 3), (1, 1, 3, 1), (1, 3, 1, 1)):
            got, want = conv2d(x.view(shape), ones.view(shape)), torch.full((1, 1, 1, 1), 48000.0).half()
            expect_equal(got, want, what=f"the sum {values} over a kernel {list(shape)} in float16", hint=WIDEN)
    got = conv2d(image([300]).half(), image([300]).half(), numbers(-60000).half())
    expect_equal(got, image([30000]).half(), what="300 * 300, plus a bias of -60000, in float16", hint=WIDEN)


@HALF
@PLACES
def test_sums_of_the_gradients_do_not_run_in_half_precision(dtype, place):
    """grad_x adds up windows and output channels, the others positions and the batch."""
    values, want = series(dtype, place)
    ones = torch.ones(1, 1, 3, 3, dtype=dtype)
    zeros = torch.zeros(1, 1, 5, 5, dtype=dtype)
    got = gradients(values.view(1, 1, 3, 3), zeros, ones)["grad_x"][0, 0, 2, 2]
    expect_equal(got, want, what=f"the grad_x of a pixel in nine windows in {dtype}", hint=WIDEN)
    pixel, weight = torch.zeros(1, 1, 1, 1, dtype=dtype), torch.ones(9, 1, 1, 1, dtype=dtype)
    got = gradients(values.view(1, 9, 1, 1), pixel, weight)["grad_x"][0, 0, 0, 0]
    expect_equal(got, want, what=f"the grad_x of nine output channels in {dtype}", hint=WIDEN)
    for shape, words in (((9, 1, 1, 1), "nine images"), ((1, 1, 3, 3), "nine positions")):
        for grad, x in ((values, torch.ones_like(values)), (torch.ones_like(values), values)):
            got = gradients(grad.view(shape), x.view(shape), ones[:, :, :1, :1])
            expect_equal(got["grad_weight"].view(()), want, what=f"grad_weight of {words} in {dtype}", hint=WIDEN)
        got = gradients(values.view(shape), x.view(shape), ones[:, :, :1, :1])["grad_bias"][0]
        expect_equal(got, want, what=f"grad_bias of {words} in {dtype}", hint=WIDEN)


def test_sums_of_gradients_may_pass_the_end_of_float16():
    """48000 + 48000 - 48000, in any order: over windows, output channels, images and positions."""
    ones, want = torch.ones(3).half(), torch.tensor(48000.0).half()
    for values in ((48000, 48000, -48000), (-48000, 48000, 48000)):
        v = numbers(*values).half()
        got = gradients(v.view(1, 1, 1, 3), torch.zeros(1, 1, 1, 5).half(), ones.view(1, 1, 1, 3))["grad_x"][0, 0, 0, 2]
        expect_equal(got, want, what=f"the grad_x of a pixel that gets {values} in float16", hint=WIDEN)
        got = gradients(v.view(1, 3, 1, 1), torch.zeros(1, 1, 1, 1).half(), ones.view(3, 1, 1, 1))["grad_x"].view(())
        expect_equal(got, want, what=f"the grad_x of output channels that give {values} in float16", hint=WIDEN)
        for shape in ((3, 1, 1, 1), (1, 1, 1, 3), (1, 1, 3, 1)):
            got = gradients(v.view(shape), ones.view(shape), torch.ones(1, 1, 1, 1).half())
            for name in NAMES[1:]:
                what = f"{name} of grad {values} with the shape {list(shape)} in float16"
                expect_equal(got[name].view(()), want, what=what, hint=WIDEN)
