"""Cross-entropy minus entropy. In reverse only the weights carry the gradient: that of the first logarithm sums to zero."""

import torch
from torch import Tensor, nn

ERRORS = {
    "shapes": lambda s, t, T, mask, way: s.shape != t.shape,
    "mask": lambda s, t, T, mask, way: mask is not None and mask.shape != s.shape[: s.ndim - 1],
    "temperature": lambda s, t, T, mask, way: not (T == T and 0 < T < float("inf")),
    "direction": lambda s, t, T, mask, way: way not in ["forward", "reverse"],
}


def at_least_single(*logits: Tensor) -> list[Tensor]:
    double = any(each.dtype is torch.double for each in logits)
    return [each.double() if double else each.float() for each in logits]


def expected(weights, values):
    """The mean of values, of which those without weight may be infinite."""
    return (weights * values.masked_fill(weights == 0, 0)).sum(dim=-1)


def distillation_loss(student_logits, teacher_logits, temperature, *, mask=None, direction="forward"):
    for name, wrong in ERRORS.items():
        if wrong(student_logits, teacher_logits, temperature, mask, direction):
            raise ValueError(name)
    with torch.no_grad():
        teacher = teacher_logits.clone()
    if mask is not None:
        nowhere = torch.logical_not(mask)[..., None].expand_as(teacher)
        student_logits, teacher = (z.masked_fill(nowhere, 1.0) for z in (student_logits, teacher))
    scale = 1 / temperature
    log_q, log_p = (nn.LogSoftmax(-1)(each * scale) for each in at_least_single(student_logits, teacher))
    if direction == "forward":
        p = log_p.exp()
        losses = expected(p, -log_q) - expected(p, -log_p)
    else:
        q = log_q.exp()
        losses = expected(q, -log_p) - expected(q, -log_q.detach())
    if mask is not None:
        return losses.where(mask, 0).sum() / mask.sum().clamp(min=1) * temperature**2
    return losses.sum() * (temperature**2 / max(losses.numel(), 1))


def combined_loss(student_logits, teacher_logits, targets, *, temperature, alpha):
    batch, *rest = student_logits.shape
    if len(rest) != 1 or targets.shape != torch.Size([batch]):
        raise ValueError("targets")
    if not (0 <= alpha and 1 - alpha >= 0):
        raise ValueError("alpha")
    soft = distillation_loss(student_logits, teacher_logits, temperature, direction="forward")
    z = at_least_single(student_logits)[0]
    picked = z.log_softmax(-1)[torch.arange(batch, device=z.device), targets]
    return torch.lerp(-picked.mean().to(soft), soft, alpha)
