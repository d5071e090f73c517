"""Gradients that are the mean at any time: what is there shrinks as items are added. The norm in numbers of Python."""

import math
from dataclasses import make_dataclass
from typing import NamedTuple

import torch


class StepResult(NamedTuple):
    loss: float
    items: int
    grad_norm: float


Part = make_dataclass("Part", ["grad", "square"])


@torch.no_grad()
def clip_grad_norm(parameters, max_norm):
    if math.isnan(max_norm) or max_norm <= 0:
        raise ValueError("max_norm")
    parts = []
    for p in parameters:
        if p.grad is not None:
            wide = p.grad if p.grad.dtype == torch.float64 else p.grad.float()
            parts.append(Part(p.grad, (wide * wide).sum()))
    if not parts:
        return torch.zeros(())
    square = parts[0].square
    for part in parts[1:]:
        square = square + part.square
    norm = math.sqrt(square.item()) if square >= 0 else math.nan
    if norm > max_norm and norm < math.inf:
        for part in parts:
            part.grad *= max_norm / (norm + 1e-6)
    return torch.tensor(norm, dtype=square.dtype, device=square.device)


def accumulated_step(model, micro_batches, loss_sum, optimizer, *, max_norm=None):
    limit = math.inf if max_norm is None else max_norm
    clip_grad_norm([], limit)
    for p in model.parameters():
        p.grad = None
    seen, numerator = 0, 0.0
    for x, y in micro_batches:
        loss, count = loss_sum(model(x), y)
        if count == 0:
            continue
        for p in model.parameters():
            if p.grad is not None:
                p.grad *= seen / (seen + count)
        seen += count
        (loss / seen).backward()
        numerator += loss.item()
    if not seen:
        return StepResult(0.0, 0, 0.0)
    norm = clip_grad_norm(model.parameters(), limit)
    optimizer.step()
    optimizer.zero_grad()
    return StepResult(numerator / seen, seen, norm.item())
