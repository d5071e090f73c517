"""Stage 2. Stride, padding, pairs, pixels that no window reads, empty batches, wrong arguments."""

import pytest
import torch

from dojo.testing import called_for, expect_close, expect_equal, expect_raises, expect_unchanged, numbers, randn
from katas.conv2d import conv2d, conv2d_backward

from .helpers import SETTINGS, given, image, integers, shown, title

EACH = pytest.mark.parametrize("setting", SETTINGS, ids=title)
STEPS = "window (i, j) begins at row sh * i and column sw * j; within a window pixels are neighbours"
ZEROS = "F.pad(x, (pw, pw, ph, ph)): zeros on all four sides; it takes the last dimension first"


def test_a_worked_stride():
    """Windows of 1 x 2 that move by 2: [1, 2] and [3, 4] in rows 1 and 3, where the last column is in no window."""
    x, weight = image([1, 2, 3, 4, 9], [9, 9, 9, 9, 9], [5, 6, 7, 8, 9]), image([1, 10])
    want = image([21, 43], [65, 87])
    what = "conv2d([[1, 2, 3, 4, 9], [9, 9, 9, 9, 9], [5, 6, 7, 8, 9]], [[1, 10]], stride=2)"
    expect_close(conv2d(x, weight, stride=2), want, what=what, hint=STEPS)


def test_a_worked_padding():
    """A 1x1 kernel shows the padded image: a ring of zeros."""
    want = image([0, 0, 0, 0], [0, 1, 2, 0], [0, 3, 4, 0], [0, 0, 0, 0])
    got = conv2d(image([1, 2], [3, 4]), image([1]), padding=1)
    expect_close(got, want, what="conv2d([[1, 2], [3, 4]], [[1]], padding=1)", hint=ZEROS)


def test_pairs_are_vertical_and_horizontal():
    """Of a tuple the first number is about rows, the second about columns."""
    x, one = image([1, 2, 3], [4, 5, 6], [7, 8, 9]), image([1])
    hint = "stride = (sh, sw), padding = (ph, pw)"
    got = conv2d(x, one, stride=(2, 1))
    expect_close(got, image([1, 2, 3], [7, 8, 9]), what="[1 .. 9] with a kernel of 1 and stride=(2, 1)", hint=hint)
    got = conv2d(x, one, stride=(1, 2))
    expect_close(got, image([1, 3], [4, 6], [7, 9]), what="[1 .. 9] with a kernel of 1 and stride=(1, 2)", hint=hint)
    got = conv2d(image([1, 2]), one, padding=(1, 0))
    expect_close(got, image([0, 0], [1, 2], [0, 0]), what="[1, 2] with a kernel of 1 and padding=(1, 0)", hint=hint)
    got = conv2d(image([1, 2]), one, padding=(0, 1))
    expect_close(got, image([0, 1, 2, 0]), what="[1, 2] with a kernel of 1 and padding=(0, 1)", hint=hint)


@EACH
def test_the_shape_with_stride_and_padding(rng, setting):
    """Floor((height + 2 ph - kh) / sh) + 1, and likewise for columns: as many windows as fit."""
    x, weight = given(rng, setting)
    y = conv2d(x, weight, None, setting.stride, setting.padding)
    shape = list(getattr(y, "shape", ["no tensor"]))
    hint = "(height + 2 * ph - kh) // sh + 1: the division rounds down, and the first window is the + 1"
    expect_equal(shape, [2, 4, *setting.result], what=f"the shape of the result for {shown(setting)}", hint=hint)


@EACH
def test_padding_is_an_image_with_zeros_around_it(rng, setting):
    """The same as a larger image without padding."""
    (x, weight), bias = given(rng, setting), integers(rng, 4)
    padding = setting.padding if isinstance(setting.padding, tuple) else 2 * (setting.padding,)
    (ph, pw), (h, w) = padding, setting.image
    larger = torch.zeros(2, 3, h + 2 * ph, w + 2 * pw).double()
    larger[:, :, ph : ph + h, pw : pw + w] = x
    got, want = conv2d(x, weight, bias, setting.stride, setting.padding), conv2d(larger, weight, bias, setting.stride)
    what = f"the result for {shown(setting)}, against that of an image with zeros around it,"
    expect_close(got, want, what=what, hint=ZEROS)


