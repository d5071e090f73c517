"""Stage 1. The norm and the clip, and a step over micro-batches of unequal counts."""

from importlib import import_module

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, expect_own_work, numbers
from katas.gradient_accumulation import clip_grad_norm

from .helpers import (
    DIVIDE,
    INF,
    clipped,
    counted,
    expect_clipped,
    expect_result,
    expect_weights,
    micro,
    random_grads,
    some,
    stepped,
    trained,
    with_grads,
)

ONE_FACTOR = "one factor for all gradients, max_norm / norm, where norm is that of all of them together"
LOOSE = {"rtol": 2e-6, "atol": 1e-9}  # torch's 1e-6 beside a norm of 1 or more
FORBIDDEN = (
    "torch.nn.utils.clip_grad", "torch.nn.utils.clip_grad_norm_", "torch.nn.utils.clip_grad_norm",
    "torch.nn.utils.clip_grads_with_norm_", "torch.nn.utils.get_total_norm",
)  # fmt: skip


def test_the_clip_is_your_own():
    clip_grad_norm([], 1.0)  # an unwritten one is not started
    expect_own_work(import_module("katas.gradient_accumulation"), FORBIDDEN)


def test_the_norm_is_of_all_gradients_together():
    """[3, 0] and [4] are one vector of length 5, not two of 3 and 4, which would add up to 7."""
    norm, _ = clipped(numbers(3, 0), numbers(4), max_norm=INF)
    hint = "the root of the sum of all squares; the norm of the parameters' norms is the same"
    expect_close(norm, numbers(5)[0], what="the norm of the gradients [3, 0] and [4]", hint=hint)


def test_clipping_one_gradient():
    """[3, -4] has the norm 5; at most 2.5 is half of it, for each element."""
    norm, grads = clipped(numbers(3, -4), max_norm=2.5)
    expect_clipped(grads, [numbers(1.5, -2)], what="of [3, -4] clipped to 2.5", hint=ONE_FACTOR, **LOOSE)
    expect_close(norm, numbers(5)[0], what="the norm that is returned", hint="the one from before clipping")


def test_all_gradients_are_scaled_by_one_factor():
    """A small gradient shrinks as much as a large one, so that the step keeps its direction."""
    norm, grads = clipped(numbers(6, 0), numbers(0.5), numbers(-8, 0.25), max_norm=2.0)
    factor = 2.0 / (36 + 0.25 + 64 + 0.0625) ** 0.5
    want = [factor * numbers(6, 0), factor * numbers(0.5), factor * numbers(-8, 0.25)]
    expect_clipped(grads, want, what="of [6, 0], [0.5], [-8, 0.25] clipped to 2", hint=ONE_FACTOR, **LOOSE)
    expect_close(norm, numbers(2 / factor)[0], what="the norm that is returned", hint="the one from before clipping")


def test_the_norm_after_clipping_is_max_norm(rng):
    """And clipping what is clipped changes nothing more."""
    grads = random_grads(rng, (3, 2), (5,), (1,))
    parameters = with_grads(*(3 * grad for grad in grads))
    for most in (1.5, 1.0):
        clip_grad_norm(parameters, most)
        got = torch.cat([parameter.grad.flatten() for parameter in parameters]).norm()
        expect_close(got, numbers(most)[0], what=f"the norm after clipping to {most}", hint=ONE_FACTOR, **LOOSE)


@pytest.mark.parametrize("most", [5.5, 1000.0, INF])
def test_a_norm_below_the_limit_changes_nothing(most):
    """Clipping never makes gradients longer."""
    norm, grads = clipped(numbers(3, 0), numbers(4), max_norm=most)
    hint = "scale only where the norm is above max_norm"
    expect_clipped(grads, [numbers(3, 0), numbers(4)], what=f"of [3, 0] and [4] clipped to {most}", hint=hint)
    expect_close(norm, numbers(5)[0], what=f"the norm at max_norm={most}", hint="the norm, whether it clips or not")


def test_gradients_are_clipped_in_place():
    """What else holds the gradient, such as a bucket that is sent to other machines, sees the clipped one."""
    parameters = with_grads(numbers(3, 0), numbers(4))
    before = [parameter.grad for parameter in parameters]
    clip_grad_norm(parameters, 2.5)
    same = all(parameter.grad is grad for parameter, grad in zip(parameters, before, strict=True))
    expect(same, "the .grad of a parameter should be the same tensor after clipping, but is another", hint="grad.mul_")
    expect_clipped(before, [numbers(1.5, 0), numbers(2)], what="of [3, 0] and [4] clipped to 2.5", hint="", **LOOSE)


def test_a_step_of_one_micro_batch():
    """Rows [2, -4] and [4, 0]: the loss is their mean dot product with the weights [1, 3], and lr is 1."""
    run = trained(numbers(1, 3))
    result = stepped(run, micro([[2, -4], [4, 0]]))
    hint = "loss_sum gives a sum: divide by the number of its items"
    expect_weights(run, [-2, 5], what="after a step of one micro-batch with the mean gradient [3, -2]", hint=hint)
    expect_result(result, (-10 + 4) / 2, 2, 13**0.5, what="of one micro-batch", hint=hint)


