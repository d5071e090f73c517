"""Stage 4. Model calls, operators and bytes."""

import pytest
import torch

from dojo.testing import expect_equal, expect_flat_operators, expect_operators, expect_traffic, randn
from dojo.testing.diffusion import recording
from katas.flow_matching import flow_loss, interpolate, sample

from .helpers import zeros


@pytest.mark.parametrize(("method", "calls_a_step"), [("euler", 1), ("heun", 2)])
def test_the_sampler_does_little_beside_calling_the_model(rng, cost, method, calls_a_step):
    """The model is the cost: one call a step for Euler and two for Heun, with the whole batch. Around a call the
    reference takes about 7 operators."""
    model, calls = recording(zeros)
    noise = randn(rng, 8, 3)
    with cost() as spent:
        sample(model, noise, 10, method=method)
    expect_equal(
        [list(x.shape) for x, _ in calls],
        [[8, 3]] * (10 * calls_a_step),
        what=f"the x of the calls of 10 {method} steps",
    )
    hint = "work on the whole batch at once, and make the times before the loop"
    what = f"sample of 8 elements in 10 steps of {method}"
    expect_operators(spent, 46 * 10 * calls_a_step, what=what, hint=hint, least=10 * calls_a_step)


def test_operators_of_the_sampler_do_not_grow_with_the_batch(rng):
    expect_flat_operators(
        lambda noise: sample(zeros, noise, 2, method="heun"),
        lambda batch: [randn(rng, batch, 3)],
        [2, 16],
        what="sample of [batch, 3]",
        hint="no loop over the elements of the batch: they share their times",
        slack=2,
    )


def test_the_line_costs_a_few_passes(rng, cost):
    """The reference moves 10 times the bytes of x0; float64 on the way, or row by row, stays under 60."""
    x0, noise = randn(rng, 2, 4, 3, 64, 64, dtype=torch.float32)
    with cost() as spent:
        interpolate(x0, noise, torch.tensor([0.1, 0.2, 0.3, 0.4]))
    hint = "t has one number for each element: do not expand it to the images' shape more than once"
    expect_traffic(spent, x0, 60, what="interpolate", of="x0", hint=hint)


def test_the_loss_calls_the_model_once(rng, cost):
    """Besides the model the reference moves 14 times the bytes of x0."""
    x0 = randn(rng, 4, 3, 64, 64, dtype=torch.float32)
    answer, calls = torch.zeros_like(x0), []
    with cost() as spent:
        flow_loss(lambda x, t: calls.append(list(x.shape)) or answer, x0)
    expect_equal(calls, [[4, 3, 64, 64]], what="the shapes of x, call by call of the model, in flow_loss")
    expect_traffic(spent, x0, 80, what="flow_loss", of="x0", hint="one line, one model call, one mean")
