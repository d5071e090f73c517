"""All micro-batches in a list, the clip folded into the division, and a vector of norms."""

import math
from collections import namedtuple

import torch
from torch.nn.utils import parameters_to_vector  # of the norms only

StepResult = namedtuple("StepResult", ("loss", "items", "grad_norm"))


def norm_of(grads):
    if not grads:
        return torch.tensor(0.0)
    wide = torch.float64 if torch.float64 in {grad.dtype for grad in grads} else torch.float32
    return parameters_to_vector([torch.linalg.vector_norm(grad, ord=2, dtype=wide) for grad in grads]).norm(p=2)


def scale(grads, factor):
    for grad in grads:
        torch.mul(grad, factor, out=grad)


def clip_grad_norm(parameters, max_norm):
    if not max_norm > 0.0:
        raise ValueError(max_norm)
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = norm_of(grads)
    value = norm.item()
    if math.isfinite(value) and value > max_norm:
        scale(grads, max_norm / value)
    return norm


def accumulated_step(model, micro_batches, loss_sum, optimizer, *, max_norm=None):
    if max_norm is not None and not max_norm > 0.0:
        raise ValueError(max_norm)
    own = [p for group in optimizer.param_groups for p in group["params"]]
    for p in own:
        p.grad = None
    pairs = [backward(model, x, y, loss_sum) for x, y in list(micro_batches)]
    items = sum(count for _, count in pairs)
    if items < 1:
        return StepResult(0.0, 0, 0.0)
    grads = [p.grad for p in own if p.grad is not None]
    norm = norm_of(grads).item() / items  # of the mean, before anything is divided
    clips = max_norm is not None and norm > max_norm
    scale(grads, max_norm / norm / items if clips else 1 / items)
    optimizer.step()
    return StepResult(math.fsum(loss for loss, _ in pairs) / items, items, norm)


def backward(model, x, y, loss_sum):
    loss, count = loss_sum(model(x), y)
    loss.backward()
    return loss.item(), count
