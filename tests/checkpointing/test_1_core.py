"""Stage 1. Save, load, resume."""

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR

from dojo.testing import expect_close, expect_equal
from katas.checkpointing import load_checkpoint, save_checkpoint

from .helpers import RUNS, Run


@pytest.mark.parametrize("optimizer", RUNS)
def test_a_resumed_run_equals_an_uninterrupted_one(rng, path, optimizer):
    """The property that a checkpoint exists for, with momentum, dropout, BatchNorm, a schedule and random data.
    Everything that a step reads must come back, bit by bit."""
    run = Run(optimizer).train(3)
    save_checkpoint(path, **run.parts, epoch=3)
    run.train(4)
    resumed = Run(optimizer)
    load_checkpoint(path, **resumed.parts)
    resumed.train(4)
    hint = "one of these is not restored: weights, buffers, optimizer state, scheduler, random state"
    for name, wanted in run.model.state_dict().items():
        expect_equal(
            resumed.model.state_dict()[name], wanted, what=f"{name} after 3 + 4 steps of {optimizer}", hint=hint
        )


def test_weights_and_buffers_come_back(rng, path):
    """BatchNorm's statistics are part of the model as much as its weights: state_dict, not parameters."""
    run = Run().train(2)
    save_checkpoint(path, model=run.model, epoch=2)
    fresh = Run()
    load_checkpoint(path, model=fresh.model)
    for name, wanted in run.model.state_dict().items():
        expect_equal(fresh.model.state_dict()[name], wanted, what=name, hint="save the whole model.state_dict()")


@pytest.mark.parametrize("epoch", [0, 7])
def test_the_epoch_comes_back_as_it_was_saved(rng, path, epoch):
    """Whether it counts finished epochs or names the next one is the caller's affair: no + 1 here."""
    run = Run()
    save_checkpoint(path, **run.parts, epoch=epoch)
    expect_equal(load_checkpoint(path, **run.parts), epoch, what="the epoch from load_checkpoint")


def test_the_optimizer_remembers_its_momentum(rng, path):
    """With a gradient of 0 only the momentum moves the weights. A fresh optimizer would stand still."""
    run = Run().train(3)
    save_checkpoint(path, **run.parts, epoch=3)
    resumed = Run()
    load_checkpoint(path, **resumed.parts)
    moved = []
    for each in (run, resumed):
        before = each.model[0].weight.detach().clone()
        for parameter in each.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        each.optimizer.step()
        moved.append(each.model[0].weight - before)
    hint = "save and load optimizer.state_dict(); keep the model's own parameters, which the optimizer holds"
    expect_equal(moved[1], moved[0], what="the step that momentum alone makes", hint=hint)


def test_the_schedule_goes_on_where_it_was(rng, path):
    """A cosine from 1.0 over 10 epochs: after 4 of them the next rates are no longer near 1."""

    def schedule():
        optimizer = SGD(nn.Linear(1, 1).parameters(), lr=1.0)
        return optimizer, CosineAnnealingLR(optimizer, T_max=10)

    def rates(optimizer, scheduler, count):
        found = []
        for _ in range(count):
            optimizer.step()
            scheduler.step()
            found.append(optimizer.param_groups[0]["lr"])
        return torch.tensor(found, dtype=torch.float64)

    model, (optimizer, scheduler) = nn.Linear(1, 1), schedule()
    rates(optimizer, scheduler, 4)
    save_checkpoint(path, model=model, optimizer=optimizer, scheduler=scheduler, epoch=4)
    resumed = schedule()
    load_checkpoint(path, model=model, optimizer=resumed[0], scheduler=resumed[1])
    wanted = rates(optimizer, scheduler, 6)
    expect_close(rates(*resumed, 6), wanted, what="the learning rates", hint="save and load scheduler.state_dict()")


def test_the_random_stream_goes_on_where_it_was(rng, path):
    """Dropout masks and shuffles after resuming are those that would have come; not the first ones once more."""
    run = Run()
    torch.rand(11)
    save_checkpoint(path, **run.parts, epoch=0)
    wanted = torch.rand(5)
    torch.manual_seed(99)
    load_checkpoint(path, **run.parts)
    hint = "torch.get_rng_state() when saving, torch.set_rng_state() when loading; a seed would restart the stream"
    expect_equal(torch.rand(5), wanted, what="the random numbers after loading", hint=hint)
