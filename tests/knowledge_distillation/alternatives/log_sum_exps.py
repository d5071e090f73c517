"""KL(p || q) from logits: the mean under p of the difference of logits, minus the difference of the log-sum-exps. T squared
is spread: one T cancels the division of the logits."""

import torch


def distillation_loss(student_logits, teacher_logits, temperature, *, mask=None, direction="forward"):
    if student_logits.size() != teacher_logits.size():
        raise ValueError("shapes")
    if mask is not None and mask.size() != student_logits.size()[:-1]:
        raise ValueError("mask")
    if not (temperature > 0 and temperature != float("inf")):
        raise ValueError("temperature")
    if direction != "forward" and direction != "reverse":
        raise ValueError("direction")
    classes = student_logits.size(-1)
    s, t = student_logits.reshape(-1, classes), teacher_logits.data.reshape(-1, classes)
    if mask is not None:
        (chosen,) = mask.reshape(-1).nonzero(as_tuple=True)
        s, t = s.index_select(0, chosen), t.index_select(0, chosen)
    dtype = torch.result_type(s.new_zeros(1).float() if s.dtype != torch.float64 else s[:1, 0], t[:1, 0])
    s, t = s.to(dtype), t.to(dtype)
    a, b = (t, s) if direction == "forward" else (s, t)
    # The largest logits first, so that none of the differences is of numbers that are large in both.
    a, b = (z - z.detach().amax(-1, keepdim=True) if len(z) else z for z in (a, b))
    weights = torch.softmax(a / temperature, -1)
    gaps = torch.where(weights == 0, torch.zeros_like(a), a - b)
    means = torch.einsum("nc,nc->n", weights, gaps)
    lse = [temperature * torch.logsumexp(z / temperature, -1) for z in (a, b)]
    return temperature * (means - lse[0] + lse[1]).sum() / max(len(s), 1)


def combined_loss(student_logits, teacher_logits, targets, *, temperature, alpha):
    if student_logits.ndim != 2 or list(targets.shape) != [len(student_logits)]:
        raise ValueError("shapes")
    if not (alpha >= 0 and alpha <= 1):
        raise ValueError("alpha")
    soft = distillation_loss(student_logits, teacher_logits, temperature)
    z = student_logits.to(soft.dtype)
    hard = z.logsumexp(1) - z.gather(1, targets[:, None])[:, 0]
    return alpha * soft + (1.0 - alpha) * hard.mean()
