"""Stage 2. Overflows and what they leave alone, several micro-batches, clipping, state, missing gradients, arguments."""

import json

import pytest
import torch
from torch.optim import SGD, AdamW

from dojo.testing import called_for, expect, expect_close, expect_equal, expect_raises, numbers, randint
from dojo.testing.describe import describe
from katas.mixed_precision_step import LossScaler, MasterWeights

from .helpers import (
    INF,
    NAN,
    Weights,
    expect_no_gradients,
    expect_number,
    expect_same_state,
    expect_scale,
    expect_weights,
    slope_loss,
    state_of,
    stepped,
    trained,
)

ADAM = {"make": AdamW, "options": {"lr": 0.125}}
MOMENTUM = {"make": SGD, "options": {"lr": 0.5, "momentum": 0.5}}
GOOD = [numbers(0.5, -1), numbers(2)]


def bad(value, place=0):
    """Gradients with this value in the first or the last parameter."""
    slopes = [numbers(0.5, -1), numbers(2)]
    slopes[place] = slopes[place] * value
    return slopes


@pytest.mark.parametrize("kind", [ADAM, MOMENTUM], ids=["AdamW", "momentum"])
@pytest.mark.parametrize("value", [INF, NAN, 1e5], ids=["inf", "nan", "overflow"])
def test_a_skipped_step_never_happened(kind, value):
    """Zero gradients would still move weights by momentum and decay, and step Adam's counters. 8 * 1e5 is infinite in
    float16."""
    run = trained(numbers(1, 2), numbers(5), **kind)
    stepped(run, GOOD)
    for place in (0, 1):
        before = state_of(run)
        with called_for(f"a gradient of {value}"):
            result = stepped(run, bad(value, place), max_norm=1.0)
        what = f"after a step with a gradient of {value} in parameter {place}"
        expect_same_state(run, before, what, hint="call neither optimizer.step() nor anything that changes weights")
        expect_equal(result.skipped, True, what=f"skipped {what}", hint="what unscale returned")
        expect_number(result.grad_norm, INF, f"grad_norm {what}", hint="inf, whatever the norm would be")


def test_an_overflow_shrinks_the_scale_and_restarts_the_count():
    """Every step updates the scaler once. From 8, with interval 2."""
    run, scales = trained(numbers(1, 2), numbers(5), growth_interval=2), []
    for slopes in (GOOD, bad(INF), GOOD, bad(NAN), bad(INF), GOOD, GOOD, GOOD, GOOD):
        stepped(run, slopes, GOOD, GOOD)
        scales.append(run.scaler.scale)
    hint = "update(found_inf) once a step, skipped or not; not once for each micro-batch"
    want = [8.0, 4.0, 4.0, 2.0, 1.0, 1.0, 2.0, 2.0, 4.0]
    what = "the scale after good, inf, good, nan, inf, good, good, good, good"
    expect_equal(scales, want, what=what, hint=hint)


def test_the_step_after_a_skipped_one_is_as_if_there_was_none():
    """No infinite gradient is left to be added to, and the new scale is used all the way."""
    skips, none = (trained(numbers(1, 2), numbers(5), **MOMENTUM) for _ in range(2))
    for slopes in (GOOD, bad(INF), GOOD):
        result = stepped(skips, slopes)
        if not result.skipped:
            stepped(none, slopes)
    masters = [master.detach() for master in none.masters.masters]
    hint = "clear the gradients of a skipped step as well"
    expect_weights(skips, *masters, what="after good, overflow, good, against good, good,", hint=hint)


def test_gradients_are_divided_by_the_scale_of_their_backward():
    """The scale grows at the end of a step (here, of each): who divides after that, divides by too much."""
    run = trained(numbers(1, 2), numbers(5), growth_interval=1)
    results = [stepped(run, GOOD) for _ in range(3)]
    hint = "update() changes the scale, so it comes last"
    expect_weights(run, [-0.5, 5], [-1], what="after three steps, in each of which the scale grows,", hint=hint)
    for number, result in enumerate(results):
        expect_number(result.grad_norm, 5.25**0.5, f"grad_norm of step {number + 1}", hint=hint)
    expect_scale(run.scaler, 64, "the scale after three steps from 8", hint="one update for each step")


