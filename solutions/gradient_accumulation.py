"""Gradient accumulation: one optimizer step over several micro-batches, and gradient clipping.

The batch does not fit. Write the optimizer step of a batch that comes in parts of unequal size, with gradient clipping.

The loss of a batch is a fraction: the sum of the losses of its items, divided by their number. Items are what the loss
counts, tokens for example, and padding is none. A batch that is split into micro-batches is the same batch, so it has
the same loss, the same gradients and the same step:

    loss = (sum of all losses) / (number of all items)        over all micro-batches together

Until the last micro-batch has been seen, nobody knows that number.

loss_sum(model(x), y) gives the numerator's part of a micro-batch, a scalar with a graph, and the denominator's part, an
int, 0 at least. How many rows or elements x and y have says nothing about it. The optimizer holds all parameters that
train, in one group or in several. Gradients may add up in .grad, as backward does it, or elsewhere, divided or not.

Rules: torch's own clipping and norms of gradients (torch.nn.utils.clip_grad_norm_, get_total_norm and the like) are not
allowed; norms of single tensors are. Gradients of a step are finite in all tests: what to do with others is the question
of mixed_precision_step.

Stage 1: the norm and the clip, the step over micro-batches of unequal counts.  Stage 2: every partition, generators,
micro-batches without items, missing gradients, old gradients, groups, wrong arguments.  Stage 3: infinite and NaN norms,
every floating dtype.  Stage 4: clipping copies one or two gradients at a time, never all, and the host reads numbers from
the device (bool(), float(), item()) equally often for any number of parameters; a step goes forward and backward through
the model once for each micro-batch, before the next one begins, and keeps the graph of no micro-batch but the last one.
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer


class StepResult(NamedTuple):
    """What one step came to, as Python numbers."""

    loss: float  # the mean over all items, added up in float32 at least
    items: int  # their number
    grad_norm: float  # of the gradients of `loss`, before clipping, whether max_norm is None or not


def clip_grad_norm(parameters: Iterable[nn.Parameter], max_norm: float) -> Float[Tensor, ""]:
    """Clips gradients in place, so that their norm is at most max_norm. Returns their norm from before.

    The norm is the L2 norm of all gradients together, as if they were one vector. Where it is above max_norm, all are
    multiplied by one factor, max_norm / norm; 1e-6 beside the norm in a denominator, as torch has it, is right as well.
    Else they stay as they are. So they do under an infinite or NaN norm: inf times the factor 0 would be NaN.

    The norm is a tensor without graph, computed and returned in float32, or in float64 if a gradient is float64.
    Gradients keep their dtype. A parameter without gradient (None) is left out; if none has one, the norm is 0.

    parameters: tensors to iterate over once; may be a generator, as model.parameters() is.
    max_norm: may be infinite.

    Raises ValueError, before anything changes, unless max_norm > 0.
    """
    # kata: begin
    if not max_norm > 0:
        raise ValueError(f"max_norm must be above 0, got {max_norm}")
    grads = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not grads:
        return torch.tensor(0.0)
    norms = [torch.linalg.vector_norm(grad, dtype=torch.promote_types(grad.dtype, torch.float32)) for grad in grads]
    norm = torch.linalg.vector_norm(torch.stack(norms))  # a norm of norms is the norm of all
    # No `if` on the device's numbers, which would make the host wait for them.
    factor = torch.where(norm.isfinite(), (max_norm / norm).clamp(max=1.0), 1.0)
    for grad in grads:
        grad.mul_(factor)
    return norm
    # kata: end


def accumulated_step(
    model: nn.Module,
    micro_batches: Iterable[tuple[Tensor, Tensor]],
    loss_sum: Callable[[Tensor, Tensor], tuple[Float[Tensor, ""], int]],
    optimizer: Optimizer,
    *,
    max_norm: float | None = None,
) -> StepResult:
    """One step of the optimizer on the mean loss over the items of all micro-batches, as if they were one batch.

    The gradients are clipped to max_norm, if it is not None, as the one batch's would be. What stood in .grad before is
    discarded; what stands there afterwards is up to you. The model stays in the mode (train, eval) in which it is.

    If no items are counted, or there is no micro-batch, no step is made: weights and the optimizer's state stay as they
    are, and the result is (0.0, 0, 0.0).

    micro_batches: pairs (x, y), to iterate over once; may be a generator.

    Raises ValueError, before anything changes, unless max_norm > 0 or None.
    """
    # kata: begin
    if max_norm is not None and not max_norm > 0:
        raise ValueError(f"max_norm must be above 0, or None, got {max_norm}")
    optimizer.zero_grad()
    total: Tensor | float = 0.0
    items = 0
    for x, y in micro_batches:
        loss, count = loss_sum(model(x), y)
        loss.backward()  # .grad adds up the gradients of the numerators, and the graph's tensors are free again
        total += loss.detach().double()  # stays on the device until the end
        items += count
    if items == 0:
        return StepResult(0.0, 0, 0.0)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad /= items
    norm = clip_grad_norm(parameters, math.inf if max_norm is None else max_norm)
    optimizer.step()
    return StepResult(float(total) / items, items, float(norm))
    # kata: end
