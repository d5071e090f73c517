"""Softmax cross-entropy.

Write the loss of a language model from its logits, so that it survives logits of 1e4 and banned tokens, with label
smoothing, ignored targets and a z-loss; then its gradient, by hand. Now the vocabulary has 128 256 tokens and the
logits do not fit into memory: what do you do?

With lse = log sum_j exp(z_j), a token with logits z and target t has the loss
    (1 - e) (lse - z_t) + e mean_j (lse - z_j) + zeta lse^2
The mean is over all classes, the target included. The loss of n tokens is the sum over those that count, divided by
their number. Three functions share these options:
    label_smoothing: e, in [0, 1).
    ignore_index: a token with this target does not count, and its (finite) logits have no influence. It may be a class
        of the vocabulary, which is then ignored as a target only. Any other target lies in [0, vocab).
    z_loss: zeta, at least 0.
    total: at least 1; the divisor in place of the number of tokens that count. With gradient accumulation, the losses
        of the micro-batches add up to the loss of the whole step if `total` is the number of its tokens that count.
If no token counts, the loss is 0 and so are its gradients. Options or targets that are not as above raise ValueError.

Numbers: a logit of -inf is a banned token. It has probability 0, and the loss and the gradients stay finite, unless it
is the target: then the loss is inf. Label smoothing never meets one. No logit is +inf or NaN; there is at least one
token and one class. Sums run in float32 at least, those over chunks too; results have the dtype of the logits. No
argument is modified.

Rules: the ready-made losses and log-softmaxes are forbidden (F.cross_entropy, F.nll_loss, F.log_softmax,
torch.logsumexp, F.linear_cross_entropy, their modules and what is built on them, such as torch.distributions);
torch.softmax is allowed. cross_entropy and linear_cross_entropy are differentiable, by autograd, a Function of your own
or torch.utils.checkpoint. cross_entropy_grad uses no autograd, and nothing uses torch.func.

Stage 1: log-sum-exp, the loss.  Stage 2: batches, smoothing, ignored targets, z-loss, total, wrong arguments.
Stage 3: logits up to +-1e4 and -inf, every floating dtype, the gradient by hand.  Stage 4: few passes over the logits
and no loop over rows; the loss in chunks.

Sources: Szegedy et al., "Rethinking the Inception Architecture" (2016), for label smoothing; Chowdhery et al., "PaLM"
(2022), for the z-loss; Wijmans et al., "Cut Your Losses in Large-Vocabulary Language Models" (2025), for the chunks.
"""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def log_sum_exp(x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """log(sum_j exp(x_j)) of each row, in the dtype of x. A row that holds only -inf gives -inf."""
    raise NotImplementedError("softmax_cross_entropy.log_sum_exp: write me")


def cross_entropy(
    logits: Float[Tensor, "n vocab"],
    targets: Int64[Tensor, "n"],
    *,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    total: int | None = None,
) -> Float[Tensor, ""]:
    """The loss, a 0-d tensor that is differentiable in the logits.

    Without options the forward pass reads and writes at most 9 times as many numbers as there are logits; a one-hot
    matrix costs too much.
    """
    raise NotImplementedError("softmax_cross_entropy.cross_entropy: write me")


def cross_entropy_grad(
    logits: Float[Tensor, "n vocab"],
    targets: Int64[Tensor, "n"],
    *,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    total: int | None = None,
) -> Float[Tensor, "n vocab"]:
    """The gradient of cross_entropy with respect to the logits, by hand: it also works under torch.inference_mode()."""
    raise NotImplementedError("softmax_cross_entropy.cross_entropy_grad: write me")


def linear_cross_entropy(
    hidden: Float[Tensor, "n dim"],
    weight: Float[Tensor, "vocab dim"],
    targets: Int64[Tensor, "n"],
    *,
    chunk_size: int,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    total: int | None = None,
) -> Float[Tensor, ""]:
    """cross_entropy(hidden @ weight.T, targets, ...), differentiable in hidden and weight, in the dtype of hidden.

    The logits of at most chunk_size tokens exist at a time, in the forward pass, in the backward pass and in between;
    the last chunk may be shorter. No new tensor has more elements than the largest of chunk_size x vocab, weight and
    hidden, and both passes together cost at most 4 products of the size of hidden @ weight.T. hidden and weight have one dtype.
    Raises ValueError if chunk_size is below 1.
    """
    raise NotImplementedError("softmax_cross_entropy.linear_cross_entropy: write me")
