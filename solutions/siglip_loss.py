"""SigLIP's sigmoid loss.

SigLIP trains an image encoder and a text encoder as CLIP does, with a sigmoid where CLIP has a softmax. Write its loss,
the same loss in blocks that never hold the whole matrix of logits, and the probabilities that an image and a text
match. What is the bias for, and why does a block need to know nothing of the rest of the batch?

With x_i and y_j the image and text features scaled to length 1, s the logit scale and b the logit bias:
    l_ij = s x_i . y_j + b                                   the logit of image i and text j
    z_ij = 1 if i = j, else -1
    loss = -(1/n) sum_ij log sigmoid(z_ij l_ij)
The sum is over all n x n pairs, each of them once, and is divided by n, the number of images, not by that of pairs.

Rules: everything that torch offers may be called. The logit scale is the factor s itself (its logarithm is what is
learned; exp has been taken already), and nothing is clamped. Scale and bias are numbers or 0-d tensors of any floating
dtype; s may be 0 or negative. The features come as the encoders give them, both in one floating dtype: their lengths,
from 0.01 to 100, do not matter. No argument is modified.

Numbers: results are float64 for float64 features and float32 for all narrower ones, and everything is computed in that
dtype: widen before the first operation. Logits up to 1e4 on either side are fine.

Stage 1: the loss, the probabilities.  Stage 2: blocks of any size, one pair, unequal numbers of images and texts, wrong
arguments.  Stage 3: logits of 1e4, every floating dtype, gradients, also those of scale and bias.  Stage 4: one matrix
product, no loop over pairs, and what the blocks hold at a time.

Source: Zhai et al., "Sigmoid Loss for Language Image Pre-Training" (2023).
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

# kata: begin


def _check_pairs(images: Tensor, texts: Tensor) -> None:
    """Raises ValueError unless both are [n, dim] with the same n and dim, and n is at least 1."""
    if images.dim() != 2 or images.shape != texts.shape or len(images) == 0:
        shapes = f"{list(images.shape)} and {list(texts.shape)}"
        raise ValueError(f"features must have one shape [n, dim] with n of at least 1, got {shapes}")


def _unit(features: Tensor) -> Tensor:
    """The rows scaled to length 1, in float32 or float64."""
    return F.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=-1)


def _sum_of_losses(images: Tensor, texts: Tensor, scale: float | Tensor, bias: float | Tensor, first: int) -> Tensor:
    """The sum over all pairs of these images and all texts. Row r of `images` belongs to row first + r of `texts`."""
    logits = scale * images @ texts.T + bias
    signs = torch.full_like(logits, -1.0)
    signs.diagonal(first).fill_(1.0)
    return -F.logsigmoid(signs * logits).sum()


class _Block(torch.autograd.Function):
    """_sum_of_losses of one block, without a graph: the backward pass computes the logits again."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, texts: Tensor, scale: Tensor, bias: Tensor, first: int) -> Tensor:
        ctx.save_for_backward(rows, texts, scale, bias)
        ctx.first = first
        return _sum_of_losses(rows, texts, scale, bias, first)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, texts, scale, bias = leaves = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
        with torch.enable_grad():
            total = _sum_of_losses(rows, texts, scale, bias, ctx.first)
        return *torch.autograd.grad(total, leaves, grad), None


# kata: end


def siglip_loss(
    image_features: Float[Tensor, "n dim"],
    text_features: Float[Tensor, "n dim"],
    logit_scale: float | Float[Tensor, ""],
    logit_bias: float | Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """The loss of n pairs, a 0-d tensor. Row i of both belongs together; all other pairs of rows are negatives.

    Differentiable by both features, by scale and by bias, whichever of them require a gradient.

    It costs one product of the two feature matrices, no operator returns more than 2 n n numbers (or n dim), and the
    number of operators does not grow with n.
    Raises ValueError unless both features have the same shape [n, dim] with n >= 1.
    """
    # kata: begin
    _check_pairs(image_features, text_features)
    images, texts = _unit(image_features), _unit(text_features)
    return _sum_of_losses(images, texts, logit_scale, logit_bias, 0) / len(images)
    # kata: end


def siglip_loss_blocks(
    image_features: Float[Tensor, "n dim"],
    text_features: Float[Tensor, "n dim"],
    logit_scale: float | Float[Tensor, ""],
    logit_bias: float | Float[Tensor, ""],
    block: int,
) -> Float[Tensor, ""]:
    """siglip_loss, and its gradients, with the logits of at most `block` images (or texts) in memory at a time.

    The blocks are as long as `block`, but for the last one, which may be shorter; `block` may exceed n. Gradients are
    asked for by .backward(); first derivatives are enough.

    In both passes no operator returns more than 2 block n numbers (or n dim). What exists at a time grows with
    n (block + dim) and not with n^2, between the passes and in the backward pass, too: each block's logits may be
    computed a second time. With their gradients that is four matrix products in all. The number of operators grows with
    that of blocks, not with their length.
    Raises ValueError where siglip_loss does, and if block < 1.
    """
    # kata: begin
    _check_pairs(image_features, text_features)
    if block < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    images, texts = _unit(image_features), _unit(text_features)
    scale, bias = (torch.as_tensor(x, dtype=images.dtype) for x in (logit_scale, logit_bias))
    total = images.new_zeros(())
    for first in range(0, len(images), block):
        # torch.utils.checkpoint does what _Block does; it only takes a second to load.
        total = total + _Block.apply(images[first : first + block], texts, scale, bias, first)
    return total / len(images)
    # kata: end


def match_probabilities(
    image_features: Float[Tensor, "n dim"],
    text_features: Float[Tensor, "m dim"],
    logit_scale: float | Float[Tensor, ""],
    logit_bias: float | Float[Tensor, ""],
) -> Float[Tensor, "n m"]:
    """The probability of each image and each text that they match: sigmoid(l_ij), each pair judged on its own.

    n and m may differ, and may be 0. Small probabilities are as precise as large ones, relative to their size, down to
    1e-30. Whether the result carries a graph is up to you. It costs one matrix product, and no loop over pairs.
    Raises ValueError unless the features are [n, dim] and [m, dim] with one dim.
    """
    # kata: begin
    if image_features.dim() != 2 or text_features.dim() != 2 or image_features.shape[1] != text_features.shape[1]:
        shapes = f"{list(image_features.shape)} and {list(text_features.shape)}"
        raise ValueError(f"features must be [n, dim] and [m, dim], got {shapes}")
    return torch.sigmoid(logit_scale * _unit(image_features) @ _unit(text_features).T + logit_bias)
    # kata: end
