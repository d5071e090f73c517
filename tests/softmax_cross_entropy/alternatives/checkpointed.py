"""Picks the tokens that count first. Each chunk is checkpointed: its logits are formed again in the backward pass."""

import torch
from torch.utils.checkpoint import checkpoint


def log_sum_exp(x):
    wide = x if x.dtype == torch.float64 else x.float()
    m = wide.max(dim=-1, keepdim=True).values
    m = torch.where(torch.isinf(m), torch.zeros_like(m), m)
    return (torch.log(torch.exp(wide - m).sum(dim=-1)) + m[..., 0]).to(x.dtype)


def check(targets, vocab, label_smoothing, ignore_index, z_loss, total):
    if label_smoothing != label_smoothing or label_smoothing < 0 or label_smoothing >= 1:
        raise ValueError("label_smoothing")
    if z_loss != z_loss or z_loss < 0:
        raise ValueError("z_loss")
    if total is not None and total <= 0:
        raise ValueError("total")
    kept = targets[targets != ignore_index]
    if len(kept) and (kept.min() < 0 or kept.max() >= vocab):
        raise ValueError("a target is no class")


def cross_entropy(logits, targets, *, label_smoothing=0.0, ignore_index=-100, z_loss=0.0, total=None):
    check(targets, logits.shape[1], label_smoothing, ignore_index, z_loss, total)
    kept = targets != ignore_index
    z, t = logits[kept], targets[kept]
    if z.dtype != torch.float64:
        z = z.float()
    lse = log_sum_exp(z)
    loss = lse - z[torch.arange(len(t), device=t.device), t]
    if label_smoothing > 0:
        loss = (1 - label_smoothing) * loss + label_smoothing * (lse - z.mean(dim=1))
    if z_loss > 0:
        loss = loss + z_loss * lse**2
    if total is None:
        total = max(len(t), 1)
    return (loss.sum() / total).to(logits.dtype)


def cross_entropy_grad(logits, targets, *, label_smoothing=0.0, ignore_index=-100, z_loss=0.0, total=None):
    check(targets, logits.shape[1], label_smoothing, ignore_index, z_loss, total)
    kept = targets != ignore_index
    z, t = logits[kept], targets[kept]
    if z.dtype != torch.float64:
        z = z.float()
    p = torch.softmax(z, dim=1)
    if z_loss > 0:
        p = p * (1 + 2 * z_loss * log_sum_exp(z))[:, None]
    p = p - label_smoothing / z.shape[1]
    p[torch.arange(len(t), device=t.device), t] -= 1 - label_smoothing
    grad = torch.zeros_like(logits)
    grad[kept] = (p / (total or max(len(t), 1))).to(logits.dtype)
    return grad


def linear_cross_entropy(
    hidden, weight, targets, *, chunk_size, label_smoothing=0.0, ignore_index=-100, z_loss=0.0, total=None
):
    if chunk_size <= 0:
        raise ValueError("chunk_size")
    check(targets, len(weight), label_smoothing, ignore_index, z_loss, total)
    divisor = total or max(int((targets != ignore_index).sum()), 1)
    wide = torch.promote_types(hidden.dtype, torch.float32)

    def of_chunk(h, w, t):
        return cross_entropy(
            h @ w.T, t, label_smoothing=label_smoothing, ignore_index=ignore_index, z_loss=z_loss, total=divisor
        )

    dtype, loss = hidden.dtype, 0.0
    hidden, weight = hidden.to(wide), weight.to(wide)  # so that autograd adds the chunks up in float32
    for h, t in zip(hidden.split(chunk_size), targets.split(chunk_size), strict=True):
        loss = loss + checkpoint(of_chunk, h, weight, t, use_reentrant=False)
    return loss.to(dtype)
