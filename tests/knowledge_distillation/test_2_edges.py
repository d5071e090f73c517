"""Stage 2. Tokens, masks, directions, a weight of 0 or 1, wrong arguments."""

import math

import pytest
import torch

from dojo.testing import called_for, expect, expect_close, expect_raises, expect_unchanged, randint, randn
from katas.knowledge_distillation import combined_loss, distillation_loss

from .helpers import INF, NAN, SELECT, both, logs, scalar
from .probe import WRONG_ALPHAS, WRONG_DIRECTIONS, WRONG_LABELS, WRONG_MASKS, WRONG_SHAPES, WRONG_TEMPERATURES

MEAN = "sum over the classes, then one mean over all positions; F.kl_div's 'batchmean' divides by dimension 0 only"
ROUND = "reverse is KL(q || p): the student's probabilities are the weights"
DIRECTIONS = pytest.mark.parametrize("direction", ["forward", "reverse"])


@DIRECTIONS
@pytest.mark.parametrize("shape", [(2, 3), (3, 1), (2, 1, 3), (1,)], ids=str)
def test_every_position_weighs_the_same(rng, shape, direction):
    """Rows of logits in batches of sequences: the same loss as that of one list of all positions."""
    student, teacher = both(rng, *shape, 7)
    got = distillation_loss(student, teacher, 2.0, direction=direction)
    want = distillation_loss(student.reshape(-1, 7), teacher.reshape(-1, 7), 2.0, direction=direction)
    what = f"the {direction} loss of logits {[*shape, 7]}, against the same positions in one batch"
    expect_close(got, want, what=what, hint=MEAN)


@DIRECTIONS
def test_a_single_position_needs_no_batch(rng, direction):
    """Logits of shape [classes] are one position, and its mask has the shape []."""
    student, teacher = both(rng, 6)
    want = distillation_loss(student[None], teacher[None], 2.0, direction=direction)
    with called_for("logits of shape [6]", hint="dim=-1 for everything"):
        got = distillation_loss(student, teacher, 2.0, direction=direction)
        masked = distillation_loss(student, teacher, 2.0, mask=torch.tensor(True), direction=direction)
    expect_close(got, want, what="the loss of logits of shape [6], against [1, 6]", hint=MEAN)
    expect_close(masked, want, what="the loss of logits of shape [6] with the mask True, against [1, 6]", hint=MEAN)


def test_a_worked_reverse_divergence():
    """4/8 log(4/2) + 3/8 log 3 + 1/8 log(1/5): the student's probabilities are the weights. At T = 2 the logits are
    twice as large, and the loss four times."""
    want = (4 * math.log(2) + 3 * math.log(3) - math.log(5)) / 8
    for temperature in (1.0, 2.0):
        student, teacher = logs((4, 3, 1), scale=temperature), logs((2, 1, 5), scale=temperature)
        got = distillation_loss(student, teacher, temperature, direction="reverse")
        what = f"the reverse loss of student [4, 3, 1]/8 and teacher [2, 1, 5]/8 at T={temperature:g}"
        expect_close(got, scalar(temperature**2 * want), what=what, hint=ROUND)


def test_forward_is_reverse_with_the_roles_exchanged(rng):
    """KL(p || q) of one is KL(q || p) of the other. The default is forward."""
    student, teacher = both(rng, 3, 5)
    reverse = distillation_loss(teacher, student, 2.0, direction="reverse")
    got = distillation_loss(student, teacher, 2.0, direction="forward")
    expect_close(got, reverse, what="the forward loss, against the reverse one with the roles exchanged", hint=ROUND)
    got = distillation_loss(student, teacher, 2.0)
    expect_close(got, reverse, what="the loss by default, against direction='forward'", hint="forward is the default")


@DIRECTIONS
def test_the_mask_selects_positions(rng, direction):
    """Rows with 3, 1 and 0 positions that count: the mean over the four, neither over all nine nor row by row."""
    student, teacher = both(rng, 3, 3, 5)
    mask = torch.tensor([[1, 1, 1], [0, 1, 0], [0, 0, 0]]).bool()
    want = distillation_loss(student[mask], teacher[mask], 2.0, direction=direction)
    got = distillation_loss(student, teacher, 2.0, mask=mask, direction=direction)
    hint = "the sum over the positions that count, divided by their number"
    expect_close(got, want, what=f"the {direction} loss with a mask, against the positions that count", hint=hint)
    got = distillation_loss(student, teacher, 2.0, mask=mask | True, direction=direction)
    want = distillation_loss(student, teacher, 2.0, direction=direction)
    expect_close(got, want, what="the loss with a mask that is True everywhere, against none", hint=hint)