def test_two_halves_are_the_whole(rng):
    """Six rows in two micro-batches of three, and all at once."""
    x, y = some(rng, 6, 2)
    whole, halves = trained(numbers(1, 2)), trained(numbers(1, 2))
    want, got = stepped(whole, (x, y)), stepped(halves, (x[:3], y[:3]), (x[3:], y[3:]))
    what = "after a step of two micro-batches of 3 rows, against one of 6"
    expect_weights(halves, *whole.model.weights, what=what, hint=DIVIDE)
    expect_result(got, *want, what="of two micro-batches of 3 rows, against one of 6")


def test_every_item_counts_the_same():
    """2 items with the gradient [1, 0] and 30 with [0, 1]. A mean of the two means would be [0.5, 0.5]: each of the 2 would
    count as much as 15 of the others."""
    run = trained(numbers(0, 0))
    result = stepped(run, micro([[1, 0]], repeat=2), micro([[0, 1]], repeat=30))
    what = "after a step of 2 items with the gradient [1, 0] and 30 with [0, 1]"
    hint = DIVIDE + "; a mean of the micro-batches' means is another number"
    expect_weights(run, [-2 / 32, -30 / 32], what=what, hint=hint)
    expect_result(result, 0.0, 32, (4 + 900) ** 0.5 / 32, what="of 2 and 30 items", hint=hint)


def test_the_loss_is_that_of_all_items():
    """1 item of loss 9 and 3 of loss 1: 12 / 4, where the mean of the means is 5."""
    result = stepped(trained(numbers(1)), micro([[9]]), micro([[1]], repeat=3))
    expect_result(result, 3.0, 4, 3.0, what="of one item of 9 and three of 1")


def test_padding_is_not_counted():
    """y has 3 and 4 elements, of which 1 and 3 are items: only loss_sum knows."""
    run = trained(numbers(0, 0))
    result = stepped(run, micro([[4, 0], [9, 9], [9, 9]], [1, 0, 0]), micro([[0, 4]] * 4, [1, 0, 1, 1]))
    hint = "the number of items is what loss_sum returns, not the number of rows"
    expect_weights(run, [-1, -3], what="after 1 item of 3 rows and 3 items of 4", hint=hint)
    expect_equal(result.items, 4, what="items of 1 and 3 among 7 rows", hint=hint)


def test_a_count_is_any_number():
    """A row may hold many items: here each counts 10."""
    run = trained(numbers(0), loss_sum=lambda outputs, y: (outputs.sum(), 10 * len(y)))
    result = stepped(run, micro([[5]]), micro([[40], [105]]))
    expect_weights(run, [-5], what="after 3 rows with the gradients 5, 40, 105 and 10 items each", hint=DIVIDE)
    expect_result(result, 0.0, 30, 5.0, what="of 3 rows of 10 items")


def test_the_step_clips_the_gradients_of_the_mean():
    """Rows that add up to [30, 40] over 4 items: the mean's gradient [7.5, 10] has the norm 12.5, clipped to 2.5."""
    run = trained(numbers(0, 0))
    result = stepped(run, micro([[30, 0]]), micro([[0, 20], [0, 10], [0, 10]]), max_norm=2.5)
    hint = "divide by the number of items, then clip, then step"
    expect_weights(run, [-1.5, -2], what="after the mean gradient [7.5, 10] clipped to 2.5", hint=hint, **LOOSE)
    expect_result(result, 0.0, 4, 12.5, what="clipped to 2.5", hint=hint)


def test_a_small_mean_is_not_clipped():
    """The sums [30, 40] are above the limit, their mean [7.5, 10] is not."""
    run = trained(numbers(0, 0))
    stepped(run, micro([[30, 0]]), micro([[0, 20], [0, 10], [0, 10]]), max_norm=20.0)
    hint = "divide by the number of items before you look at the norm"
    expect_weights(run, [-7.5, -10], what="after the mean gradient [7.5, 10], max_norm=20", hint=hint)


def test_what_micro_batches_have_in_common_is_clipped_once():
    """[6, 0] and [-6, 4] would each lose a part; together they are [0, 4] over 2 items, of norm 2."""
    run = trained(numbers(0, 0))
    result = stepped(run, micro([[6, 0]]), micro([[-6, 4]]), max_norm=2.5)
    hint = "clip once, after the last micro-batch: what the optimizer will see"
    expect_weights(run, [0, -2], what="after the gradients [6, 0] and [-6, 4], max_norm=2.5", hint=hint)
    expect_result(result, 0.0, 2, 2.0, what="of the gradients [6, 0] and [-6, 4]", hint=hint)


def test_one_step_of_the_optimizer_for_all_micro_batches():
    """SGD with momentum 1 moves by 1 gradient, then by 2: two steps of half the size would not end at the same place."""
    run = trained(numbers(0), momentum=1.0)
    stepped(run, micro([[1]]), micro([[3]]))
    expect_weights(run, [-2], what="after a step of the gradients 1 and 3, with momentum", hint="step() after the loop")
    stepped(run, micro([[2]] * 3), micro([[2]]))
    expect_weights(run, [-6], what="after a second step, of the gradient 2", hint="step() after the loop")


def test_old_gradients_are_discarded():
    """What the step before, or somebody else, has left in .grad."""
    run = trained(numbers(1))
    counted(run.model(micro([[7]])[0]), torch.tensor([1]))[0].backward()
    for step in (1, 2):
        result = stepped(run, micro([[1]]), micro([[3]]))
        what = f"after step {step} of the mean gradient 2, with gradients left over from before"
        expect_weights(run, [1 - 2 * step], what=what, hint="zero_grad() once, before the first backward")
        expect_equal(result.items, 2, what=f"items of step {step}", hint="start at 0")
