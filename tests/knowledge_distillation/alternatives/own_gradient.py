"""An autograd function with the gradients worked out: T (q - p) forward, T q (log q - log p - KL) in reverse."""

import torch
from torch.nn import functional as F


class Divergence(torch.autograd.Function):
    """[positions, classes] logits of both, already wide and divided by T."""

    @staticmethod
    def forward(ctx, student, teacher, reverse):
        q, p = student.softmax(-1), teacher.softmax(-1)
        ratio = student.log_softmax(-1) - teacher.log_softmax(-1)
        each = torch.zeros_like(q)
        if reverse:
            each[q > 0] = (q * ratio)[q > 0]
            each = each.sum(-1, keepdim=True)
            slope = q * (torch.where(q > 0, ratio, torch.zeros_like(q)) - each)
        else:
            each[p > 0] = (-p * ratio)[p > 0]
            slope = q - p
        ctx.save_for_backward(slope)
        return each.sum()

    @staticmethod
    def backward(ctx, upstream):
        return ctx.saved_tensors[0] * upstream, None, None


def distillation_loss(student_logits, teacher_logits, temperature, *, mask=None, direction="forward"):
    T = float(temperature)
    if not 0.0 < T < float("inf"):
        raise ValueError(f"temperature {T}")
    if direction not in {"forward", "reverse"}:
        raise ValueError(f"direction {direction}")
    if tuple(student_logits.shape) != tuple(teacher_logits.shape):
        raise ValueError("logits")
    rows = student_logits.flatten(0, -2) if student_logits.ndim > 1 else student_logits[None]
    others = teacher_logits.flatten(0, -2) if student_logits.ndim > 1 else teacher_logits[None]
    if mask is not None:
        if mask.shape != student_logits.shape[:-1]:
            raise ValueError("mask")
        rows, others = rows[mask.reshape(-1)], others[mask.reshape(-1)]
    n = max(1, rows.shape[0])
    wide = torch.promote_types(torch.promote_types(rows.dtype, others.dtype), torch.float)
    return T**2 / n * Divergence.apply(rows.to(wide) / T, others.detach().to(wide) / T, direction == "reverse")


def combined_loss(student_logits, teacher_logits, targets, *, temperature, alpha):
    if student_logits.ndim != 2 or targets.shape != (student_logits.shape[0],) or not 0 <= alpha <= 1:
        raise ValueError("arguments")
    soft = distillation_loss(student_logits, teacher_logits, temperature)
    return alpha * soft + (1 - alpha) * F.cross_entropy(student_logits.to(soft), targets)
