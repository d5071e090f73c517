"""A 2-d convolution and its backward pass, as matrix products.

Write a 2-d convolution with stride and padding, and its backward pass. Then make each one matrix product. What is the price
of im2col?

In deep learning a convolution is a cross-correlation: the kernel is not flipped. With (sh, sw) = stride, (kh, kw) the size of
the kernel, and x with ph rows of zeros above and below it and pw columns on its left and right,
    y[b, o, i, j] = bias[o] + sum over c, u, v of weight[o, c, u, v] * padded[b, c, sh i + u, sw j + v]
for every window that lies in the padded image, so that y has
    floor((height + 2 ph - kh) / sh) + 1   rows, and likewise columns.
Rows and columns behind the last window are read by none: they have no influence, and their gradient is 0. A stride or a
padding is an int for both directions, or a tuple (vertical, horizontal). A padding may be larger than the kernel.

Numbers: all tensors of a call have one dtype, float16, bfloat16, float32 or float64, and so have the results. Products and
sums run in float32 at least, bias included, and are rounded to half precision once, at the end: a sum may pass 65504 on its
way. No argument is modified, and any may be a view in any memory layout. The batch may be empty.

Rules: torch computes, but not by a ready-made convolution: none of its convolutions, nor F.unfold, F.fold (the operators
im2col and col2im) and torch.nn.grad may be used. torch.autograd and torch.func are forbidden too: conv2d_backward is a formula, and
works under torch.inference_mode(). Whether the results carry a graph is left free.

Stage 1: stride 1, no padding, bias.  Stage 2: stride, padding, pairs, pixels that no window reads, empty batches, wrong
arguments.  Stage 3: the backward pass, every floating dtype.  Stage 4: matrix products, no wasted ones, little memory.

Sources: Chellapilla, Puri and Simard, "High Performance Convolutional Neural Networks for Document Processing" (2006), for
im2col; Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016).
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Pair = tuple[int, int]

# kata: begin


def _pair(value: int | Pair) -> Pair:
    """(vertical, horizontal)."""
    return (value, value) if isinstance(value, int) else value


def _wide(x: Tensor) -> Tensor:
    """x in float32 or better."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _windows(x: Tensor, weight: Tensor, stride: int | Pair, padding: int | Pair) -> Tensor:
    """All windows of the padded x, as a view [batch, inputs, oh, ow, kh, kw] of it. Raises ValueError as conv2d does."""
    (sh, sw), (ph, pw) = _pair(stride), _pair(padding)
    if x.ndim != 4 or weight.ndim != 4 or x.shape[1] != weight.shape[1]:
        raise ValueError(f"x {[*x.shape]} and weight {[*weight.shape]} must be 4-dimensional, with the same inputs")
    if min(sh, sw) < 1 or min(ph, pw) < 0:
        raise ValueError(f"stride {stride} must be at least 1, and padding {padding} at least 0")
    kh, kw = weight.shape[2:]
    padded = F.pad(_wide(x), (pw, pw, ph, ph))  # the last dimension comes first
    if padded.shape[2] < kh or padded.shape[3] < kw:
        raise ValueError(f"a kernel of {kh} x {kw} does not fit into the padded image {[*padded.shape[2:]]}")
    return padded.unfold(2, kh, sh).unfold(3, kw, sw)


# kata: end


def conv2d(
    x: Float[Tensor, "batch inputs height width"],
    weight: Float[Tensor, "outputs inputs kh kw"],
    bias: Float[Tensor, "outputs"] | None = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
) -> Float[Tensor, "batch outputs oh ow"]:
    """The convolution of each image with each kernel, plus the bias of the output channel.

    The work is matrix products (matmul, einsum and the like), of at most 2.2 batch outputs inputs kh kw oh ow FLOPs, a tenth
    more than it needs. The number of operators may depend on the kernel's size, but on no other. No new tensor has more elements than
    the largest of im2col's columns (batch inputs kh kw oh ow), the padded images, the result, and a weight for each image.
    Raises ValueError if x or weight is not 4-dimensional or their numbers of inputs differ, if bias is not [outputs], for a stride
    below 1 and a padding below 0 in any direction, and if the kernel is larger than the padded image.
    """
    # kata: begin
    windows = _windows(x, weight, stride, padding)
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias {[*bias.shape]} must be [{weight.shape[0]}]")
    # One product of [outputs, inputs kh kw] with the columns; einsum copies the windows for it, which is im2col.
    y = torch.einsum("bcyxij,ocij->boyx", windows, _wide(weight))
    if bias is not None:
        y = y + bias[:, None, None]  # in the dtype of y, the wider one
    return y.to(x.dtype)
    # kata: end


def conv2d_backward(
    grad: Float[Tensor, "batch outputs oh ow"],
    x: Float[Tensor, "batch inputs height width"],
    weight: Float[Tensor, "outputs inputs kh kw"],
    stride: int | Pair = 1,
    padding: int | Pair = 0,
) -> tuple[Float[Tensor, "batch inputs height width"], Float[Tensor, "outputs inputs kh kw"], Float[Tensor, "outputs"]]:
    """(grad_x, grad_weight, grad_bias), where grad is the gradient of the result of conv2d with these arguments.

    It takes at most twice the FLOPs of conv2d: so zeros that are put between the numbers of grad cost too much. The number of
    operators and the new tensors have the limits of conv2d.
    Raises ValueError where conv2d does, and if grad does not have the shape of its result.
    """
    # kata: begin
    windows = _windows(x, weight, stride, padding)
    batch, inputs, oh, ow, kh, kw = windows.shape
    if grad.shape != (batch, weight.shape[0], oh, ow):
        raise ValueError(f"grad {[*grad.shape]} must be {[batch, weight.shape[0], oh, ow]}")
    (sh, sw), (ph, pw) = _pair(stride), _pair(padding)
    height, width = x.shape[2:]
    wide = _wide(grad)
    grad_weight = torch.einsum("boyx,bcyxij->ocij", wide, windows)
    # Each tap (i, j) of the kernel has read a grid of pixels. Its share goes back to them; windows overlap, so shares add up.
    shares = torch.einsum("boyx,ocij->ijbcyx", wide, _wide(weight))
    padded = wide.new_zeros(batch, inputs, height + 2 * ph, width + 2 * pw)
    for i in range(kh):
        for j in range(kw):
            padded[:, :, i : i + sh * oh : sh, j : j + sw * ow : sw] += shares[i, j]
    grad_x = padded[:, :, ph : ph + height, pw : pw + width]
    return grad_x.to(x.dtype), grad_weight.to(weight.dtype), wide.sum((0, 2, 3)).to(weight.dtype)
    # kata: end
