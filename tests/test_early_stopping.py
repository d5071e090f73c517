"""What any right stopper and schedules do. Values and rates are short binary fractions, so that `>` means what it says."""

import copy
import gc
import math
import warnings
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, StepLR

from dojo.testing import expect, expect_close, expect_equal, expect_raises, expect_unchanged
from katas.early_stopping import EarlyStopping, step_lr, warmup_cosine_lr

NAN = float("nan")


def expect_stop(values, epoch, hint, **options):
    """Exactly the epoch numbered `epoch` (from 1) and those after it are told to stop; 0: none is."""
    stopper = EarlyStopping(**options)
    answers = [bool(stopper.step(value)) for value in values]
    want = [0 < epoch <= number for number in range(1, len(values) + 1)]
    shown = ", ".join(f"{key}={value!r}" for key, value in options.items())
    expect_equal(answers, want, what=f"what EarlyStopping({shown}) says to {list(values)}", hint=hint)


def expect_rates(rates, want, what, hint):
    rates = torch.tensor([float(rate) for rate in rates], dtype=torch.float64)
    want = torch.tensor(want, dtype=torch.float64)
    expect_close(rates, want, what=what, hint=hint, rtol=1e-12, atol=1e-15)


# Stage 1: patience, both schedules


@pytest.mark.stage(1)
@pytest.mark.parametrize("patience", [1, 2, 4])
def test_it_stops_at_the_epoch_that_uses_the_patience_up(patience):
    """Two good epochs, then bad ones: with a patience of 2 the second bad one stops, not the first and not the third."""
    values = [4.0, 2.0, 3.0, 3.5, 2.5, 6.0]
    hint = "count the epochs without improvement, this one included, and stop when there are `patience` of them"
    expect_stop(values, 2 + patience, hint, patience=patience)


@pytest.mark.stage(1)
def test_an_improvement_starts_the_count_anew():
    """Patience is about epochs in a row: three bad ones with good ones between them are no reason to stop."""
    values = [4.0, 5.0, 3.0, 5.0, 2.0, 5.0, 1.0, 2.0, 2.0]
    expect_stop(values, 9, "set the count back to 0 at every improvement", patience=2)


@pytest.mark.stage(1)
def test_values_are_compared_with_the_best_one_and_not_with_the_last():
    """5, 4, 3 falls all the time, and still does not reach the 1 from before."""
    expect_stop([1.0, 5.0, 4.0, 3.0], 4, "remember the best value so far, not the previous one", patience=3)


@pytest.mark.stage(1)
def test_an_equal_value_is_no_improvement():
    """A model that has collapsed repeats its loss for ever: `<=` would wait as long."""
    expect_stop([2.0, 2.0, 2.0], 3, "an improvement is strictly better: <, not <=", patience=2)


@pytest.mark.stage(1)
def test_in_mode_max_higher_is_better():
    """The same numbers are bad news as a loss and good news as an accuracy."""
    values = [0.25, 0.5, 0.75, 0.5, 0.75]
    expect_stop(values, 5, "mode='max' turns the comparison round", patience=2, mode="max")
    expect_stop(values, 3, "mode='min' is the default", patience=2)


@pytest.mark.stage(1)
def test_step_decay_multiplies_by_gamma_after_every_step_size_epochs():
    """A staircase: the first step_size epochs, 0 included, have the full rate."""
    rates = [step_lr(0.5, epoch, 3, 0.1) for epoch in range(10)]
    want = [0.5, 0.5, 0.5, 0.05, 0.05, 0.05, 0.005, 0.005, 0.005, 0.0005]
    hint = "gamma to the power epoch // step_size (whole steps only), times base_lr"
    expect_rates(rates, want, "step_lr(0.5, epoch, step_size=3, gamma=0.1) over epochs 0 to 9", hint)