def test_micro_batches_add_up():
    """Shares of 1, 3 and 2 tokens are one step of 6: unscaled once, stepped once, and divided by nothing else."""
    shares = [[numbers(0.5, -1), numbers(2)], [numbers(1, 0), numbers(-0.5)], [numbers(0.25, 3), None]]
    run, adam = trained(numbers(1, 2), numbers(5)), trained(numbers(1, 2), numbers(5), **ADAM)
    result = stepped(run, *shares)
    what = "after three micro-batches with the gradients [0.5, -1], [1, 0], [0.25, 3] and [2], [-0.5], none,"
    hint = "gradients add up over the micro-batches; unscale once, after the last"
    expect_weights(run, [-0.75, 0], [3.5], what=what, hint=hint)
    expect_number(result.loss, 8.5 - 1.5 + 6.25, "the loss of three micro-batches", hint="the sum of all shares")
    expect_number(result.grad_norm, (1.75**2 + 4 + 1.5**2) ** 0.5, "grad_norm", hint="of the summed gradients")
    stepped(adam, *shares)
    count = adam.optimizer.state[adam.masters.masters[0]].get("step", torch.tensor(0.0))
    expect_close(count, torch.tensor(1.0), what="AdamW's step count after three micro-batches", hint="one step for all")


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_overflow_in_any_micro_batch_skips_all(place):
    """The first ones count as the last does: their infinities stay in the sum."""
    run = trained(numbers(1, 2), numbers(5))
    before, batches = state_of(run), [GOOD, GOOD, GOOD]
    batches[place] = bad(INF)
    result = stepped(run, *batches)
    hint = "gradients of all micro-batches are in the sum that unscale sees"
    expect_equal(result.skipped, True, what=f"skipped, with inf in micro-batch {place} of 3,", hint=hint)
    expect_same_state(run, before, f"after a step with inf in micro-batch {place} of 3", hint=hint)
    expect_scale(run.scaler, 4, "the scale after one overflow from 8", hint="one update for the step")


@pytest.mark.parametrize("scale", [1.0, 8.0, 1024.0])
def test_clipping_sees_the_true_gradients(scale):
    """Gradients [3, 0], [4]: the norm is 5. Scaled ones are longer, so a clip before unscale leaves almost nothing."""
    run = trained(numbers(1, 2), numbers(5), init_scale=scale)
    result = stepped(run, [numbers(3, 0), numbers(4)], max_norm=2.0)
    what = f"after the gradients [3, 0] and [4], clipped to 2, at scale {scale:g},"
    hint = "unscale, then clip: all gradients * max_norm / norm, by the norm of all of them together"
    expect_weights(run, [1 - 1.2, 2], [5 - 1.6], what=what, hint=hint, rtol=1e-5, atol=1e-5)
    expect_number(result.grad_norm, 5.0, "grad_norm with max_norm=2", hint="the norm before clipping")


def test_gradients_below_max_norm_are_left_alone():
    """Clipping never makes a gradient longer."""
    for most in (5.5, 1000.0, INF, None):
        run = trained(numbers(1, 2), numbers(5))
        result = stepped(run, [numbers(3, 0), numbers(4)], max_norm=most)
        what = f"after the gradients [3, 0] and [4], max_norm={most},"
        expect_weights(run, [-2, 2], [1], what=what, hint="clip only where the norm is above max_norm")
        expect_number(result.grad_norm, 5.0, f"grad_norm with max_norm={most}", hint="the norm, clipped or not")


def test_micro_batches_are_clipped_together():
    """Clipped one by one, [6, 0] and [-6, 4] would each lose a part; their sum [0, 4] has the norm 4."""
    run = trained(numbers(1, 2))
    result = stepped(run, [numbers(6, 0)], [numbers(-6, 4)], max_norm=4.5)
    hint = "clip once, after the last micro-batch"
    expect_weights(
        run, [1, -2], what="after micro-batches with the gradients [6, 0] and [-6, 4], max_norm=4.5,", hint=hint
    )
    expect_number(result.grad_norm, 4.0, "grad_norm", hint="of the sum")


def test_gradients_of_zero_are_a_good_step():
    """Their norm is 0, by which nothing may be divided."""
    run = trained(numbers(1, 2))
    result = stepped(run, [numbers(0, 0)], max_norm=1.0)
    expect_equal((result.grad_norm, result.skipped), (0.0, False), what="(grad_norm, skipped) of zero gradients")
    expect_weights(
        run, [1, 2], what="after gradients of zero", hint="max_norm / 0 is infinite, and 0 times that is NaN"
    )


@pytest.mark.parametrize("value", [1.0, INF], ids=["good", "skipped"])
def test_no_gradient_is_left_after_a_step(value):
    """Not in the parameters, and not in the masters."""
    run = trained(numbers(1, 2), numbers(5))
    stepped(run, bad(value), GOOD)
    expect_no_gradients(run, "after a skipped step" if value == INF else "after a step")


def test_parameters_without_gradients_are_left_out():
    """Frozen ones, and such as no micro-batch uses. With the state of a former step, AdamW would move them."""
    run = trained(numbers(1, 2), numbers(5), numbers(7), **ADAM)
    run.model.weights[2].requires_grad_(False)
    with called_for("a model with a frozen parameter"):
        stepped(run, [*GOOD, numbers(1)], max_norm=1.0)
    first = run.masters.masters[1].detach().clone()
    with called_for("micro-batches that leave a parameter out"):
        stepped(run, [numbers(1, 1), None, None], max_norm=1.0)
    hint = "a gradient of None stays None: the optimizer leaves such a master alone"
    expect_close(run.masters.masters[1], first, what="the master of a parameter without gradient", hint=hint)
    expect_close(run.masters.masters[2], torch.tensor([7.0]), what="the master of a frozen parameter", hint=hint)
    frozen = not run.model.weights[2].requires_grad
    expect(frozen, "a frozen parameter should stay frozen, but trains after a step", hint="leave requires_grad alone")


