"""The loss has a backward of its own, by the formula; the chunked loss makes the gradients of whole chunks in forward,
in one flat list of slices, and only where a gradient is wanted."""

import torch


def log_sum_exp(x):
    dtype = torch.promote_types(x.dtype, torch.float32)
    peak, _ = x.max(-1, keepdim=True)
    peak = torch.clamp(peak.to(dtype), min=torch.finfo(dtype).min)
    return torch.logaddexp(
        torch.log(torch.exp(x - peak).sum(-1)) + peak.squeeze(-1), torch.full((), -torch.inf, dtype=dtype)
    ).to(x.dtype)


def weights(targets, vocab, label_smoothing, ignore_index, z_loss, total):
    """One number for each token: 1 / divisor, or 0 where it is ignored."""
    if total is not None and total < 1:
        raise ValueError("total")
    if not 0 <= label_smoothing < 1:
        raise ValueError("label_smoothing")
    if not z_loss >= 0:
        raise ValueError("z_loss")
    counts = (targets != ignore_index).double()
    if ((targets.clamp(0, vocab - 1) != targets) * counts).any():
        raise ValueError("targets")
    return counts / (total if total is not None else counts.sum().clamp_min(1))


def pieces(logits, targets, share, label_smoothing, z_loss):
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    lse = log_sum_exp(wide)
    at = (torch.arange(len(targets), device=targets.device), torch.where(share > 0, targets, 0))
    losses = (1 - label_smoothing) * (lse - wide[at]) + z_loss * lse**2
    if label_smoothing:
        losses += label_smoothing * (lse - wide.sum(1) / wide.shape[1])
    return wide, lse, at, losses


def gradient(logits, targets, share, label_smoothing, z_loss):
    wide, lse, at, _ = pieces(logits, targets, share, label_smoothing, z_loss)
    share = share.to(wide.dtype)
    grad = torch.softmax(wide, 1).mul_(((1 + 2 * z_loss * lse) * share).unsqueeze(1))
    grad.sub_(share.unsqueeze(1), alpha=label_smoothing / wide.shape[1])
    grad.index_put_(at, (label_smoothing - 1) * share, accumulate=True)
    return grad.to(logits.dtype)


class Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, targets, share, label_smoothing, z_loss):
        ctx.save_for_backward(logits, targets, share)
        ctx.options = label_smoothing, z_loss
        losses = pieces(logits, targets, share, label_smoothing, z_loss)[3]
        return torch.where(share > 0, losses * share, 0).sum().to(logits.dtype)

    @staticmethod
    def backward(ctx, grad):
        return grad * gradient(*ctx.saved_tensors, *ctx.options), None, None, None, None


def cross_entropy(logits, targets, *, label_smoothing=0.0, ignore_index=-100, z_loss=0.0, total=None):
    share = weights(targets, logits.shape[1], label_smoothing, ignore_index, z_loss, total)
    return Loss.apply(logits, targets, share, label_smoothing, z_loss)


def cross_entropy_grad(logits, targets, *, label_smoothing=0.0, ignore_index=-100, z_loss=0.0, total=None):
    share = weights(targets, logits.shape[1], label_smoothing, ignore_index, z_loss, total)
    return gradient(logits, targets, share, label_smoothing, z_loss)


class LinearLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, targets, share, chunks, label_smoothing, z_loss):
        loss = torch.zeros((), dtype=torch.float64)
        d_hidden = torch.zeros_like(hidden) if ctx.needs_input_grad[0] else None
        d_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for rows in chunks:
            h, t, s = hidden[rows], targets[rows], share[rows]
            logits = torch.einsum("nd,vd->nv", h, weight)
            loss += torch.where(s > 0, pieces(logits, t, s, label_smoothing, z_loss)[3] * s, 0).sum()
            if any(ctx.needs_input_grad):
                grad = gradient(logits, t, s, label_smoothing, z_loss)
            if d_hidden is not None:
                d_hidden[rows] = torch.einsum("nv,vd->nd", grad, weight)
            if d_weight is not None:
                d_weight += torch.einsum("nv,nd->vd", grad, h)
        ctx.gradients = d_hidden, d_weight
        return loss

    @staticmethod
    def backward(ctx, grad):
        scaled = (None if g is None else grad.to(g.dtype) * g for g in ctx.gradients)
        return (*scaled, None, None, None, None, None)


def linear_cross_entropy(
    hidden, weight, targets, *, chunk_size, label_smoothing=0.0, ignore_index=-100, z_loss=0.0, total=None
):
    if chunk_size < 1:
        raise ValueError("chunk_size")
    share = weights(targets, weight.shape[0], label_smoothing, ignore_index, z_loss, total)
    chunks = [slice(start, start + chunk_size) for start in range(0, hidden.shape[0], chunk_size)]
    wide = (hidden.float(), weight.float()) if hidden.dtype.itemsize < 4 else (hidden, weight)
    return LinearLoss.apply(*wide, targets, share, chunks, label_smoothing, z_loss).to(hidden.dtype)
