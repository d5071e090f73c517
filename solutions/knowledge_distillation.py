"""Knowledge distillation.

Distil a teacher into a student. Write the loss with a temperature, for classes and for tokens, and its sum with the
cross-entropy of labels. Why is there a factor of T squared, what happens as T grows, and which way round is the KL?

With the teacher's logits t, the student's s, and a temperature T, the softened distributions of a position are
    p = softmax(t / T)        the teacher
    q = softmax(s / T)        the student
and the loss of n positions is, with the natural logarithm,
    T^2 / n  times  the sum over the positions of  sum_j p_j (log p_j - log q_j)         direction "forward", KL(p || q)
                                               or  sum_j q_j (log q_j - log p_j)         direction "reverse", KL(q || p)
A position is one row of logits, whatever leading dimensions there are: batch, or batch and length, or none. All that
count weigh the same. It is the KL divergence and not the cross-entropy of p and q: 0 where student and teacher agree.

A logit of -inf is an excluded class, of probability 0; each row has a finite logit, and none is +inf or NaN. A class
that the first distribution of the KL excludes, p in KL(p || q), contributes 0, also where both exclude it, and the
gradients are finite. If only the second one excludes it, the loss is inf. Free there: the gradient, what combined_loss
makes of inf at alpha = 0, and the loss where the first one's probability, of a finite logit, rounds to 0.

Numbers: student and teacher may differ in dtype. The loss is float64 if one of them is, otherwise float32, and everything
is computed in that dtype: widen before the first operation. Finite logits may be as large as 1e4 and T as small as 0.05.
No gradient reaches the teacher, even if its logits carry a graph. Inputs may have any strides, and none is modified.

Stage 1: two rows, several temperatures, labels.  Stage 2: tokens, masks, directions, a weight of 0 or 1, wrong arguments.
Stage 3: excluded classes, logits of 1e4, every floating dtype, gradients.  Stage 4: few passes over the logits, no loop.

Sources: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015); Gu et al., "MiniLLM" (2024), for
the reverse direction.
"""

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F


def distillation_loss(
    student_logits: Float[Tensor, "*batch classes"],
    teacher_logits: Float[Tensor, "*batch classes"],
    temperature: float,
    *,
    mask: Bool[Tensor, "*batch"] | None = None,
    direction: str = "forward",
) -> Float[Tensor, ""]:
    """T^2 times the mean, over the positions, of the KL divergence of the softened distributions. Carries a graph.

    mask is True where a position counts; None means everywhere. The logits of other positions may be anything, NaN and
    infinities too, and influence neither the loss nor the other gradients; their own gradient is 0. Where no position
    counts, or there is none, the loss is 0 and has a graph all the same.

    In float32 it reads and writes at most 45 times as many numbers as the student has logits. The number of operators
    does not grow with the number of positions or classes.
    Raises ValueError if the two shapes differ, if the mask's shape is not that of the logits without the last dimension,
    if temperature is not positive and finite, or if direction is neither "forward" nor "reverse".
    """
    # kata: begin
    if student_logits.shape != teacher_logits.shape:
        raise ValueError(f"student {[*student_logits.shape]} and teacher {[*teacher_logits.shape]} differ in shape")
    if mask is not None and mask.shape != student_logits.shape[:-1]:
        raise ValueError(f"the mask {[*mask.shape]} does not fit logits {[*student_logits.shape]}")
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be positive and finite, got {temperature}")
    if direction not in ("forward", "reverse"):
        raise ValueError(f"direction must be 'forward' or 'reverse', got {direction!r}")
    teacher_logits = teacher_logits.detach()
    if mask is not None:  # selected before anything is computed: NaN times 0 is NaN
        student_logits, teacher_logits = student_logits[mask], teacher_logits[mask]
    wide = torch.promote_types(torch.promote_types(student_logits.dtype, teacher_logits.dtype), torch.float32)
    log_q, log_p = ((logits.to(wide) / temperature).log_softmax(-1) for logits in (student_logits, teacher_logits))
    first, second = (log_p, log_q) if direction == "forward" else (log_q, log_p)
    probs = first.exp()
    divergence = (probs * (first - second).where(probs > 0, 0.0)).sum()  # 0 times -inf would be NaN
    positions = math.prod(student_logits.shape[:-1])
    return temperature**2 * divergence / max(positions, 1)
    # kata: end


def combined_loss(
    student_logits: Float[Tensor, "batch classes"],
    teacher_logits: Float[Tensor, "batch classes"],
    targets: Int64[Tensor, "batch"],
    *,
    temperature: float,
    alpha: float,
) -> Float[Tensor, ""]:
    """alpha times the forward distillation loss, plus 1 - alpha times the mean cross-entropy of the student at T = 1.

    The temperature has no part in the cross-entropy. There is at least one row, and every target lies in [0, classes)
    and is a class that the student does not exclude.
    In float32 it reads and writes at most 8 times as many numbers as the student has logits more than distillation_loss
    does: a one-hot matrix costs too much. It has no loop.
    Raises ValueError if the shapes are not as above, if temperature is not positive and finite, or if alpha is not in
    [0, 1].
    """
    # kata: begin
    if student_logits.ndim != 2 or targets.shape != student_logits.shape[:1]:
        raise ValueError(f"targets {[*targets.shape]} do not fit logits {[*student_logits.shape]}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in [0, 1], got {alpha}")
    soft = distillation_loss(student_logits, teacher_logits, temperature)
    hard = F.cross_entropy(student_logits.to(soft.dtype), targets)
    return alpha * soft + (1 - alpha) * hard
    # kata: end
