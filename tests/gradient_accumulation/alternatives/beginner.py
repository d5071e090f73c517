"""Plain loops, and an answer that is checked at the end."""

import math
from typing import NamedTuple

import torch


class StepResult(NamedTuple):
    loss: float
    items: int
    grad_norm: float


def check(max_norm):
    if not isinstance(max_norm, (int, float)) or not (max_norm > 0):
        raise ValueError(f"max_norm must be > 0 but got {max_norm}")


def clip_grad_norm(parameters, max_norm):
    check(max_norm)
    parameters = list(parameters)
    total = torch.tensor(0.0)
    for parameter in parameters:
        if parameter.grad is None:
            continue
        grad = parameter.grad
        if grad.dtype != torch.float64:
            grad = grad.to(torch.float32)
        total = total.to(torch.promote_types(total.dtype, grad.dtype)) + torch.sum(grad * grad).to(grad.dtype)
    total_norm = torch.sqrt(total)
    if bool(torch.isfinite(total_norm)) and bool(total_norm > max_norm):
        factor = float(max_norm / (total_norm + 1e-6))
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.data.mul_(factor)
    return total_norm


def accumulated_step(model, micro_batches, loss_sum, optimizer, *, max_norm=None):
    if max_norm is not None:
        check(max_norm)
    model.zero_grad()
    optimizer.zero_grad()
    total_loss = 0.0
    total_count = 0
    for inputs, targets in micro_batches:
        outputs = model(inputs)
        loss, count = loss_sum(outputs, targets)
        loss.backward()
        total_loss += loss.item()
        total_count += count
        del outputs, loss
    if total_count == 0:
        return StepResult(0.0, 0, 0.0)
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad = parameter.grad / total_count
    if max_norm is None:
        grad_norm = clip_grad_norm(model.parameters(), math.inf)
    else:
        grad_norm = clip_grad_norm(model.parameters(), max_norm)
    optimizer.step()
    optimizer.zero_grad()
    return StepResult(total_loss / total_count, total_count, float(grad_norm))