@DIRECTIONS
@pytest.mark.parametrize("value", [NAN, INF, -INF, 1e30], ids=str)
def test_positions_that_do_not_count_may_hold_anything(rng, value, direction):
    """Padding comes out of a model as it may. 0 times NaN is NaN, so a product with the mask does not remove it."""
    student, teacher = both(rng, 2, 4, 5)
    mask = torch.tensor([[1, 1, 0, 1], [0, 0, 1, 1]]).bool()
    want = distillation_loss(student, teacher, 2.0, mask=mask, direction=direction)
    for name, filled in (("student", (student.clone(), teacher)), ("teacher", (student, teacher.clone()))):
        filled[name == "teacher"][~mask] = value
        got = distillation_loss(*filled, 2.0, mask=mask, direction=direction)
        expect_close(got, want, what=f"the {direction} loss with {value} in the {name}'s padding", hint=SELECT)


@DIRECTIONS
def test_nothing_to_count_gives_zero(rng, direction):
    """An answer of nothing but padding adds nothing to the step. Without a position there is nothing to divide by."""
    student, teacher = both(rng, 2, 3, 5)
    hint = "divide by the number of positions, at least 1"
    got = distillation_loss(student, teacher, 2.0, mask=torch.zeros(2, 3).bool(), direction=direction)
    expect_close(got, scalar(0), what="the loss with a mask that is False everywhere", hint=hint)
    with called_for("logits of shape [0, 5]", hint=hint):
        got = distillation_loss(student[:0, 0], teacher[:0, 0], 2.0, direction=direction)
    expect_close(got, scalar(0), what="the loss of logits of shape [0, 5]", hint=hint)


