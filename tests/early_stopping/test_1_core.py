"""Stage 1. Patience, both schedules."""

import pytest

from dojo.testing import expect_own_work
from katas import early_stopping
from katas.early_stopping import step_lr, warmup_cosine_lr

from .helpers import expect_rates, expect_stop
from .probe import FORBIDDEN


@pytest.mark.parametrize("patience", [1, 2, 4])
def test_it_stops_at_the_epoch_that_uses_the_patience_up(patience):
    """Two good epochs, then bad ones: with a patience of 2 the second bad one stops, not the first and not the third."""
    values = [4.0, 2.0, 3.0, 3.5, 2.5, 6.0]
    hint = "count the epochs without improvement, this one included, and stop when there are `patience` of them"
    expect_stop(values, 2 + patience, hint, patience=patience)


def test_an_improvement_starts_the_count_anew():
    """Patience is about epochs in a row: three bad ones with good ones between them are no reason to stop."""
    values = [4.0, 5.0, 3.0, 5.0, 2.0, 5.0, 1.0, 2.0, 2.0]
    expect_stop(values, 9, "set the count back to 0 at every improvement", patience=2)


def test_values_are_compared_with_the_best_one_and_not_with_the_last():
    """5, 4, 3 falls all the time, and still does not reach the 1 from before."""
    expect_stop([1.0, 5.0, 4.0, 3.0], 4, "remember the best value so far, not the previous one", patience=3)


def test_an_equal_value_is_no_improvement():
    """A model that has collapsed repeats its loss for ever: `<=` would wait as long."""
    expect_stop([2.0, 2.0, 2.0], 3, "an improvement is strictly better: <, not <=", patience=2)


def test_in_mode_max_higher_is_better():
    """The same numbers are bad news as a loss and good news as an accuracy."""
    values = [0.25, 0.5, 0.75, 0.5, 0.75]
    expect_stop(values, 5, "mode='max' turns the comparison round", patience=2, mode="max")
    expect_stop(values, 3, "mode='min' is the default", patience=2)


def test_step_decay_multiplies_by_gamma_after_every_step_size_epochs():
    """A staircase: the first step_size epochs, 0 included, have the full rate."""
    rates = [step_lr(0.5, epoch, 3, 0.1) for epoch in range(10)]
    want = [0.5, 0.5, 0.5, 0.05, 0.05, 0.05, 0.005, 0.005, 0.005, 0.0005]
    hint = "gamma to the power epoch // step_size (whole steps only), times base_lr"
    expect_rates(rates, want, "step_lr(0.5, epoch, step_size=3, gamma=0.1) over epochs 0 to 9", hint)


def test_the_warm_up_is_linear_from_zero_to_the_base_rate():
    """Adam's first steps divide by a variance of one sample; small rates keep them from doing harm."""
    rates = [warmup_cosine_lr(s, base_lr=2.0, warmup_steps=4, total_steps=100) for s in range(5)]
    hint = "base_lr * step / warmup_steps: 0 at step 0, base_lr at step warmup_steps"
    expect_rates(rates, [0.0, 0.5, 1.0, 1.5, 2.0], "the rates of steps 0 to 4 with warmup_steps=4", hint)


def test_the_decay_is_half_a_cosine():
    """Worked numbers: (1 + cos(pi p)) / 2 is 1, 3/4, 1/2, 1/4 and 0 at p = 0, 1/3, 1/2, 2/3 and 1."""
    rates = [warmup_cosine_lr(s, base_lr=2.0, warmup_steps=2, total_steps=14) for s in (2, 6, 8, 10, 14)]
    hint = "p = (step - warmup_steps) / (total_steps - warmup_steps), and half a period: cos(pi * p), from 1 to -1"
    expect_rates(rates, [2.0, 1.5, 1.0, 0.5, 0.0], "the rates of steps 2, 6, 8, 10, 14 (2 of 14 warm up)", hint)


def test_the_cosine_ends_at_min_lr():
    """The cosine spans the way from base_lr to min_lr; it is neither lifted by min_lr nor cut off at it."""
    rates = [warmup_cosine_lr(s, base_lr=2.0, warmup_steps=0, total_steps=6, min_lr=0.5) for s in (0, 2, 3, 4, 6)]
    hint = "min_lr + (base_lr - min_lr) * (1 + cos(pi * p)) / 2"
    expect_rates(rates, [2.0, 1.625, 1.25, 0.875, 0.5], "the rates of steps 0, 2, 3, 4, 6 of 6 with min_lr=0.5", hint)


def test_the_schedules_are_your_own():
    """torch.optim.lr_scheduler is the answer; a file may compare with it where only running the file itself gets to it."""
    step_lr(1.0, 0, 1, 0.5)
    expect_own_work(early_stopping, FORBIDDEN)
