"""Hooks add the gradients up in float32 or float64, with numpy for the norm's last step."""

import math
from typing import NamedTuple

import numpy as np
import torch


class StepResult(NamedTuple):
    loss: float
    items: int
    grad_norm: float


def clip_grad_norm(parameters, max_norm):
    if max_norm <= 0 or max_norm != max_norm:
        raise ValueError("max_norm must be positive")
    parameters = [p for p in parameters if p.grad is not None]
    double = any(p.grad.dtype == torch.float64 for p in parameters)
    squares = [torch.sum(p.grad.flatten().double() ** 2) for p in parameters]
    norm = np.sqrt(torch.stack(squares).numpy(force=True).sum()) if squares else 0.0
    if np.isfinite(norm) and norm > max_norm:
        with torch.no_grad():
            for p in parameters:
                p.grad.mul_(float(max_norm / norm))
    return torch.tensor(float(norm), dtype=torch.float64 if double else torch.float32)


def accumulated_step(model, micro_batches, loss_sum, optimizer, *, max_norm=None):
    clip_grad_norm([], max_norm if max_norm is not None else 1.0)
    sums, handles = {}, []

    def add(p):
        wide = p.grad.to(torch.promote_types(p.dtype, torch.float32))
        sums[p] = sums[p] + wide if p in sums else wide.clone()
        p.grad = None

    optimizer.zero_grad()
    for p in model.parameters():
        if p.requires_grad:
            handles.append(p.register_post_accumulate_grad_hook(add))
    total = items = 0
    try:
        for x, y in micro_batches:
            loss, count = loss_sum(model(x), y)
            loss.backward()
            total, items = total + float(loss.detach()), items + count
    finally:
        for handle in handles:
            handle.remove()
    if items == 0:
        return StepResult(loss=0.0, items=0, grad_norm=0.0)
    for p, value in sums.items():
        p.grad = (value / items).to(p.dtype)
    norm = clip_grad_norm(sums, math.inf if max_norm is None else max_norm)
    optimizer.step()
    return StepResult(loss=total / items, items=items, grad_norm=norm.item())