@EACH
def test_a_stride_leaves_out_windows(rng, setting):
    """The result with stride 1, of which every sh-th row and every sw-th column is taken."""
    (x, weight), bias = given(rng, setting), integers(rng, 4)
    sh, sw = setting.stride if isinstance(setting.stride, tuple) else 2 * (setting.stride,)
    got = conv2d(x, weight, bias, stride=setting.stride, padding=setting.padding)
    want = conv2d(x, weight, bias, stride=1, padding=setting.padding)[:, :, ::sh, ::sw]
    what = f"the result for {shown(setting)}, against every {sh}th row and {sw}th column of stride 1,"
    expect_close(got, want, what=what, hint=STEPS)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_number_stands_for_a_pair(rng, number):
    """A stride or a padding of n is (n, n)."""
    x, weight = integers(rng, 2, 3, 6, 5), integers(rng, 4, 3, 3, 2)
    hint = "a number counts for both directions"
    got, want = conv2d(x, weight, stride=number), conv2d(x, weight, stride=(number, number))
    expect_close(got, want, what=f"the result with stride={number}, against ({number}, {number}),", hint=hint)
    got, want = conv2d(x, weight, padding=number), conv2d(x, weight, padding=(number, number))
    expect_close(got, want, what=f"the result with padding={number}, against ({number}, {number}),", hint=hint)


def test_pixels_behind_the_last_window_have_no_influence(rng):
    """A 2x2 kernel that moves by 3 over 7 x 6 pixels: rows 2, 5 and 6 and columns 2 and 5 are in no window."""
    x, weight = integers(rng, 2, 3, 7, 6), integers(rng, 4, 3, 2, 2)
    want, other = conv2d(x, weight, stride=3), x.clone()
    other[:, :, [2, 5, 6]] += 100
    other[..., [2, 5]] += 100
    what, hint = "the result with stride=3, after a change of pixels that no window reads,", STEPS
    expect_close(conv2d(other, weight, stride=3), want, what=what, hint=hint)


def test_windows_that_see_only_padding_give_the_bias():
    """A padding may be larger than the kernel."""
    got = conv2d(image([5]), image([1, 1]), numbers(7), padding=(2, 3))
    want = image(*[[7] * 6] * 2, [7, 7, 12, 12, 7, 7], *[[7] * 6] * 2)
    what = "conv2d([[5]], [[1, 1]], bias=7, padding=(2, 3))"
    expect_close(got, want, what=what, hint="windows over the whole padded image")


def test_a_kernel_may_need_the_padding_to_fit():
    """3 x 3 on a single pixel with a ring of zeros: the pixel meets the middle."""
    weight = image([1, 2, 3], [4, 5, 6], [7, 8, 9])
    got = conv2d(image([10]), weight, padding=1)
    expect_close(got, image([50]), what="conv2d([[10]], [[1 .. 9]], padding=1)", hint="check the size after padding")


def test_an_empty_batch(rng):
    """No image, no results, but their shape."""
    for stride, padding, shape in ((1, 0, (0, 4, 4, 4)), (2, 1, (0, 4, 3, 3))):
        with called_for("a batch of 0 images", hint="reshape cannot work out a -1 of no elements: give it the numbers"):
            got = conv2d(
                torch.zeros(0, 3, 5, 5).double(), integers(rng, 4, 3, 2, 2), numbers(1, 2, 3, 4), stride, padding
            )
        what = f"the result for a batch of 0 images, stride={stride}, padding={padding}"
        expect_close(got, torch.zeros(shape).double(), what=what, hint="[batch, outputs, oh, ow] with batch = 0")


@pytest.mark.parametrize("padding", [0, (1, 2)], ids=str)
def test_any_memory_layout(rng, padding):
    """Transposed, channels last, and every second pixel of a larger image: what counts are the elements, not their places."""
    x, weight, bias = randn(rng, 3, 2, 5, 6), randn(rng, 4, 2, 3, 2), randn(rng, 4)
    want = conv2d(x, weight, bias, 2, padding)
    spread = torch.zeros(3, 2, 10, 12).double()
    spread[:, :, ::2, 1::2] = x
    layouts = {
        "transposed": [x.mT.contiguous().mT, weight.mT.contiguous().mT],
        "channels last": [x.to(memory_format=torch.channels_last), weight.to(memory_format=torch.channels_last)],
        "every second pixel": [spread[:, :, ::2, 1::2], weight.transpose(0, 1).contiguous().transpose(0, 1)],
    }
    hint = "reshape instead of view, and the strides that the tensor has"
    for name, views in layouts.items():
        with called_for(f"x and weight as views ({name})", hint=hint):
            got = conv2d(*views, bias, 2, padding)
        expect_close(got, want, what=f"the result of views ({name}), padding={padding}", hint=hint)


