"""torch's kl_div, one number per class and position: with probabilities as the target forward, with their logarithms in
reverse, where they need a gradient. 0 times -inf is NaN in it, and it knows neither temperatures nor masks."""

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
    q, p = ((logits.to(dtype) / temperature).log_softmax(-1) for logits in given)
    if direction == "forward":
        losses = F.kl_div(q.masked_fill(p.exp() == 0, 0), p.exp(), reduction="none")
    else:
        p, q = (each.masked_fill(q == -math.inf, 0) for each in (p, q))
        losses = F.kl_div(p, q, reduction="none", log_target=True)
    return temperature**2 * losses.sum() / max(losses[..., 0].numel(), 1)


def combined_loss(student_logits, teacher_logits, targets, *, temperature, alpha):
    if student_logits.ndim != 2 or targets.shape != student_logits.shape[:1] or not 0 <= alpha <= 1:
        raise ValueError("targets and alpha")
    soft = distillation_loss(student_logits, teacher_logits, temperature)
    return alpha * soft + (1 - alpha) * F.cross_entropy(student_logits.to(soft.dtype), targets)
