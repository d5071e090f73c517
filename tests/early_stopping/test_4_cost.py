"""Stage 4. At work on an optimizer, and through a checkpoint."""

import copy

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, StepLR

from dojo.testing import expect_equal
from katas.early_stopping import EarlyStopping, step_lr, warmup_cosine_lr

from .helpers import expect_rates


def scheduled(rate, make, epochs):
    """The rates that a scheduler of torch gives to SGD with the given base rate."""
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=rate)
    scheduler, rates = make(optimizer), []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(("step_size", "gamma"), [(1, 0.9), (3, 0.5), (7, 0.1), (50, 0.5)])
def test_step_decay_is_torchs_step_lr(step_size, gamma):
    """torch multiplies the rate it finds in the optimizer; the closed form needs no optimizer and no history."""
    rates = [step_lr(0.3, epoch, step_size, gamma) for epoch in range(40)]
    want = scheduled(0.3, lambda optimizer: StepLR(optimizer, step_size, gamma), 40)
    expect_rates(
        rates, want, f"step_lr(0.3, epoch, {step_size}, {gamma}) over 40 epochs (torch's StepLR is expected)", ""
    )


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