def test_a_step_in_which_nothing_has_a_gradient():
    """An empty list of gradients has no infinity, and the norm 0."""
    found = LossScaler(8.0).unscale([])
    sentence = f"unscale([]) should return False, but returned {describe(found)}"
    expect(found is False, sentence, hint="torch.stack([]) is an error")


def test_take_gradients_replaces():
    """What a master had from before is not added to. A parameter without gradient takes its master's away."""
    model = Weights(numbers(1, 2), numbers(5))
    masters = MasterWeights(model.parameters())
    slope_loss(model, GOOD).backward()
    masters.take_gradients()
    for weight in model.weights:
        weight.grad = None
    slope_loss(model, [numbers(1, 4), None]).backward()
    masters.take_gradients()
    hint = "master.grad = param.grad.float(), or None"
    what = "a master's gradient after two steps' take_gradients"
    expect_close(masters.masters[0].grad, torch.tensor([1.0, 4.0]), what=what, hint=hint)
    last = masters.masters[1].grad
    expect(
        last is None, f"a master whose parameter has no gradient should have None, but has {describe(last)}", hint=hint
    )


def test_write_back_is_in_place():
    """A captured graph, a view, or another module that shares the parameter, sees the new weights."""
    model = Weights(numbers(1, 2))
    masters, weight = MasterWeights(model.parameters()), model.weights[0]
    alias = weight.detach()
    with torch.no_grad():
        masters.masters[0].fill_(3)
    masters.write_back()
    hint = "param.copy_(master) under no_grad; param.data = ... gives it other memory"
    expect_equal(alias, torch.full((2,), 3.0).half(), what="a view of the parameter after write_back", hint=hint)
    good = weight.is_leaf and weight.requires_grad
    expect(good, "the parameter should be a leaf that trains after write_back", hint="copy under torch.no_grad()")


def test_a_transposed_weight(rng):
    """Strides are nobody's business."""
    turned = (randint(rng, -8, 9, 3, 2) / 4).half().t()
    run = trained(turned)
    slopes = (randint(rng, -8, 9, 2, 3) / 4).float()
    with called_for("a parameter that is not contiguous"):
        stepped(run, [slopes])
    expect_weights(run, turned.float() - slopes, what="after a step of a transposed weight", hint="no view(-1)")


def test_a_scaler_goes_on_from_its_state():
    """The count of good steps belongs to it: after 2 of 3 good steps, a new scaler grows with the next one. The state is
    saved while training goes on, and is no window on it."""
    scaler, other = (LossScaler(9.0, growth_interval=3) for _ in range(2))
    for found in (True, False, False):
        scaler.update(found)
    state = scaler.state_dict()
    try:
        text = json.dumps(state)
    except (TypeError, ValueError):
        text = ""
    sentence = f"state_dict() should be a dict of plain numbers, but is {describe(state)}"
    expect(isinstance(state, dict) and text, sentence, hint="floats and ints, no tensors")
    scaler.update(False)
    scaler.update(True)
    hint = "return a new dict; __dict__ itself changes with every update"
    expect_equal(json.dumps(state), text, what="the state after two more updates", hint=hint)
    other.load_state_dict(state)
    scales = [other.scale]
    for found in (False, False, True):
        other.update(found)
        scales.append(other.scale)
    hint = "the scale and the count of good steps, both ways"
    expect_equal(
        scales, [4.5, 9.0, 9.0, 4.5], what="the scale after loading, and after good, good, overflow", hint=hint
    )
    expect_equal(json.dumps(state), text, what="the state after updates of the scaler that loaded it", hint=hint)


def test_arguments_of_the_step():
    """Checked before anything changes."""
    for batches, most in (([], None), ([GOOD], 0.0), ([GOOD], -1.0), ([GOOD], NAN)):
        run = trained(numbers(1, 2), numbers(5))
        before, what = state_of(run), f"train_step with {len(batches)} micro-batches and max_norm={most}"
        with expect_raises(ValueError, what=what, hint="at least one micro-batch, and max_norm > 0 or None"):
            stepped(run, *batches, max_norm=most)
        expect_same_state(run, before, f"after {what}", hint="check first")
        expect_no_gradients(run, f"after {what}")
        expect_scale(run.scaler, 8, f"the scale after {what}", hint="check first")


@pytest.mark.parametrize(
    "wrong",
    [
        {"init_scale": 0.0},
        {"init_scale": -8.0},
        {"growth_factor": 1.0},
        {"growth_factor": 0.5},
        {"backoff_factor": 1.0},
        {"backoff_factor": 2.0},
        {"backoff_factor": 0.0},
        {"backoff_factor": -0.5},
        {"growth_interval": 0},
    ],
    ids=str,
)
def test_arguments_of_the_scaler(wrong):
    """A scale that grows after an overflow never finds its way."""
    LossScaler(8.0, growth_interval=1)
    hint = "init_scale > 0, growth_factor > 1, 0 < backoff_factor < 1, growth_interval >= 1"
    with expect_raises(ValueError, what=f"LossScaler with {wrong}", hint=hint):
        LossScaler(**wrong)
