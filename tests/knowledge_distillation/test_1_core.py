"""Stage 1. Two rows, several temperatures, labels."""

import math

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, randint, randn
from katas.knowledge_distillation import combined_loss, distillation_loss

from .helpers import SOFTEN, both, logs, scalar

TEACHER, STUDENT = (2, 1, 5), (8, 6, 2)  # odds out of 8, and out of 16
KL = (2 * math.log(2 / 4) + math.log(1 / 3) + 5 * math.log(5)) / 8


def test_a_worked_divergence():
    """One row of three classes at T = 1: 2/8 log(2/4) + 1/8 log(1/3) + 5/8 log 5, with the teacher's probabilities as
    weights. The student's logits are log [8, 6, 2], its probabilities 4/8, 3/8 and 1/8."""
    got = distillation_loss(logs(STUDENT), logs(TEACHER), 1.0)
    hint = "sum over the classes of p (log p - log q), where p is the teacher's probability"
    expect_close(got, scalar(KL), what="the loss of student log [8, 6, 2] and teacher log [2, 1, 5] at T=1", hint=hint)


@pytest.mark.parametrize("temperature", [0.5, 2.0, 4.0, 10.0])
def test_a_worked_divergence_at_another_temperature(temperature):
    """The logits are T times the logarithms, so that dividing by T gives the same two distributions as at T = 1. What
    remains is the factor: T squared, so that gradients keep their size when T grows."""
    got = distillation_loss(logs(STUDENT, scale=temperature), logs(TEACHER, scale=temperature), temperature)
    what = f"the loss of student {temperature:g} log [8, 6, 2] and teacher {temperature:g} log [2, 1, 5]"
    expect_close(got, scalar(temperature**2 * KL), what=f"{what} at T={temperature:g}", hint=SOFTEN)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_equal_logits_lose_nothing(rng, temperature):
    """KL is 0 where both agree. A cross-entropy would be the teacher's entropy there."""
    logits = both(rng, 3, 5)[0]
    got = distillation_loss(logits, logits.clone(), temperature)
    what = f"the loss of a student that agrees with its teacher, at T={temperature:g}"
    expect_close(got, scalar(0), what=what, hint="KL divergence: the cross-entropy minus the teacher's entropy")


def test_a_student_that_differs_loses_more_than_nothing(rng):
    """KL is positive unless the distributions agree, although single terms of the sum may be negative."""
    for _ in range(5):
        got = distillation_loss(*both(rng, 3, 5), 2.0)
        expect(got > 0, f"the loss of a student that differs should be positive, but is {got}", hint=SOFTEN)


def test_constants_do_not_matter(rng):
    """Logits are known up to a constant in each row; a squared difference of logits would see it."""
    student, teacher = both(rng, 3, 5)
    want = distillation_loss(student, teacher, 2.0)
    shifted = student + 7 * randn(rng, 3, 1), teacher + 7 * randn(rng, 3, 1)
    got = distillation_loss(*shifted, 2.0)
    expect_close(got, want, what="the loss with a constant added to each row of logits", hint="softmax over classes")


def test_the_loss_is_the_mean_over_the_rows(rng):
    """Three rows of five classes, against each row alone: neither the sum, nor a mean over rows and classes."""
    student, teacher = both(rng, 3, 5)
    want = torch.stack([distillation_loss(student[i : i + 1], teacher[i : i + 1], 2.0) for i in range(3)]).mean()
    got = distillation_loss(student, teacher, 2.0)
    expect_close(got, want, what="the loss of 3 rows, against the mean of their losses", hint="sum over dim=-1, mean")


def test_which_classes_are_first_does_not_matter(rng):
    """The same permutation of classes for both, and of rows."""
    student, teacher = both(rng, 3, 5)
    want, order, rows = distillation_loss(student, teacher, 2.0), [3, 0, 4, 1, 2], [2, 0, 1]
    got = distillation_loss(student[:, order], teacher[:, order], 2.0)
    expect_close(got, want, what="the loss with the classes in another order", hint="softmax over the last dimension")
    got = distillation_loss(student[rows], teacher[rows], 2.0)
    expect_close(got, want, what="the loss with the rows in another order", hint="softmax over the last dimension")


def test_the_loss_is_a_single_number(rng):
    """A tensor of shape [] that has a graph."""
    student, teacher = both(rng, 3, 5)
    got = distillation_loss(student.requires_grad_(), teacher, 2.0)
    expect_equal(
        list(getattr(got, "shape", ["no tensor"])), [], what="the shape of the loss", hint="mean over the rows"
    )
    expect(got.requires_grad, "the loss should carry a graph, but carries none", hint="detach the teacher only")


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_worked_combination(temperature):
    """Two rows with targets 0 and 2, of probabilities 4/8 and 1/8 at T = 1. Student and teacher agree, so that only the
    cross-entropy counts: 1 - alpha of it, whatever the temperature."""
    student, targets = logs(STUDENT, STUDENT), torch.tensor([0, 2])
    want = 0.75 * (math.log(2) + math.log(8)) / 2
    got = combined_loss(student, student.clone(), targets, temperature=temperature, alpha=0.25)
    what = f"the loss of a student that agrees with its teacher, with alpha=0.25 and T={temperature:g}"
    expect_close(got, scalar(want), what=what, hint="1 - alpha times the cross-entropy of the student's logits at T=1")


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_combination_of_both_losses(rng, temperature):
    """alpha of the distillation loss, T squared included, and 1 - alpha of the mean cross-entropy."""
    student, teacher, targets = *both(rng, 3, 5), randint(rng, 0, 5, 3)
    soft = distillation_loss(student, teacher, temperature)
    hard = -student.log_softmax(-1)[torch.arange(3), targets].mean()
    for alpha in (0.3, 0.8):
        got = combined_loss(student, teacher, targets, temperature=temperature, alpha=alpha)
        what = f"combined_loss with alpha={alpha} and T={temperature:g}"
        hint = "alpha * distillation_loss + (1 - alpha) * cross_entropy(student_logits, targets)"
        expect_close(got, alpha * soft + (1 - alpha) * hard, what=what, hint=hint)
