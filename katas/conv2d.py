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
    raise NotImplementedError("conv2d.conv2d: write me")


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
    raise NotImplementedError("conv2d.conv2d_backward: write me")