@pytest.mark.stage(1)
def test_the_warm_up_is_linear_from_zero_to_the_base_rate():
    """Adam's first steps divide by a variance of one sample; small rates keep them from doing harm."""
    rates = [warmup_cosine_lr(s, base_lr=2.0, warmup_steps=4, total_steps=100) for s in range(5)]
    hint = "base_lr * step / warmup_steps: 0 at step 0, base_lr at step warmup_steps"
    expect_rates(rates, [0.0, 0.5, 1.0, 1.5, 2.0], "the rates of steps 0 to 4 with warmup_steps=4", hint)


@pytest.mark.stage(1)
def test_the_decay_is_half_a_cosine():
    """Worked numbers: (1 + cos(pi p)) / 2 is 1, 3/4, 1/2, 1/4 and 0 at p = 0, 1/3, 1/2, 2/3 and 1."""
    rates = [warmup_cosine_lr(s, base_lr=2.0, warmup_steps=2, total_steps=14) for s in (2, 6, 8, 10, 14)]
    hint = "p = (step - warmup_steps) / (total_steps - warmup_steps), and half a period: cos(pi * p), from 1 to -1"
    expect_rates(rates, [2.0, 1.5, 1.0, 0.5, 0.0], "the rates of steps 2, 6, 8, 10, 14 (2 of 14 warm up)", hint)


@pytest.mark.stage(1)
def test_the_cosine_ends_at_min_lr():
    """The cosine spans the way from base_lr to min_lr; it is neither lifted by min_lr nor cut off at it."""
    rates = [warmup_cosine_lr(s, base_lr=2.0, warmup_steps=0, total_steps=6, min_lr=0.5) for s in (0, 2, 3, 4, 6)]
    hint = "min_lr + (base_lr - min_lr) * (1 + cos(pi * p)) / 2"
    expect_rates(rates, [2.0, 1.625, 1.25, 0.875, 0.5], "the rates of steps 0, 2, 3, 4, 6 of 6 with min_lr=0.5", hint)


# Stage 2: min_delta, NaN, after the stop, no warm-up, wrong arguments


@pytest.mark.stage(2)
@pytest.mark.parametrize(("mode", "sign"), [("min", 1), ("max", -1)])
def test_only_a_gain_of_more_than_min_delta_counts(mode, sign):
    """A gain of exactly 0.25 is none, of 0.375 is one: in either mode, and for values of either sign."""
    options = {"patience": 2, "min_delta": 0.25, "mode": mode}
    hint = "improved means value < best - min_delta, or value > best + min_delta in mode 'max': strictly, no factor"
    expect_stop([sign * v for v in (1.0, 0.75, 0.875)], 3, hint, **options)
    expect_stop([sign * v for v in (1.0, 0.75, 0.625, 0.5)], 0, hint, **options)
    expect_stop([sign * v for v in (-8.0, -8.25, -8.5, -8.25, -8.5, -8.75)], 5, hint, **options)


@pytest.mark.stage(2)
def test_small_gains_do_not_move_the_best_value():
    """Gains of 0.125 add up: the third one is 0.375 better than the best. A best value that follows every small gain
    stops a model that is still learning."""
    values = [2.0, 1.875, 1.75, 1.625, 1.5, 1.375, 1.25]
    hint = "move the best value only together with the reset: in the branch of a real improvement"
    expect_stop(values, 0, hint, patience=3, min_delta=0.25)
    expect_stop(values, 3, hint, patience=2, min_delta=0.25)


@pytest.mark.stage(2)
@pytest.mark.parametrize("mode", ["min", "max"])
def test_nan_is_no_improvement(mode):
    """Every comparison with NaN is false: `not value >= best` takes it for the best there ever was, and then nothing
    beats it. As the first value it must not become the best one either."""
    hint = (
        "ask whether the value is better, never whether it is not worse; start without a best value, or with infinity; "
        "and count the epoch like any other bad one"
    )
    expect_stop([1.0, NAN, NAN, NAN], 4, hint, patience=3, mode=mode)
    better, worse = (1.0, 2.0) if mode == "min" else (2.0, 1.0)
    expect_stop([NAN, worse, better, worse, NAN], 5, hint, patience=2, mode=mode)
    expect_stop([NAN, NAN], 2, hint, patience=2, mode=mode)


