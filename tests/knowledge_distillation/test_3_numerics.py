"""Stage 3. Excluded classes, logits of 1e4, every floating dtype, gradients."""

import math

import pytest
import torch

from dojo.testing import (
    FLOATS,
    HALVES,
    backward,
    expect,
    expect_close,
    expect_equal,
    expect_gradients,
    expect_graph,
    numbers,
    randint,
    roundings,
)
from katas.knowledge_distillation import combined_loss, distillation_loss

from .helpers import INF, NAN, SELECT, WIDEN, both, logs, scalar, wide

EVERY = pytest.mark.parametrize("dtype", FLOATS, ids=str)
DIRECTIONS = pytest.mark.parametrize("direction", ["forward", "reverse"])
HUGE = 8192.0  # a power of two: exact in every dtype
EXCLUDED = "0 times -inf is NaN: replace log p - log q where the weight is 0, before the product"
LOGS = "log_softmax of both: never the logarithm of a softmax, no epsilon, no clamp"


def graded(student, teacher, temperature, **options):
    """The loss, and the gradient of the student's logits."""
    leaf = student.clone().requires_grad_()
    got = distillation_loss(leaf, teacher, temperature, **options)
    backward(got, what="the loss")
    return got.detach(), leaf.grad


@EVERY
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_class_that_the_first_distribution_excludes_contributes_nothing(dtype, temperature):
    """Weights 1/4, 3/4 and 0, of ratios 1, 3 and 0: 3/4 log 3. Forward the teacher excludes the class, in reverse the
    student. Inputs are rounded to the dtype. Tolerance: those roundings, times T squared."""
    few, all_three = logs((1, 3, 0), scale=temperature, dtype=dtype), logs((1, 1, 2), scale=temperature, dtype=dtype)
    want = scalar(temperature**2 * 0.75 * math.log(3), wide(dtype))
    close = roundings(8 * temperature**2, dtype)
    for direction, given in (("forward", (all_three, few)), ("reverse", (few, all_three))):
        got, grad = graded(*given, temperature, direction=direction)
        what = f"the {direction} loss where the first distribution excludes a class, in {dtype}"
        expect_close(got, want, what=what, hint=EXCLUDED, **close)
        expect(grad.isfinite().all(), f"the gradient of {what} should be finite, but is {grad}", hint=EXCLUDED)


@DIRECTIONS
def test_a_class_that_both_exclude_is_not_there(rng, direction):
    """A banned token: the loss and the gradients of the other classes are those without it, and its gradient is 0."""
    student, teacher = both(rng, 3, 4)
    want, slope = graded(student, teacher, 2.0, direction=direction)
    banned = torch.full((3, 1), -INF, dtype=torch.float64)
    widened = [torch.cat([logits[:, :2], banned, logits[:, 2:]], 1) for logits in (student, teacher)]
    got, grad = graded(*widened, 2.0, direction=direction)
    what = f"the {direction} loss with a class that both exclude"
    expect_close(got, want, what=f"{what}, against that without the class", hint=EXCLUDED)
    expect_close(grad[:, [0, 1, 3, 4]], slope, what=f"the gradient of the other classes in {what}", hint=EXCLUDED)
    expect_close(grad[:, 2], numbers(0, 0, 0), what=f"the gradient of that class in {what}", hint=EXCLUDED)


@DIRECTIONS
def test_a_class_that_only_the_second_distribution_excludes_costs_infinity(direction):
    """A student that finds impossible what its teacher does has a forward KL of inf. A clamp or an epsilon hides it."""
    few, all_three = logs((1, 3, 0)), logs((1, 1, 2))
    given = (few, all_three) if direction == "forward" else (all_three, few)
    got = distillation_loss(*given, 2.0, direction=direction)
    expect_close(got, scalar(INF), what=f"the {direction} loss where only the second excludes a class", hint=LOGS)


