"""An online log-sum-exp over blocks of classes: a running maximum, and a running sum that is scaled again with it."""

import torch

BLOCK = 16_384


def running(x):
    """The maximum and the sum of exp(x - maximum), in one go over the blocks, in float32 or better."""
    highest = torch.full(x.shape[:-1], -torch.inf, dtype=torch.promote_types(x.dtype, torch.float32))
    total = torch.zeros_like(highest)
    for block in x.split(BLOCK, dim=-1):
        block = block.to(highest.dtype)
        new = torch.maximum(highest, block.amax(-1).detach())
        base = new.masked_fill(new == -torch.inf, 0.0)
        total = total * (highest - base).exp() + (block - base[..., None]).exp().sum(-1)
        highest = new
    return highest.masked_fill(highest == -torch.inf, 0.0), total


def log_sum_exp(x):
    highest, total = running(x)
    return (highest + total.log()).to(x.dtype)


def divisor_of(targets, vocab, smoothing, index, zeta, total):
    if smoothing < 0 or smoothing >= 1 or smoothing != smoothing:
        raise ValueError(f"label smoothing of {smoothing}")
    if not 0 <= zeta:
        raise ValueError(f"z-loss of {zeta}")
    outside = torch.logical_or(targets < 0, targets > vocab - 1)
    if torch.logical_and(outside, targets != index).any():
        raise ValueError("there is no such class")
    if total is None:
        return max(1, (targets != index).sum().item())
    if total < 1:
        raise ValueError(f"total of {total}")
    return total


def cross_entropy(logits, targets, *, label_smoothing=0.0, ignore_index=-100, z_loss=0.0, total=None):
    divisor = divisor_of(targets, logits.shape[-1], label_smoothing, ignore_index, z_loss, total)
    ignored = targets == ignore_index
    highest, sums = running(logits)
    log_sums = sums.log()
    picked = torch.take_along_dim(logits, targets.masked_fill(ignored, 0)[:, None], 1)[:, 0].to(sums.dtype) - highest
    loss = log_sums - picked
    if label_smoothing != 0:
        mean = logits.to(sums.dtype).mean(1) - highest
        loss = loss + label_smoothing * (picked - mean)
    loss = torch.addcmul(loss, lse := log_sums + highest, lse, value=z_loss)
    return loss.masked_fill(ignored, 0.0).sum().div(divisor).to(logits.dtype)


def cross_entropy_grad(logits, targets, *, label_smoothing=0.0, ignore_index=-100, z_loss=0.0, total=None):
    vocab = logits.shape[-1]
    divisor = divisor_of(targets, vocab, label_smoothing, ignore_index, z_loss, total)
    ignored = targets == ignore_index
    highest, sums = running(logits)
    grad = (logits - highest[:, None]).exp() / sums[:, None]
    grad *= (1 + 2 * z_loss * (highest + sums.log()))[:, None]
    grad -= label_smoothing / vocab
    rows = torch.arange(len(targets))
    grad[rows, targets.masked_fill(ignored, 0)] -= 1 - label_smoothing
    grad[ignored] = 0.0
    return (grad / divisor).to(logits.dtype)


class Chunks(torch.autograd.Function):
    """Keeps the inputs and forms the logits of each chunk once more in the backward pass."""

    @staticmethod
    def forward(hidden, weight, targets, size, options):
        parts = [
            cross_entropy((h @ weight.T).to(torch.promote_types(h.dtype, torch.float32)), t, **options)
            for h, t in zip(hidden.split(size), targets.split(size), strict=True)
        ]
        return torch.stack(parts).sum()

    @staticmethod
    def setup_context(ctx, inputs, output):
        hidden, weight, targets, ctx.size, ctx.options = inputs
        ctx.save_for_backward(hidden, weight, targets)

    @staticmethod
    def backward(ctx, grad_loss):
        hidden, weight, targets = ctx.saved_tensors
        wide = torch.promote_types(hidden.dtype, torch.float32)
        d_hidden, d_weight = [], torch.zeros_like(weight, dtype=wide)
        for h, t in zip(hidden.split(ctx.size), targets.split(ctx.size), strict=True):
            grad = grad_loss * cross_entropy_grad((h @ weight.T).to(wide), t, **ctx.options)
            d_hidden.append(grad.to(h.dtype) @ weight)
            d_weight.addmm_(grad.T, h.to(wide))
        return torch.cat(d_hidden), d_weight.to(weight.dtype), None, None, None


def linear_cross_entropy(
    hidden, weight, targets, *, chunk_size, label_smoothing=0.0, ignore_index=-100, z_loss=0.0, total=None
):
    if chunk_size < 1:
        raise ValueError(f"chunks of {chunk_size} tokens")
    divisor = divisor_of(targets, weight.shape[0], label_smoothing, ignore_index, z_loss, total)
    options = {"label_smoothing": label_smoothing, "ignore_index": ignore_index, "z_loss": z_loss, "total": divisor}
    return Chunks.apply(hidden, weight, targets, chunk_size, options).to(hidden.dtype)