@pytest.mark.stage(2)
@pytest.mark.parametrize("first", [0.0, 1e30, -1e30, -3.0])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_first_value_is_the_best_so_far_whatever_it_is(mode, first):
    """0 is a value (and falsy), losses may be huge, log-likelihoods are negative: a start of 0 or 1e9 is a guess."""
    worse = first + math.copysign(max(1.0, abs(first)), 1 if mode == "min" else -1)
    hint = "start from infinity (minus infinity in mode 'max') or None, and test `is None`, not truth"
    expect_stop([first, worse, worse, first], 4, hint, patience=3, mode=mode)
    expect_stop([worse, worse, first, worse, worse], 5, hint, patience=2, mode=mode)


@pytest.mark.stage(2)
def test_a_stop_is_final():
    """Whoever asks again, on another worker or after a late improvement, gets the same answer."""
    expect_stop([2.0, 3.0, 3.0, 1.0, 0.5, 3.0], 3, "once stopped, step() answers True to everything", patience=2)


@pytest.mark.stage(2)
def test_two_stoppers_share_nothing():
    """One for the loss, one for the accuracy: a counter on the class would make them one."""
    first, second = EarlyStopping(2), EarlyStopping(2)
    for value in (1.0, 2.0):
        first.step(value)
    answers = [bool(second.step(value)) for value in (3.0, 3.5, 2.5)]
    expect_equal(answers, [False] * 3, what="a second stopper", hint="keep best and count on self, not on the class")


@pytest.mark.stage(2)
@pytest.mark.parametrize(
    "options",
    [{"patience": 0}, {"patience": -1}, {"patience": 2, "min_delta": -0.5}, {"patience": 2, "min_delta": NAN}]
    + [{"patience": 2, "mode": mode} for mode in ("auto", "Max", "")],
    ids=str,
)
def test_a_stopper_that_makes_no_sense_is_an_error(options):
    """With a patience of 0 training stops before it starts; an unknown mode that means 'min' ruins an accuracy."""
    with expect_raises(ValueError, what=f"EarlyStopping(**{options})", hint="check the arguments in __init__"):
        EarlyStopping(**options)


@pytest.mark.stage(2)
@pytest.mark.parametrize(("epoch", "step_size"), [(-1, 2), (3, 0), (3, -2)])
def test_step_decay_rejects_impossible_arguments(epoch, step_size):
    """-1 // 2 is -1: the rate would rise above base_lr."""
    with expect_raises(ValueError, what=f"step_lr(0.1, {epoch}, {step_size}, 0.5)", hint="check before you divide"):
        step_lr(0.1, epoch, step_size, 0.5)


@pytest.mark.stage(2)
@pytest.mark.parametrize(("step", "warmup", "total"), [(-1, 2, 8), (-1, 0, 0), (3, -1, 8), (3, 9, 8), (10, 9, 8)])
def test_warmup_cosine_rejects_impossible_arguments(step, warmup, total):
    """A warm-up longer than the run never reaches base_lr, which is hardly what was meant."""
    with expect_raises(ValueError, what=f"step {step} with warmup_steps={warmup}, total_steps={total}"):
        warmup_cosine_lr(step, base_lr=1.0, warmup_steps=warmup, total_steps=total)


@pytest.mark.stage(2)
def test_without_a_warm_up_the_first_step_has_the_base_rate():
    """0 / 0 lurks here: step 0 of a warm-up of 0 steps."""
    rates = [warmup_cosine_lr(s, base_lr=2.0, warmup_steps=0, total_steps=2) for s in range(3)]
    expect_rates(rates, [2.0, 1.0, 0.0], "the rates of steps 0 to 2 with warmup_steps=0", "no warm-up: cosine at once")