@pytest.mark.parametrize("padding", [0, 1])
def test_arguments_are_not_modified(rng, padding):
    """And a second call gives the same."""
    x, weight, bias = randn(rng, 2, 3, 5, 5), randn(rng, 4, 3, 2, 2), randn(rng, 4)
    with expect_unchanged(x, weight, bias, what="an argument of conv2d"):
        first = conv2d(x, weight, bias, 2, padding)
    expect_close(conv2d(x, weight, bias, 2, padding), first, what="a second call of conv2d", hint="keep nothing")


IMAGE, KERNEL = (2, 3, 5, 6), (4, 3, 3, 2)
WRONG = [
    ((2, 2, 5, 6), KERNEL, {}, "the inputs of x and weight differ"),
    ((2, 1, 5, 6), KERNEL, {}, "one input channel is not broadcast"),
    (IMAGE, (4, 1, 3, 2), {}, "a kernel of one input channel is not broadcast"),
    ((3, 5, 6), KERNEL, {}, "x has 4 dimensions"),
    ((5, 3, 6), KERNEL, {}, "x has 4 dimensions"),
    (IMAGE, (3, 3, 2), {}, "weight has 4 dimensions"),
    (IMAGE, KERNEL, {"stride": 0}, "the windows would not move"),
    (IMAGE, KERNEL, {"stride": -1}, "the windows would move backwards"),
    (IMAGE, KERNEL, {"stride": (1, 0)}, "check both directions"),
    (IMAGE, KERNEL, {"stride": (0, 1)}, "check both directions"),
    (IMAGE, KERNEL, {"padding": -1}, "that would cut the image"),
    (IMAGE, KERNEL, {"padding": (0, -1)}, "check both directions"),
    (IMAGE, KERNEL, {"padding": (-1, 0)}, "check both directions"),
    ((2, 3, 2, 6), KERNEL, {}, "3 rows do not fit into 2"),
    ((2, 3, 5, 1), KERNEL, {}, "2 columns do not fit into 1"),
    ((2, 3, 2, 6), (4, 3, 5, 2), {"padding": 1, "stride": 3}, "5 rows do not fit into 2 + 2 * 1"),
    ((2, 3, 6, 2), (4, 3, 2, 5), {"padding": 1, "stride": 3}, "5 columns do not fit into 2 + 2 * 1"),
]


@pytest.mark.parametrize(("size", "kernel", "options", "hint"), WRONG, ids=str)
def test_wrong_arguments_are_errors(size, kernel, options, hint):
    """A sentence is worth more than an error from the depths, or a result that is empty or broadcast."""
    what = f"conv2d with x {list(size)}, weight {list(kernel)}, {options}"
    with expect_raises(ValueError, what=what, hint=hint):
        conv2d(torch.ones(size), torch.ones(kernel), **options)


@pytest.mark.parametrize("shape", [(1,), (3,), (4, 1), (4, 1, 1), ()], ids=str)
def test_a_wrong_bias_is_an_error(shape):
    """For 4 output channels it is [4]."""
    with expect_raises(ValueError, what=f"conv2d with 4 outputs and bias {list(shape)}", hint="bias is [outputs]"):
        conv2d(torch.ones(IMAGE), torch.ones(KERNEL), torch.ones(shape))


@pytest.mark.parametrize(("size", "kernel", "options", "hint"), WRONG, ids=str)
def test_wrong_arguments_of_the_backward_pass_are_errors(size, kernel, options, hint):
    """As in the forward pass, for a grad that would fit."""
    what = f"conv2d_backward with x {list(size)}, weight {list(kernel)}, {options}"
    with expect_raises(ValueError, what=what, hint=hint):
        conv2d_backward(torch.ones(2, 4, 3, 5), torch.ones(size), torch.ones(kernel), **options)


@pytest.mark.parametrize(
    "shape",
    [(1, 4, 3, 5), (2, 1, 3, 5), (2, 4, 1, 5), (2, 4, 3, 1), (2, 4, 2, 5), (2, 4, 3, 6), (4, 3, 5), (2, 4, 5, 3)],
)
def test_a_wrong_grad_is_an_error(shape):
    """It has the shape of the result, here [2, 4, 3, 5]: nothing is broadcast, cut or filled up."""
    hint = "compare grad.shape with (batch, outputs, oh, ow)"
    with expect_raises(ValueError, what=f"conv2d_backward with grad {list(shape)} for [2, 4, 3, 5]", hint=hint):
        conv2d_backward(torch.ones(shape), torch.ones(IMAGE), torch.ones(KERNEL))
