"""Lists of tensors in one call, as torch's optimizers have them; groups one by one."""

import math
from itertools import chain
from typing import NamedTuple

import torch


class StepResult(NamedTuple):
    loss: float
    items: int
    grad_norm: float


class WrongLimit(ValueError):
    pass


def clip_grad_norm(parameters, max_norm):
    if not 0 < max_norm <= math.inf:
        raise WrongLimit(max_norm)
    grads = [p.grad.detach() for p in parameters if p.grad is not None]
    kinds = {}
    for grad in grads:
        kinds.setdefault(grad.dtype, []).append(grad)
    norms = []
    for dtype, alike in kinds.items():
        norms += torch._foreach_norm(alike, 2, torch.promote_types(dtype, torch.float32))
    norm = torch.stack(norms).norm() if norms else torch.tensor(0.0)
    if max_norm < norm < math.inf:
        for alike in kinds.values():
            torch._foreach_mul_(alike, max_norm / norm.item())
    return norm


def accumulated_step(model, micro_batches, loss_sum, optimizer, *, max_norm=None):
    if max_norm is not None and not 0 < max_norm <= math.inf:
        raise WrongLimit(max_norm)
    optimizer.zero_grad(set_to_none=True)
    sums = torch.zeros(2, dtype=torch.float64)
    for batch in micro_batches:
        sums += one(model, *batch, loss_sum)
    loss, items = sums.tolist()
    if items == 0:
        optimizer.zero_grad(set_to_none=True)
        return StepResult(0.0, 0, 0.0)
    own = list(chain.from_iterable(group["params"] for group in optimizer.param_groups))
    grads = [p.grad for p in own if p.grad is not None]
    torch._foreach_div_(grads, items)
    norm = clip_grad_norm(own, max_norm or math.inf)
    optimizer.step()
    return StepResult(loss / items, int(items), norm.item())


def one(model, x, y, loss_sum):
    loss, count = loss_sum(model(x), y)
    if count:
        loss.backward()
    return torch.tensor([loss.item(), count], dtype=torch.float64)
