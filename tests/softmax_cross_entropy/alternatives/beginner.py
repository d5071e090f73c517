"""Plain steps in float64, and a one-hot matrix by comparison, in the gradient alone. The logits of a chunk are formed
again in the backward pass."""

import math

import torch


def log_sum_exp(x):
    wide = x.double()
    largest = torch.max(wide, dim=-1, keepdim=True)[0]
    largest[largest == -math.inf] = 0
    total = torch.sum(torch.exp(wide - largest), dim=-1)
    return (torch.log(total) + largest.squeeze(-1)).to(x.dtype)


def check_arguments(targets, vocab, label_smoothing, ignore_index, z_loss, total):
    if math.isnan(label_smoothing) or label_smoothing < 0 or label_smoothing >= 1:
        raise ValueError("label_smoothing must be in [0, 1)")
    if math.isnan(z_loss) or z_loss < 0:
        raise ValueError("z_loss must not be negative")
    if total is not None and total < 1:
        raise ValueError("total must be positive")
    for target in set(targets.tolist()):
        if target != ignore_index and not 0 <= target < vocab:
            raise ValueError(f"{target} is not a class")


def count(targets, ignore_index, total):
    if total is not None:
        return total
    return max(1, sum(target != ignore_index for target in targets.tolist()))


def cross_entropy(logits, targets, *, label_smoothing=0.0, ignore_index=-100, z_loss=0.0, total=None):
    n, vocab = logits.shape
    check_arguments(targets, vocab, label_smoothing, ignore_index, z_loss, total)
    z = logits.double()
    m = z.max(dim=1).values.detach()
    exps = torch.exp(z - m.reshape(n, 1))
    lse = torch.log(exps.sum(dim=1)) + m
    flat = z.reshape(-1).index_select(0, torch.arange(n) * vocab + targets.clamp(min=0, max=vocab - 1))
    loss = (1.0 - label_smoothing) * (lse - flat)
    if label_smoothing > 0.0:
        loss = loss + label_smoothing * (lse - z.sum(dim=1) / vocab)
    if z_loss > 0.0:
        loss = loss + z_loss * lse * lse
    loss = torch.where(targets == ignore_index, torch.zeros_like(loss), loss)
    return (loss.sum() / count(targets, ignore_index, total)).to(logits.dtype)


def cross_entropy_grad(logits, targets, *, label_smoothing=0.0, ignore_index=-100, z_loss=0.0, total=None):
    n, vocab = logits.shape
    check_arguments(targets, vocab, label_smoothing, ignore_index, z_loss, total)
    z = logits.double()
    lse = log_sum_exp(z).reshape(n, 1)
    p = torch.exp(z - lse)
    one_hot = (torch.arange(vocab) == targets.reshape(n, 1)).double()
    grad = p - (1.0 - label_smoothing) * one_hot - label_smoothing / vocab
    grad = grad + z_loss * 2.0 * lse * p
    grad[targets == ignore_index] = 0.0
    return (grad / count(targets, ignore_index, total)).to(logits.dtype)


class AllChunks(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, targets, chunk_size, options):
        ctx.save_for_backward(hidden, weight, targets)
        ctx.chunk_size, ctx.options = chunk_size, options
        loss = torch.zeros((), dtype=hidden.dtype)
        for start in range(0, hidden.shape[0], chunk_size):
            end = min(start + chunk_size, hidden.shape[0])
            logits = torch.matmul(hidden[start:end], weight.t())
            loss = loss + cross_entropy(logits, targets[start:end], **options)
        return loss

    @staticmethod
    def backward(ctx, d_loss):
        hidden, weight, targets = ctx.saved_tensors
        d_hidden, d_weight = torch.zeros_like(hidden), torch.zeros_like(weight)
        for start in range(0, hidden.shape[0], ctx.chunk_size):
            end = min(start + ctx.chunk_size, hidden.shape[0])
            logits = torch.matmul(hidden[start:end], weight.t())
            d_logits = cross_entropy_grad(logits, targets[start:end], **ctx.options)
            d_hidden[start:end] = torch.matmul(d_logits, weight)
            d_weight += torch.matmul(d_logits.t(), hidden[start:end])
        return d_loss * d_hidden, d_loss * d_weight, None, None, None


def linear_cross_entropy(
    hidden, weight, targets, *, chunk_size, label_smoothing=0.0, ignore_index=-100, z_loss=0.0, total=None
):
    if chunk_size < 1:
        raise ValueError("chunk_size must be positive")
    check_arguments(targets, weight.shape[0], label_smoothing, ignore_index, z_loss, total)
    options = {
        "label_smoothing": label_smoothing,
        "ignore_index": ignore_index,
        "z_loss": z_loss,
        "total": count(targets, ignore_index, total),
    }
    dtype = hidden.dtype
    if dtype in (torch.float16, torch.bfloat16):
        hidden, weight = hidden.float(), weight.float()
    return AllChunks.apply(hidden, weight, targets, chunk_size, options).to(dtype)
