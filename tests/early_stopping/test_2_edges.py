"""Stage 2. Min_delta, NaN, after the stop, no warm-up, wrong arguments."""

import math

import pytest

from dojo.testing import expect_equal, expect_raises
from katas.early_stopping import EarlyStopping, step_lr, warmup_cosine_lr

from .helpers import expect_rates, expect_stop

NAN = float("nan")


@pytest.mark.parametrize(("mode", "sign"), [("min", 1), ("max", -1)])
def test_only_a_gain_of_more_than_min_delta_counts(mode, sign):
    """A gain of exactly 0.25 is none, of 0.375 is one: in either mode, and for values of either sign."""
    options = {"patience": 2, "min_delta": 0.25, "mode": mode}
    hint = "improved means value < best - min_delta, or value > best + min_delta in mode 'max': strictly, no factor"
    expect_stop([sign * v for v in (1.0, 0.75, 0.875)], 3, hint, **options)
    expect_stop([sign * v for v in (1.0, 0.75, 0.625, 0.5)], 0, hint, **options)
    expect_stop([sign * v for v in (-8.0, -8.25, -8.5, -8.25, -8.5, -8.75)], 5, hint, **options)


def test_small_gains_do_not_move_the_best_value():
    """Gains of 0.125 add up: the third one is 0.375 better than the best. A best value that follows every small gain
    stops a model that is still learning."""
    values = [2.0, 1.875, 1.75, 1.625, 1.5, 1.375, 1.25]
    hint = "move the best value only together with the reset: in the branch of a real improvement"
    expect_stop(values, 0, hint, patience=3, min_delta=0.25)
    expect_stop(values, 3, hint, patience=2, min_delta=0.25)


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


@pytest.mark.parametrize("first", [0.0, 1e30, -1e30, -3.0])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_the_first_value_is_the_best_so_far_whatever_it_is(mode, first):
    """0 is a value (and falsy), losses may be huge, log-likelihoods are negative: a start of 0 or 1e9 is a guess."""
    worse = first + math.copysign(max(1.0, abs(first)), 1 if mode == "min" else -1)
    hint = "start from infinity (minus infinity in mode 'max') or None, and test `is None`, not truth"
    expect_stop([first, worse, worse, first], 4, hint, patience=3, mode=mode)
    expect_stop([worse, worse, first, worse, worse], 5, hint, patience=2, mode=mode)


def test_a_stop_is_final():
    """Whoever asks again, on another worker or after a late improvement, gets the same answer."""
    expect_stop([2.0, 3.0, 3.0, 1.0, 0.5, 3.0], 3, "once stopped, step() answers True to everything", patience=2)


def test_two_stoppers_share_nothing():
    """One for the loss, one for the accuracy: a counter on the class would make them one."""
    first, second = EarlyStopping(2), EarlyStopping(2)
    for value in (1.0, 2.0):
        first.step(value)
    answers = [bool(second.step(value)) for value in (3.0, 3.5, 2.5)]
    expect_equal(answers, [False] * 3, what="a second stopper", hint="keep best and count on self, not on the class")


def test_without_a_warm_up_the_first_step_has_the_base_rate():
    """0 / 0 lurks here: step 0 of a warm-up of 0 steps."""
    rates = [warmup_cosine_lr(s, base_lr=2.0, warmup_steps=0, total_steps=2) for s in range(3)]
    expect_rates(rates, [2.0, 1.0, 0.0], "the rates of steps 0 to 2 with warmup_steps=0", "no warm-up: cosine at once")


def test_after_the_last_step_the_rate_stays_at_min_lr():
    """A cosine left alone rises again: a run that goes on a little would get its full rate back."""
    steps = (5, 6, 7, 10, 1000)
    rates = [warmup_cosine_lr(s, base_lr=2.0, warmup_steps=2, total_steps=6, min_lr=0.5) for s in steps]
    want = [0.5 + 1.5 * (1 - math.sqrt(0.5)) / 2] + [0.5] * 4
    expect_rates(rates, want, f"the rates of steps {steps} of 6 with min_lr=0.5", "step >= total_steps: min_lr")


def test_the_warm_up_starts_from_zero_also_with_min_lr():
    """min_lr is where the cosine ends, not where the warm-up begins, and not its floor."""
    rates = [warmup_cosine_lr(s, base_lr=2.0, warmup_steps=4, total_steps=8, min_lr=1.0) for s in range(5)]
    expect_rates(rates, [0.0, 0.5, 1.0, 1.5, 2.0], "the warm-up with min_lr=1", "min_lr plays no part in the warm-up")


@pytest.mark.parametrize("total", [0, 4])
def test_a_run_that_only_warms_up(total):
    """warmup_steps == total_steps leaves no step for the cosine: its length is 0, and step total_steps has min_lr."""
    steps = [*range(total), total, total + 1]
    rates = [warmup_cosine_lr(s, base_lr=2.0, warmup_steps=total, total_steps=total, min_lr=0.25) for s in steps]
    hint = "from total_steps on the rate is min_lr: ask that first"
    expect_rates(rates, [s / 2 for s in range(total)] + [0.25] * 2, f"the rates with {total} of {total} steps", hint)


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


@pytest.mark.parametrize(("epoch", "step_size"), [(-1, 2), (3, 0), (3, -2)])
def test_step_decay_rejects_impossible_arguments(epoch, step_size):
    """-1 // 2 is -1: the rate would rise above base_lr."""
    with expect_raises(ValueError, what=f"step_lr(0.1, {epoch}, {step_size}, 0.5)", hint="check before you divide"):
        step_lr(0.1, epoch, step_size, 0.5)


@pytest.mark.parametrize(("step", "warmup", "total"), [(-1, 2, 8), (-1, 0, 0), (3, -1, 8), (3, 9, 8), (10, 9, 8)])
def test_warmup_cosine_rejects_impossible_arguments(step, warmup, total):
    """A warm-up longer than the run never reaches base_lr, which is hardly what was meant."""
    with expect_raises(ValueError, what=f"step {step} with warmup_steps={warmup}, total_steps={total}"):
        warmup_cosine_lr(step, base_lr=1.0, warmup_steps=warmup, total_steps=total)