def test_a_huge_temperature_compares_centred_logits(rng):
    """As T grows, T^2 KL tends to sum ((s - mean s) - (t - mean t))^2 / 2C: a regression of logits, in both directions.
    Tolerance: what the next order in 1/T leaves at T = 1e4, and roundings of T^2."""
    student, teacher = both(rng, 3, 5)
    difference = (student - student.mean(-1, keepdim=True)) - (teacher - teacher.mean(-1, keepdim=True))
    want = difference.square().sum(-1).mean() / 10
    for direction in ("forward", "reverse"):
        got = distillation_loss(student, teacher, 1e4, direction=direction)
        what = f"the {direction} loss at T=1e4, against half the mean square of the difference of centred logits"
        expect_close(got, want, what=what, hint="without T squared it would vanish", rtol=0.01, atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_alpha_of_zero_and_one(rng, temperature):
    """The parts alone: at 0 the cross-entropy, at 1 the distillation loss."""
    student, teacher, targets = *both(rng, 4, 6), randint(rng, 0, 6, 4)
    hard = -student.log_softmax(-1)[torch.arange(4), targets].mean()
    soft = distillation_loss(student, teacher, temperature)
    for alpha, want, name in ((0, hard, "the cross-entropy"), (1, soft, "the distillation loss")):
        got = combined_loss(student, teacher, targets, temperature=temperature, alpha=alpha)
        hint = "alpha belongs to the distillation, 1 - alpha to the cross-entropy"
        expect_close(got, want, what=f"combined_loss with alpha={alpha}, T={temperature:g}: {name}", hint=hint)


def test_labels_are_the_students_business(rng):
    """The cross-entropy is of the student; the teacher may be wrong about the label. One row works as many do."""
    for n in (1, 5):
        student, teacher, targets = *both(rng, n, 3, scale=4.0), randint(rng, 0, 3, n)
        want = -student.log_softmax(-1)[torch.arange(n), targets].mean()
        for other in (teacher, teacher.flip(-1)):
            got = combined_loss(student, other, targets, temperature=2.0, alpha=0.0)
            expect_close(
                got, want, what=f"combined_loss of {n} rows with alpha=0", hint="F.cross_entropy(student, ...)"
            )


def test_arguments_are_not_modified(rng):
    """The logits are needed again, and the teacher's may carry a graph that someone else wants."""
    student, teacher, targets = *both(rng, 3, 5), randint(rng, 0, 5, 3)
    mask = torch.tensor([True, False, True])
    source = teacher.clone().requires_grad_()
    carrying = source * 1
    with expect_unchanged(student, teacher, carrying, mask, targets, what="an argument"):
        for direction in ("forward", "reverse"):
            distillation_loss(student, teacher, 2.0, mask=mask, direction=direction)
            distillation_loss(student, carrying, 2.0, direction=direction)
            distillation_loss(student, source, 2.0, direction=direction)
        combined_loss(student, carrying, targets, temperature=2.0, alpha=0.5)
    hint = "teacher_logits.detach(), which returns another tensor"
    expect(carrying.requires_grad and source.requires_grad, "the teacher's logits should keep their graph", hint=hint)


@DIRECTIONS
def test_other_memory_layouts_give_the_same(rng, direction):
    """Logits that are transposed or a part of a larger tensor; the second call is as the first."""
    student, teacher = both(rng, 3, 4, 5)
    mask = randn(rng, 3, 4) > -0.5
    mask[0, 0] = True
    want = distillation_loss(student, teacher, 2.0, mask=mask, direction=direction)
    strided = torch.stack([student, student], -1)[..., 1]
    turned = teacher.transpose(0, 1).contiguous().transpose(0, 1)
    for _ in range(2):
        got = distillation_loss(strided, turned, 2.0, mask=mask.T.contiguous().T, direction=direction)
        expect_close(got, want, what="the loss of strided logits", hint="no view(-1, classes): reshape")
        whole = distillation_loss(strided, turned, 2.0, direction=direction)
        expect_close(whole, distillation_loss(student, teacher, 2.0, direction=direction), what="without a mask")


@pytest.mark.parametrize(("student", "teacher"), WRONG_SHAPES, ids=str)
def test_a_teacher_of_another_shape_is_an_error(student, teacher):
    """[1, 5] is broadcast to [3, 5] without a word, and [5] too."""
    with expect_raises(ValueError, what=f"distillation_loss of {student} and {teacher}", hint="compare the shapes"):
        distillation_loss(torch.zeros(student), torch.zeros(teacher), 1.0)
    if len(student) == 2:
        with expect_raises(ValueError, what=f"combined_loss of {student} and {teacher}", hint="compare the shapes"):
            targets = torch.zeros(student[0]).long()
            combined_loss(torch.zeros(student), torch.zeros(teacher), targets, temperature=1.0, alpha=0.5)


@pytest.mark.parametrize("shape", WRONG_MASKS, ids=str)
def test_a_mask_of_another_shape_is_an_error(shape):
    """An index by a mask of fewer dimensions selects whole rows, and one of more dimensions single classes."""
    with expect_raises(ValueError, what=f"distillation_loss of logits [2, 4, 3] and a mask {[*shape]}"):
        distillation_loss(torch.zeros(2, 4, 3), torch.ones(2, 4, 3), 1.0, mask=torch.ones(shape).bool())


@pytest.mark.parametrize("temperature", WRONG_TEMPERATURES, ids=str)
def test_wrong_temperatures_are_errors(temperature):
    """A temperature of 0 divides by 0, and a negative one prefers the worst class. Comparisons with NaN are False."""
    hint = "if not 0 < temperature < math.inf: raise ValueError"
    with expect_raises(ValueError, what=f"distillation_loss with temperature={temperature}", hint=hint):
        distillation_loss(torch.zeros(2, 3), torch.ones(2, 3), temperature)
    with expect_raises(ValueError, what=f"combined_loss with temperature={temperature}", hint=hint):
        combined_loss(torch.zeros(2, 3), torch.ones(2, 3), torch.tensor([0, 1]), temperature=temperature, alpha=0.5)


@pytest.mark.parametrize("direction", WRONG_DIRECTIONS, ids=repr)
def test_unknown_directions_are_errors(direction):
    """A misspelt word must not mean the other direction."""
    with expect_raises(ValueError, what=f"distillation_loss with direction={direction!r}"):
        distillation_loss(torch.zeros(2, 3), torch.ones(2, 3), 1.0, direction=direction)


@pytest.mark.parametrize("alpha", WRONG_ALPHAS, ids=str)
def test_alphas_outside_zero_and_one_are_errors(alpha):
    """One of the weights would be negative."""
    with expect_raises(ValueError, what=f"combined_loss with alpha={alpha}", hint="if not 0 <= alpha <= 1: raise"):
        combined_loss(torch.zeros(2, 3), torch.ones(2, 3), torch.tensor([0, 1]), temperature=1.0, alpha=alpha)


@pytest.mark.parametrize(("logits", "targets"), WRONG_LABELS, ids=str)
def test_labels_of_another_shape_are_errors(logits, targets):
    """One class number per row. cross_entropy takes [batch, classes, length] with [batch, length] too, and then the
    classes stand in another dimension than in the distillation."""
    with expect_raises(ValueError, what=f"combined_loss of logits {[*logits]} with targets {[*targets]}"):
        given = torch.zeros(logits), torch.ones(logits), torch.zeros(targets).long()
        combined_loss(*given, temperature=1.0, alpha=0.5)
