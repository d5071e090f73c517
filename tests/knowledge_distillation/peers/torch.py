"""torch's kl_div with probabilities as the target, one number per class and position. It makes 0 times -inf NaN, so that the
logarithms are 0 where the target is, and it knows neither temperatures nor masks."""

import math

import torch
from torch.nn import functional as F


def distillation_loss(student_logits, teacher_logits, temperature, *, mask=None, direction="forward"):
    if student_logits.shape != teacher_logits.shape or direction not in ("forward", "reverse"):
        raise ValueError("shapes and direction")
    if not 0 < temperature < math.inf or (mask is not None and mask.shape != student_logits.shape[:-1]):
        raise ValueError("temperature and mask")
    given = [student_logits, teacher_logits.detach()]
    if mask is not None:
        given = [logits[mask] for logits in given]
    dtype = torch.promote_types(torch.promote_types(given[0].dtype, given[1].dtype), torch.float32)
    scaled = [logits.to(dtype) / temperature for logits in given]
    inputs, target = scaled if direction == "forward" else scaled[::-1]
    target = target.softmax(-1)
    losses = F.kl_div(inputs.log_softmax(-1).masked_fill(target == 0, 0), target, reduction="none")
    return temperature**2 * losses.sum() / max(losses[..., 0].numel(), 1)


def combined_loss(student_logits, teacher_logits, targets, *, temperature, alpha):
    if student_logits.ndim != 2 or targets.shape != student_logits.shape[:1] or not 0 <= alpha <= 1:
        raise ValueError("targets and alpha")
    soft = distillation_loss(student_logits, teacher_logits, temperature)
    return alpha * soft + (1 - alpha) * F.cross_entropy(student_logits.to(soft.dtype), targets)
