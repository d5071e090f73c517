"""Stage 1. Stride 1, no padding, bias."""

import pytest
import torch

from dojo.testing import expect_close, expect_equal, expect_own_work, numbers
from katas import conv2d as kata
from katas.conv2d import conv2d

from .helpers import STRIDE_1, given, image, integers, shown, title
from .probe import FORBIDDEN

NO_FLIP = "pixel (i + u, j + v) meets weight (u, v): the kernel is not flipped, and moves one pixel at a time"
EACH = pytest.mark.parametrize("setting", STRIDE_1, ids=title)


def test_a_worked_example():
    """The digits of the result say which pixels were read, and in which order: 6521 is 1 * 1 + 2 * 10 + 5 * 100 + 6 * 1000."""
    x, weight = image([1, 2, 3, 4], [5, 6, 7, 8], [9, 0, 1, 2]), image([1, 10], [100, 1000])
    want = image([6521, 7632, 8743], [965, 1076, 2187])
    what = "conv2d([[1, 2, 3, 4], [5, 6, 7, 8], [9, 0, 1, 2]], [[1, 10], [100, 1000]])"
    expect_close(conv2d(x, weight), want, what=what, hint=NO_FLIP)


def test_the_convolution_is_your_own():
    """torch has it ready-made; the question is what happens inside."""
    conv2d(image([1, 2, 3], [4, 5, 6]), image([1], [2]))
    expect_own_work(kata, FORBIDDEN)


@EACH
def test_the_shape(rng, setting):
    """A window fits height - kh + 1 times; batch and output channels come first."""
    x, weight = given(rng, setting)
    shape = list(getattr(conv2d(x, weight), "shape", ["no tensor"]))
    hint = "[batch, outputs, height - kh + 1, width - kw + 1]"
    expect_equal(shape, [2, 4, *setting.result], what=f"the shape of the result for {shown(setting)}", hint=hint)


def test_a_kernel_of_one_pixel_mixes_the_channels():
    """Pixels [1, 2] and [10, 20] of two channels; three outputs with the weights [1, 2], [3, 4], [5, 6]."""
    x, weight = image([1, 2], [10, 20]).view(1, 2, 1, 2), numbers(1, 2, 3, 4, 5, 6).view(3, 2, 1, 1)
    want = numbers(21, 42, 43, 86, 65, 130).view(1, 3, 1, 2)
    hint = "each output channel is a sum over all input channels; weight is [outputs, inputs, kh, kw]"
    expect_close(conv2d(x, weight), want, what="conv2d with a 1x1 kernel, of 2 channels", hint=hint)


@EACH
def test_a_kernel_with_a_single_one_moves_the_image(rng, setting):
    """With a 1 at (u, v) between input channel c and output channel o, that output is the input from (u, v) on, and all
    others are 0."""
    x, (kh, kw), (oh, ow) = given(rng, setting)[0], setting.kernel, setting.result
    for u, v, c, o in ((0, 0, 0, 3), (kh - 1, 0, 1, 0), (0, kw - 1, 2, 1), (kh - 1, kw - 1, 1, 2)):
        weight, want = torch.zeros(4, 3, kh, kw).double(), torch.zeros(2, 4, oh, ow).double()
        weight[o, c, u, v] = 1
        want[:, o] = x[:, c, u : u + oh, v : v + ow]
        what = f"the result for {shown(setting)}, with a single 1 in weight[{o}, {c}, {u}, {v}],"
        expect_close(conv2d(x, weight), want, what=what, hint=NO_FLIP)


@EACH
def test_it_is_linear_in_the_kernel(rng, setting):
    """So kernels with a single 1 say everything."""
    x, weight, other = *given(rng, setting), given(rng, setting)[1]
    got, want = conv2d(x, 2 * weight + other), 2 * conv2d(x, weight) + conv2d(x, other)
    hint = "a sum of products, over input channels and the kernel; no mean"
    expect_close(got, want, what=f"the result for {shown(setting)}, kernel 2 w1 + w2,", hint=hint)


def test_a_kernel_as_large_as_the_image_is_a_dot_product(rng):
    """One window, which is the image."""
    x, weight = integers(rng, 5, 3, 3, 2), integers(rng, 4, 3, 3, 2)
    want = (x.flatten(1) @ weight.flatten(1).T)[:, :, None, None]
    hint = "[batch, outputs, 1, 1]: the sum over inputs, kh and kw"
    expect_close(conv2d(x, weight), want, what="the result where the kernel is as large as the image", hint=hint)


@EACH
def test_each_window_is_read_for_itself(rng, setting):
    """Position (i, j) of the result is what the image from (i, j) on, cut to the size of the kernel, gives alone."""
    x, weight = given(rng, setting)
    y, (kh, kw) = conv2d(x, weight), setting.kernel
    for i in range(setting.result[0]):
        for j in range(setting.result[1]):
            want = conv2d(x[:, :, i : i + kh, j : j + kw], weight)[:, :, 0, 0]
            what = f"position ({i}, {j}) of the result for {shown(setting)}, against its window alone,"
            expect_close(y[:, :, i, j], want, what=what, hint="rows of windows first, then columns")


def test_images_do_not_see_each_other(rng):
    """Each image of a batch gives what it gives alone."""
    x, weight = integers(rng, 3, 2, 4, 5), integers(rng, 4, 2, 2, 2)
    y = conv2d(x, weight)
    for b in range(3):
        what, hint = f"image {b} of three, against itself alone,", "no reshape may exchange batch and channels"
        expect_close(y[b : b + 1], conv2d(x[b : b + 1], weight), what=what, hint=hint)


@pytest.mark.parametrize("size", [(5, 4), (4, 5), (6, 3)], ids=str)
def test_the_bias_is_a_number_for_each_output_channel(rng, size):
    """It is added once to each position, after the sum. As many rows or columns as channels (4) must not mislead it."""
    x, weight, bias = integers(rng, 2, 3, *size), integers(rng, 4, 3, 2, 1), numbers(1000, 2000, -3000, 0)
    got, want = conv2d(x, weight, bias), conv2d(x, weight) + bias[:, None, None]
    expect_close(got, want, what="conv2d(x, weight, bias)", hint="y + bias[:, None, None], after the sum")
    got = conv2d(x, weight, bias=numbers(0, 0, 0, 0))
    expect_close(got, conv2d(x, weight), what="the result with a bias of zeros", hint="`if bias is not None`")