@EVERY
@DIRECTIONS
@pytest.mark.parametrize("temperature", [1.0, 0.0625])
def test_huge_logits_stay_finite(dtype, direction, temperature):
    """Opposite opinions by 8192: T^2 times 8192/T, whose quotient is 131072 at T = 1/16, above what float16 holds. Where
    they agree it is 0. A constant in each row changes nothing. Tolerance: 3 roundings of T times the largest logit."""
    one, other = torch.tensor([[0.0, HUGE]]), torch.tensor([[HUGE, 0.0]])
    for shift in (0.0, HUGE, -HUGE):
        student, teacher = (one + shift).to(dtype), other.to(dtype)
        got, grad = graded(student, teacher, temperature, direction=direction)
        what = f"the {direction} loss of student {student[0].tolist()} and teacher [8192, 0] at T={temperature:g}"
        close = roundings(3, wide(dtype), 2 * HUGE * temperature)
        hint = f"{LOGS}; {WIDEN}"
        expect_close(got, scalar(temperature * HUGE, wide(dtype)), what=f"{what} in {dtype}", hint=hint, **close)
        want = temperature * (numbers(-1, 1, dtype=dtype) if direction == "forward" else torch.zeros(2, dtype=dtype))
        expect_close(grad[0], want, what=f"the gradient of {what} in {dtype}", hint=hint)
        got = distillation_loss(student, student.clone(), temperature, direction=direction)
        what = f"the {direction} loss of logits {student[0].tolist()} for both at T={temperature:g} in {dtype}"
        expect_close(got, scalar(0, wide(dtype)), what=what, hint=hint)


@EVERY
@DIRECTIONS
def test_losses_are_computed_in_float32_at_least(rng, dtype, direction):
    """Inputs are multiples of 1/8, exact in every dtype; a quotient by 3 is exact in none. Tolerance: 16 roundings of the
    largest logit times T."""
    student, teacher = ((8 * logits).round() / 8 for logits in both(rng, 3, 5))
    got = distillation_loss(student.to(dtype), teacher.to(dtype), 3.0, direction=direction)
    want, what = distillation_loss(student, teacher, 3.0, direction=direction), f"the {direction} loss in {dtype}"
    expect_equal(getattr(got, "dtype", None), wide(dtype), what=f"the dtype of {what}", hint=WIDEN)
    close = roundings(16, wide(dtype), 24.0)
    expect_close(got.double(), want, what=f"{what}, beside float64", hint=WIDEN, **close)


@EVERY
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_combined_losses_are_computed_in_float32_at_least(rng, dtype, alpha):
    """The cross-entropy too: it is 0.1 wrong where 65 nats are rounded to bfloat16."""
    student, teacher, targets = *((8 * z).round() / 8 for z in both(rng, 3, 5)), randint(rng, 0, 5, 3)
    student[:, 4] = 64
    targets[0] = 0
    got = combined_loss(student.to(dtype), teacher.to(dtype), targets, temperature=3.0, alpha=alpha)
    want = combined_loss(student, teacher, targets, temperature=3.0, alpha=alpha)
    what = f"combined_loss in {dtype} with alpha={alpha}"
    expect_equal(getattr(got, "dtype", None), wide(dtype), what=f"the dtype of {what}", hint=WIDEN)
    expect_close(got.double(), want, what=f"{what}, beside float64", hint=WIDEN, **roundings(16, wide(dtype), 200.0))


@DIRECTIONS
def test_student_and_teacher_may_differ_in_dtype(rng, direction):
    """A teacher is often kept in bfloat16, and a student trained in float32, or the other way round."""
    student, teacher = ((8 * logits).round() / 8 for logits in both(rng, 3, 5))
    want = distillation_loss(student, teacher + 0.001, 3.0, direction=direction)
    pairs = [(narrow, torch.float32) for narrow in HALVES] + [(torch.float32, torch.float64)]
    for narrow, other in pairs:
        # the one that is narrow is exact in it; 0.001 is what the other one would lose
        got = distillation_loss(student.to(narrow), (teacher + 0.001).to(other), 3.0, direction=direction)
        swapped = distillation_loss((student + 0.001).to(other), teacher.to(narrow), 3.0, direction=direction)
        wanted = distillation_loss(student + 0.001, teacher, 3.0, direction=direction)
        for value, right, who in ((got, want, "student"), (swapped, wanted, "teacher")):
            what = f"the {direction} loss of a {narrow} {who} beside {other}"
            expect_equal(value.dtype, other, what=f"the dtype of {what}", hint=WIDEN)
            close = roundings(16, torch.float32, 24.0)
            expect_close(value.double(), right, what=f"{what}, against float64", hint=WIDEN, **close)
    targets = randint(rng, 0, 5, 3)
    got = combined_loss(student.float(), teacher, targets, temperature=3.0, alpha=0.5)
    expect_equal(got.dtype, torch.float64, what="the dtype of combined_loss of float32 beside float64", hint=WIDEN)


def test_float64_keeps_its_digits():
    """float32 has 7 of them. Tolerance: 4 roundings of the largest logit in float64."""
    got = distillation_loss(numbers(0, 100 / 7)[None], numbers(100 / 7, 0)[None], 1.0)
    want = 100 / 7 * math.tanh(50 / 7)
    close = roundings(4, torch.float64, 20.0)
    expect_close(got, scalar(want), what="the loss of logits [0, 100/7] and [100/7, 0]", hint=WIDEN, **close)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 100.0])