@pytest.mark.stage(2)
def test_after_the_last_step_the_rate_stays_at_min_lr():
    """A cosine left alone rises again: a run that goes on a little would get its full rate back."""
    steps = (5, 6, 7, 10, 1000)
    rates = [warmup_cosine_lr(s, base_lr=2.0, warmup_steps=2, total_steps=6, min_lr=0.5) for s in steps]
    want = [0.5 + 1.5 * (1 - math.sqrt(0.5)) / 2] + [0.5] * 4
    expect_rates(rates, want, f"the rates of steps {steps} of 6 with min_lr=0.5", "step >= total_steps: min_lr")


@pytest.mark.stage(2)
def test_the_warm_up_starts_from_zero_also_with_min_lr():
    """min_lr is where the cosine ends, not where the warm-up begins, and not its floor."""
    rates = [warmup_cosine_lr(s, base_lr=2.0, warmup_steps=4, total_steps=8, min_lr=1.0) for s in range(5)]
    expect_rates(rates, [0.0, 0.5, 1.0, 1.5, 2.0], "the warm-up with min_lr=1", "min_lr plays no part in the warm-up")


@pytest.mark.stage(2)
@pytest.mark.parametrize("total", [0, 4])
def test_a_run_that_only_warms_up(total):
    """warmup_steps == total_steps leaves no step for the cosine: its length is 0, and step total_steps has min_lr."""
    steps = [*range(total), total, total + 1]
    rates = [warmup_cosine_lr(s, base_lr=2.0, warmup_steps=total, total_steps=total, min_lr=0.25) for s in steps]
    hint = "from total_steps on the rate is min_lr: ask that first"
    expect_rates(rates, [s / 2 for s in range(total)] + [0.25] * 2, f"the rates with {total} of {total} steps", hint)


# Stage 3: tensors as values, exact numbers, plain floats


@pytest.mark.stage(3)
def test_a_tensor_is_read_at_once():
    """A running loss is often one tensor that every epoch zeroes and fills again. A stopper that keeps the tensor as
    its best value then compares it with itself, and keeps its graph and its device memory alive besides."""
    stopper, running = EarlyStopping(patience=2), torch.zeros(())
    answers = []
    for value in (3.0, 2.0, 1.0, 2.0, 2.0):
        running.fill_(value)
        with expect_unchanged(running, what="the value"):
            answers.append(bool(stopper.step(running)))
    hint = "keep float(value), not the tensor"
    what = "what it says to one tensor that is 3, 2, 1, 2 and 2 in turn"
    expect_equal(answers, [False] * 4 + [True], what=what, hint=hint)


class Traced(torch.autograd.Function):
    """Does nothing, but its graph node holds the token."""

    @staticmethod
    def forward(ctx, x, token):
        ctx.token = token
        return x.clone()


@pytest.mark.stage(3)
@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_graph_of_a_loss_is_not_kept(mode):
    """The loss of the last batch holds all its activations: as the best value it would hold them for many epochs."""
    stopper, token = EarlyStopping(patience=2, mode=mode), nn.Identity()
    with warnings.catch_warnings(action="ignore"):  # torch would rather see a detach() before the float()
        stopper.step(Traced.apply(torch.ones((), requires_grad=True), token))
    alive = weakref.ref(token)
    del token
    gc.collect()
    expect(alive() is None, "the loss's graph should be freed, but the stopper holds it", hint="keep float(value)")


@pytest.mark.stage(3)
@pytest.mark.parametrize(("mode", "values"), [("min", (3, 2, 1, 2, 2)), ("max", (1, 2, 3, 2, 2))])
def test_gains_of_any_size_count(mode, values):
    """With min_delta=0 every gain is one. A tolerance of one's own, or an accuracy turned into an error by 1 - value,
    does not see what happens at 1e-20."""
    hint = "compare value with best and min_delta alone: no epsilon, no isclose; in mode 'max' negate, or turn < round"
    expect_stop([value * 1e-20 for value in values], 5, hint, patience=2, mode=mode)


