"""Stage 4. Few passes over the logits, and no loop."""

import pytest

from dojo.testing import expect, expect_flat_operators, expect_traffic, randint
from katas.knowledge_distillation import combined_loss, distillation_loss

from .helpers import both

HINT = "two log_softmax, one exp, one difference, one product and one sum; no [positions, classes, classes]"


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_few_passes_over_the_logits(rng, cost, masked, direction):
    """The logits of 2048 tokens over 128 256 classes are 1 GB in float32, and a teacher has as many."""
    student, teacher = (logits.float() for logits in both(rng, 3, 7, 400))
    mask = (student[..., 0] < 9) if masked else None  # all count: the most work
    with cost() as spent:
        distillation_loss(student, teacher, 2.0, mask=mask, direction=direction)
    expect_traffic(spent, student, 45, what="distillation_loss", of="the student's logits", hint=HINT)


def test_few_passes_with_labels(rng, cost):
    """A label is one index per row. As a one-hot matrix of int64 it is twice as large as the logits."""
    student, teacher = (logits.float() for logits in both(rng, 11, 400))
    with cost() as soft:
        distillation_loss(student, teacher, 2.0)
    with cost() as spent:
        combined_loss(student, teacher, randint(rng, 0, 400, 11), temperature=2.0, alpha=0.5)
    more = (spent.bytes - soft.bytes) / student.nbytes
    sentence = f"combined_loss should move at most 8x the bytes of the logits more than distillation_loss, but moved {more:.1f}x"
    expect(more <= 8, sentence, hint="F.cross_entropy, or log_softmax and an index per row; no one-hot matrix")
    expect_traffic(spent, student, 53, what="combined_loss", of="the student's logits", hint=HINT)


def test_no_loop_over_positions_or_classes(rng):
    """A python loop launches operators for each of them."""
    sizes = [(2, 3, 7), (4, 20, 7), (4, 20, 60)]
    hint = "softmax over dim=-1 takes all positions at once"
    for direction in ("forward", "reverse"):
        expect_flat_operators(
            lambda student, teacher, direction=direction: distillation_loss(student, teacher, 2.0, direction=direction),
            lambda size: both(rng, *size),
            sizes,
            what=f"distillation_loss of [batch, length, classes], {direction},",
            hint=hint,
            slack=2,
        )
    expect_flat_operators(
        lambda student, teacher, mask: distillation_loss(student, teacher, 2.0, mask=mask),
        lambda size: [*both(rng, *size), both(rng, *size[:-1])[0] < 99],
        sizes,
        what="distillation_loss with a mask",
        hint=hint,
        slack=2,
    )
    expect_flat_operators(
        lambda student, teacher, targets: combined_loss(student, teacher, targets, temperature=2.0, alpha=0.5),
        lambda size: [*both(rng, *size), randint(rng, 0, 5, size[0])],
        [(3, 7), (40, 7), (40, 60)],
        what="combined_loss of [batch, classes]",
        hint=hint,
        slack=2,
    )
