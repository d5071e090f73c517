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

# kata: begin


def _shifted(x: Tensor) -> tuple[Tensor, Tensor]:
    """Each row minus its maximum, and that maximum, in float32 or better."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    highest = wide.detach().amax(-1, keepdim=True)  # what is subtracted cancels, and so does its gradient
    highest = highest.where(highest > -torch.inf, 0.0)  # -inf - (-inf) would be NaN
    return wide - highest, highest.squeeze(-1)


def _count(
    targets: Tensor, vocab: int, label_smoothing: float, ignore_index: int, z_loss: float, total: int | None
) -> tuple[Tensor, int]:
    """Which tokens count, and the divisor of their sum. Raises ValueError for wrong options or targets."""
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
    if not z_loss >= 0:
        raise ValueError(f"z_loss must be at least 0, got {z_loss}")
    if total is not None and total < 1:
        raise ValueError(f"total must be at least 1, got {total}")
    counts = targets != ignore_index
    if (counts & ((targets < 0) | (targets >= vocab))).any():
        raise ValueError(f"targets must be in [0, {vocab}) or {ignore_index}")
    return counts, total or max(int(counts.sum()), 1)


# kata: end


def log_sum_exp(x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """log(sum_j exp(x_j)) of each row, in the dtype of x. A row that holds only -inf gives -inf."""
    # kata: begin
    shifted, highest = _shifted(x)
    return (shifted.exp().sum(-1).log() + highest).to(x.dtype)
    # kata: end


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
    # kata: begin
    counts, divisor = _count(targets, logits.shape[-1], label_smoothing, ignore_index, z_loss, total)
    shifted, highest = _shifted(logits)
    log_total = shifted.exp().sum(-1).log()  # [n]; lse - highest
    of_target = shifted.gather(-1, targets.where(counts, 0)[:, None]).squeeze(-1)
    losses = log_total - (1 - label_smoothing) * of_target
    if label_smoothing:  # otherwise 0 times a mean of -inf would be NaN
        losses = losses - label_smoothing * shifted.mean(-1)
    losses = losses + z_loss * (log_total + highest).square()
    return (losses.where(counts, 0.0).sum() / divisor).to(logits.dtype)
    # kata: end


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
    # kata: begin
    vocab = logits.shape[-1]
    counts, divisor = _count(targets, vocab, label_smoothing, ignore_index, z_loss, total)
    shifted, highest = _shifted(logits)
    exps = shifted.exp()
    totals = exps.sum(-1)
    share = counts.to(exps.dtype) / divisor  # d loss / d losses, [n]
    # d lse / dz = p, so d (z_loss lse^2) / dz = 2 z_loss lse p.
    of_lse = share * (1 + 2 * z_loss * (totals.log() + highest))
    grad = exps * (of_lse / totals)[:, None] - (label_smoothing / vocab * share)[:, None]
    of_target = (label_smoothing - 1) * share
    return grad.scatter_add_(-1, targets.where(counts, 0)[:, None], of_target[:, None]).to(logits.dtype)
    # kata: end


# kata: begin
class _LinearCrossEntropy(torch.autograd.Function):
    """Makes both gradients together with the loss, so that the logits of a chunk are forgotten at once."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk_size: int, options: dict[str, Any]
    ) -> Tensor:
        loss, grad_hidden, grad_weight = hidden.new_zeros(()), torch.empty_like(hidden), torch.zeros_like(weight)
        for start in range(0, len(hidden), chunk_size):
            rows = slice(start, start + chunk_size)
            logits = hidden[rows] @ weight.T  # [chunk, dim] x [dim, vocab] -> [chunk, vocab]
            loss += cross_entropy(logits, targets[rows], **options)
            grad = cross_entropy_grad(logits, targets[rows], **options)
            grad_hidden[rows] = grad @ weight
            grad_weight += grad.T @ hidden[rows]
        ctx.save_for_backward(grad_hidden, grad_weight)
        return loss

    @staticmethod
    def backward(ctx: Any, *grad_loss: Tensor) -> Any:
        grad_hidden, grad_weight = ctx.saved_tensors
        return grad_loss[0] * grad_hidden, grad_loss[0] * grad_weight, None, None, None


# kata: end


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
    # kata: begin
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, got {chunk_size}")
    options: dict[str, Any] = {"label_smoothing": label_smoothing, "ignore_index": ignore_index, "z_loss": z_loss}
    _, divisor = _count(targets, len(weight), total=total, **options)
    # Every chunk is divided by the tokens of the whole: a mean of means would weigh short chunks too much.
    options["total"] = divisor
    wide = torch.promote_types(hidden.dtype, torch.float32)
    return _LinearCrossEntropy.apply(hidden.to(wide), weight.to(wide), targets, chunk_size, options).to(hidden.dtype)
    # kata: end