@pytest.mark.stage(3)
@pytest.mark.parametrize("kind", [int, np.float32, torch.tensor], ids=["int", "numpy", "tensor"])
def test_numbers_of_any_kind_are_understood(kind):
    """What metrics return differs from library to library; the answer is a plain bool for all of them."""
    stopper = EarlyStopping(patience=2, mode="max")
    answers = [stopper.step(kind(value)) for value in (2, 1, 3, 3, 1)]
    expect_equal(answers, [False, False, False, False, True], what="what it says to 2, 1, 3, 3, 1 in mode 'max'")
    for answer in answers:
        expect(isinstance(answer, bool), f"step() should return a bool, but returned a {type(answer).__name__}")


@pytest.mark.stage(3)
def test_rates_are_python_floats():
    """They go into param_groups, logs and JSON; a float32 tensor rounds 1e-4 and drags a device along."""
    options = {"base_lr": 0.5, "warmup_steps": 2, "total_steps": 6, "min_lr": 0.125}
    rates = {f"warmup_cosine_lr at step {s}": warmup_cosine_lr(s, **options) for s in (0, 1, 2, 4, 6, 7)}
    for what, rate in {"step_lr": step_lr(0.5, 3, 2, 0.1), **rates}.items():
        expect(isinstance(rate, float), f"{what} should be a float, but is a {type(rate).__name__}", hint="math.cos")


# Stage 4: at work on an optimizer, and through a checkpoint


def scheduled(rate, make, epochs):
    """The rates that a scheduler of torch gives to SGD with the given base rate."""
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=rate)
    scheduler, rates = make(optimizer), []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.stage(4)
@pytest.mark.parametrize(("step_size", "gamma"), [(1, 0.9), (3, 0.5), (7, 0.1), (50, 0.5)])
def test_step_decay_is_torchs_step_lr(step_size, gamma):
    """torch multiplies the rate it finds in the optimizer; the closed form needs no optimizer and no history."""
    rates = [step_lr(0.3, epoch, step_size, gamma) for epoch in range(40)]
    want = scheduled(0.3, lambda optimizer: StepLR(optimizer, step_size, gamma), 40)
    expect_rates(
        rates, want, f"step_lr(0.3, epoch, {step_size}, {gamma}) over 40 epochs (torch's StepLR is expected)", ""
    )


@pytest.mark.stage(4)
def test_the_cosine_is_torchs_cosine_annealing():
    """After 10 steps of warm-up, as a factor for LambdaLR: the way in which most training scripts use it."""
    rates = scheduled(
        0.5,
        lambda opt: LambdaLR(
            opt, lambda s: warmup_cosine_lr(s, base_lr=1.0, warmup_steps=10, total_steps=50, min_lr=0.1)
        ),
        51,
    )
    want = scheduled(0.5, lambda optimizer: CosineAnnealingLR(optimizer, T_max=40, eta_min=0.05), 41)
    expect_rates(rates[10:], want, "the rates after the warm-up (torch's CosineAnnealingLR is expected)", "")


@pytest.mark.stage(4)
def test_a_copied_stopper_goes_on_where_it_was():
    """A checkpoint holds the stopper too, or a resumed run waits its whole patience once more. And the copy is a copy:
    the original knows nothing of what it sees."""
    stopper = EarlyStopping(patience=3, mode="max")
    for value in (2.0, 4.0, 3.0, 3.0):
        stopper.step(value)
    resumed = copy.deepcopy(stopper)
    hint = "keep the state on self, as plain numbers: best value and count"
    answers = [bool(s.step(value)) for s, value in ((resumed, 5.0), (resumed, 4.0), (stopper, 4.5), (stopper, 4.0))]
    expect_equal(answers, [False] * 4, what="the copy after 5, 4 and the original after 4.5, 4", hint=hint)
    answers = [bool(resumed.step(value)) for value in (4.5, 4.5)]
    expect_equal(answers, [False, True], what="the copy after two more epochs without improvement", hint=hint)
