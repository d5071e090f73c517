"""Stage 4. Matrix products, no wasted ones, little memory."""

import pytest

from dojo.testing import expect, expect_flat_operators, randn
from katas.conv2d import conv2d, conv2d_backward

STEPS = pytest.mark.parametrize(("stride", "padding"), [(1, 1), (2, 1), ((3, 1), 0)], ids=str)
OF_ALL = "slices of the whole batch for each tap of the kernel, or all windows at once: no loop over anything else"


def arguments(rng, stride=1, padding=0, batch=2, inputs=4, outputs=40, image=(12, 10), kernel=(3, 3)):
    """(grad, x, weight) in float32, and the number of products that conv2d needs."""
    x, weight = randn(rng, batch, inputs, *image).float(), randn(rng, outputs, inputs, *kernel).float()
    shape = conv2d(x, weight, None, stride, padding).shape
    return randn(rng, *shape).float(), x, weight


def columns(grad, x, weight):
    """The elements of im2col's matrix, and as many products for each output channel."""
    return grad[:, 0].numel() * weight[0].numel()


@STEPS
def test_no_product_is_wasted(rng, cost, stride, padding):
    """Each position of the result takes inputs * kh * kw multiplications and as many additions. With a stride of 2, stride 1
    computes four times as many positions; and most of a grad with zeros between its numbers is zeros."""
    grad, x, weight = arguments(rng, stride, padding)
    needed = 2 * len(weight) * columns(grad, x, weight)
    with cost() as forward:
        conv2d(x, weight, None, stride, padding)
    with cost() as backward:
        conv2d_backward(grad, x, weight, stride, padding)
    for name, spent, times in (("conv2d", forward, 1), ("conv2d_backward", backward, 2)):
        ratio, words = spent.flops / needed, f"with stride={stride}, padding={padding}"
        sentence = (
            f"{name} {words} should take at most {times}.{times} * 2 B O C kh kw oh ow FLOPs, but took {ratio:.2f} *"
        )
        hint = "multiply only what a window reads: each pair of a tap and a position once"
        expect(ratio <= 1.1 * times, sentence, hint=hint)
        sentence = f"{name} should work in matrix products, but they took only {ratio:.2f} * 2 B O C kh kw oh ow FLOPs"
        expect(ratio >= 0.2 * times, sentence, hint="matmul, einsum or tensordot; a broadcast product needs a sum")


@STEPS
@pytest.mark.parametrize("backward", [False, True], ids=["conv2d", "conv2d_backward"])
def test_no_tensor_is_larger_than_the_columns(rng, cost, backward, stride, padding):
    """im2col already stores a pixel kh * kw / (sh * sw) times. Products before they are summed would be 40 times that: a
    number for each output channel. So would a matrix from all pixels to all positions."""
    grad, x, weight = arguments(rng, stride, padding)
    with cost() as spent:
        if backward:
            conv2d_backward(grad, x, weight, stride, padding)
        else:
            conv2d(x, weight, None, stride, padding)
    name = "conv2d_backward" if backward else "conv2d"
    most = max(columns(grad, x, weight), grad.numel(), 2 * 4 * 14 * 12, 2 * weight.numel())
    sentence = f"no new tensor of {name} should have more than {most} elements, but one has {spent.largest}"
    expect(spent.largest <= most, sentence, hint="a matrix product sums as it multiplies")


@pytest.mark.parametrize("backward", [False, True], ids=["conv2d", "conv2d_backward"])
def test_the_operators_do_not_grow_with_the_images(rng, backward):
    """A Python loop over images, channels or positions launches operators for each of them. One over the taps of the kernel,
    which are few, is fine."""

    def run(grad, x, weight):
        return conv2d_backward(grad, x, weight) if backward else conv2d(x, weight)

    sizes = [{}, {"batch": 9}, {"inputs": 20}, {"outputs": 90}, {"image": (12, 30)}, {"image": (30, 10)}]
    name = "conv2d_backward" if backward else "conv2d"
    what = f"{name} of x [2, 4, 12, 10] and weight [40, 4, 3, 3], or larger,"
    expect_flat_operators(run, lambda size: arguments(rng, **size), sizes, what=what, hint=OF_ALL)