def test_the_gradient_is_a_difference_of_softmaxes(rng, temperature):
    """T (softmax(s / T) - softmax(t / T)) / n. Its size hardly depends on T, since the difference shrinks like 1 / T."""
    student, teacher = both(rng, 3, 5)
    _, grad = graded(student, teacher, temperature)
    want = temperature * ((student / temperature).softmax(-1) - (teacher / temperature).softmax(-1)) / 3
    hint = "T squared, and one 1/T from the chain rule"
    expect_close(grad, want, what=f"the gradient of the forward loss at T={temperature:g}", hint=hint)


@DIRECTIONS
def test_gradients(rng, direction):
    """Finite differences in float64, with a mask and without. In reverse the weights depend on the student too."""
    student, teacher = both(rng, 2, 3, 4)
    mask = torch.tensor([[1, 0, 1], [0, 1, 1]]).bool()
    for given in (None, mask):
        what = f"distillation_loss, {direction}, {'with' if given is mask else 'without'} a mask"

        def loss(z, given=given):
            return distillation_loss(z, teacher, 2.0, mask=given, direction=direction)

        expect_gradients(loss, [student], what=what, hint="the student is detached nowhere")


@DIRECTIONS
@pytest.mark.parametrize("value", [NAN, -INF], ids=str)
def test_padding_gets_no_gradient(rng, value, direction):
    """torch.where after the exponential gives a right loss and a gradient of NaN: its backward pass multiplies by 0."""
    student, teacher = both(rng, 2, 3, 4)
    mask = torch.tensor([[1, 0, 1], [0, 1, 1]]).bool()
    _, want = graded(student, teacher, 2.0, mask=mask, direction=direction)
    expect_equal(want[~mask].abs(), torch.zeros(2, 4).double(), what="the gradient of padding", hint=SELECT)
    student[~mask] = value
    teacher[~mask] = value
    _, grad = graded(student, teacher, 2.0, mask=mask, direction=direction)
    expect_close(grad, want, what=f"the gradient of the {direction} loss with {value} in the padding", hint=SELECT)


@DIRECTIONS
def test_no_gradient_reaches_the_teacher(rng, direction):
    """Both would meet in the middle: the teacher learns from the student. One model may be both."""
    student, teacher = (logits.requires_grad_() for logits in both(rng, 3, 5))
    hint = "teacher_logits.detach()"
    backward(distillation_loss(student, teacher, 2.0, direction=direction), what="the loss")
    idle = teacher.grad is None or not teacher.grad.any()
    expect(idle, "teacher_logits should get no gradient, but gets one", hint=hint)
    expect(student.grad is not None and student.grad.any(), "student_logits should get a gradient", hint=hint)
    backward(combined_loss(student, teacher, randint(rng, 0, 5, 3), temperature=2.0, alpha=0.5), what="combined_loss")
    idle = teacher.grad is None or not teacher.grad.any()
    expect(idle, "teacher_logits should get no gradient of combined_loss, but gets one", hint=hint)


@DIRECTIONS
def test_nothing_to_count_has_a_graph(rng, direction):
    """A batch in which nothing counts does not stop the training with an error or NaN."""
    student, teacher = both(rng, 2, 3, 5)
    leaf = student.requires_grad_()
    for given, mask in ((leaf, torch.zeros(2, 3).bool()), (leaf[:0], None)):
        got = distillation_loss(given, teacher[: len(given)], 2.0, mask=mask, direction=direction)
        what = "the loss of an empty batch" if mask is None else "the loss with nothing to count"
        expect_graph(got, what=what, hint="sum what is selected, and divide by at least 1")
        backward(got, what=what)
        grad = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        expect_equal(grad.abs(), torch.zeros_like(leaf), what=f"the gradient of {what}")


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_the_gradient_of_the_combination(rng, alpha):
    """alpha T (softmax(s / T) - softmax(t / T)) / n, and 1 - alpha of softmax(s) minus one-hot, over n."""
    student, teacher, targets = *both(rng, 3, 5), randint(rng, 0, 5, 3)
    leaf = student.clone().requires_grad_()
    backward(combined_loss(leaf, teacher, targets, temperature=2.0, alpha=alpha), what="combined_loss")
    soft = 2 * ((student / 2).softmax(-1) - (teacher / 2).softmax(-1)) / 3
    hard = (student.softmax(-1) - torch.eye(5).double()[targets]) / 3
    what = f"the gradient of combined_loss with alpha={alpha} at T=2"
    expect_close(leaf.grad, alpha * soft + (1 - alpha) * hard, what=what, hint="detach nothing but the teacher")
