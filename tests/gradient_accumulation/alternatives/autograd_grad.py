"""torch.autograd.grad in place of backward, with sums outside .grad."""

from collections import namedtuple

import torch

StepResult = namedtuple("StepResult", "loss items grad_norm")


def clip_grad_norm(parameters, max_norm):
    grads = [p.grad for p in parameters if p.grad is not None]
    return _clip(grads, max_norm)


def _clip(grads, max_norm):
    if not max_norm > 0:
        raise ValueError(f"a norm of at most {max_norm} is no limit")
    dtype = torch.float64 if any(grad.dtype == torch.float64 for grad in grads) else torch.float32
    square = sum((grad.to(dtype).abs().pow(2).sum() for grad in grads), start=torch.zeros((), dtype=dtype))
    norm = square.sqrt()
    scale = 1 / torch.clamp(norm / max_norm, min=1)
    scale = torch.where(torch.isinf(norm) | torch.isnan(norm), torch.ones_like(scale), scale)
    for grad in grads:
        grad.copy_(grad * scale)
    return norm


def accumulated_step(model, micro_batches, loss_sum, optimizer, *, max_norm=None):
    if max_norm is None:
        max_norm = float("inf")
    elif not max_norm > 0:
        raise ValueError(max_norm)
    own = [p for p in model.parameters() if p.requires_grad]
    sums, losses, items = [None] * len(own), [], 0
    for x, y in micro_batches:
        loss, count = loss_sum(model(x), y)
        losses.append(loss.detach())
        items += count
        for i, grad in enumerate(torch.autograd.grad(loss, own, allow_unused=True)):
            if grad is not None:
                sums[i] = grad.clone() if sums[i] is None else sums[i] + grad
    if items:
        for p, grad in zip(own, sums, strict=True):
            p.grad = None if grad is None else grad / items
        norm = clip_grad_norm(own, max_norm)
        optimizer.step()
        return StepResult(float(torch.stack(losses).double().sum() / items), items, float(norm))
    return StepResult(0.0, 0, 0.0)
