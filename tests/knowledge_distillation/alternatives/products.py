"""A matrix product of weights and log-ratios at each position; ratios by logaddexp-free log-sum-exps, xlogy for none."""

import torch
from torch.nn.functional import cross_entropy


def softened(logits, temperature, dtype):
    z = logits.to(dtype) / temperature
    return z - z.logsumexp(-1, True)


def distillation_loss(student_logits, teacher_logits, temperature, *, mask=None, direction="forward"):
    if not hasattr(direction, "lower") or direction not in ("forward", "reverse"):
        raise ValueError("direction")
    shape = student_logits.shape
    if len(shape) != len(teacher_logits.shape) or any(a != b for a, b in zip(shape, teacher_logits.shape, strict=True)):
        raise ValueError("shapes")
    if temperature != temperature or temperature <= 0 or temperature == float("inf"):
        raise ValueError("temperature")
    if mask is not None:
        if len(mask.shape) != len(shape) - 1 or any(a != b for a, b in zip(mask.shape, shape[:-1], strict=True)):
            raise ValueError("mask")
        where = mask.nonzero().unbind(-1) if mask.ndim else (mask,)
        student_logits, teacher_logits = student_logits[where], teacher_logits[where]
    dtype = torch.promote_types(torch.float32, torch.promote_types(teacher_logits.dtype, student_logits.dtype))
    q = softened(student_logits, temperature, dtype)
    p = softened(teacher_logits.detach(), temperature, dtype)
    if direction == "reverse":
        p, q = q, p
    weights = p.exp()
    ratios = torch.where(weights > 0, p - q, p.new_zeros(()))
    each = torch.matmul(weights.unsqueeze(-2), ratios.unsqueeze(-1))
    total = each.sum() * temperature**2
    return total / each.numel() if each.numel() else total


def combined_loss(student_logits, teacher_logits, targets, *, temperature, alpha):
    if len(student_logits.shape) != 2 or tuple(targets.shape) != tuple(student_logits.shape[:-1]):
        raise ValueError("targets")
    if not 0 <= alpha <= 1:
        raise ValueError("alpha")
    parts = [distillation_loss(student_logits, teacher_logits, temperature)]
    parts.append(cross_entropy(student_logits.to(parts[0].dtype), targets))
    return (torch.stack(parts) * parts[0].new_tensor([alpha, 1 - alpha])).sum()
