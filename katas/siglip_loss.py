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
    raise NotImplementedError("siglip_loss.siglip_loss: write me")


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
    raise NotImplementedError("siglip_loss.siglip_loss_blocks: write me")


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
    raise NotImplementedError("siglip_loss.match_probabilities: write me")
