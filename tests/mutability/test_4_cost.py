"""Stage 4. A best model that survives training, at the price of one copy."""

import torch
from torch import nn

from dojo.testing import expect, expect_close, expect_equal, randn
from katas.mutability import snapshot

from .helpers import network, train


def test_a_restored_snapshot_gives_the_old_answers_again(rng):
    """Train, keep, train on, restore, train on, restore: the second time works too, because loading copies."""
    model, x = network(), randn(rng, 8, 3)
    train(model, x)
    best, want = snapshot(model), model.eval()(x).detach()
    for attempt in ("first", "second"):
        train(model.train(), x)
        model.load_state_dict(best)
        expect_close(model.eval()(x), want, what=f"the model's output after the {attempt} restoration", hint="clone")


def test_a_snapshot_costs_one_copy(cost):
    """On a GPU the spare memory may be just one model: no copy of a copy, and no gradients copied along."""
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    model(torch.ones(1, 64)).sum().backward()
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    with cost() as spent:
        taken = snapshot(model)
    expect_equal(sum(tensor.nbytes for tensor in taken.values()), size, what="the snapshot's bytes")
    found = f"a snapshot should allocate its own size once, but allocated {spent.allocated / size:.1f} times as much"
    expect(spent.allocated <= 1.1 * size, found, hint="one clone for each tensor")
