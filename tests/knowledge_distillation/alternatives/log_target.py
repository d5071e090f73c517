"""F.kl_div with log-probabilities as the target; both are 0 where the first distribution excludes a class. What does not
count is filled with zeros, and its divergence is 0 then."""

import math

import torch
from torch.nn import functional as F


def distillation_loss(student_logits, teacher_logits, temperature, *, mask=None, direction="forward"):
    *batch, _ = student_logits.shape
    if [*teacher_logits.shape[:-1]] != batch or teacher_logits.shape != student_logits.shape:
        raise ValueError("student and teacher")
    if mask is None:
        mask = torch.ones(batch, dtype=torch.bool, device=student_logits.device)
    if [*mask.shape] != batch:
        raise ValueError("mask")
    if not math.isfinite(temperature) or temperature <= 0:
        raise ValueError("temperature")
    order = {"forward": (0, 1), "reverse": (1, 0)}.get(direction)
    if order is None:
        raise ValueError("direction")

    def log_probs(logits):
        wanted = torch.float64 if torch.float64 in (student_logits.dtype, teacher_logits.dtype) else torch.float32
        return F.log_softmax(logits.masked_fill(~mask.unsqueeze(-1), 0).to(wanted).div(temperature), dim=-1)

    pair = log_probs(student_logits), log_probs(teacher_logits.detach())
    inputs, target = (pair[i] for i in order)
    nothing = target == -math.inf
    inputs, target = inputs.masked_fill(nothing, 0), target.masked_fill(nothing, 0)
    total = F.kl_div(inputs, target, reduction="sum", log_target=True)
    return total * temperature * temperature / mask.sum().clamp(min=1)


def combined_loss(student_logits, teacher_logits, targets, *, temperature, alpha):
    if alpha != alpha or alpha < 0 or alpha > 1:
        raise ValueError("alpha")
    if student_logits.dim() != 2 or targets.dim() != 1 or len(targets) != len(student_logits):
        raise ValueError("targets")
    soft = distillation_loss(student_logits, teacher_logits, temperature)
    hard = F.nll_loss(student_logits.to(soft.dtype).log_softmax(1), targets)
    return hard + alpha * (soft - hard)
