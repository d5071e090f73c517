"""Stage 4. Cost."""

import torch

from dojo.testing import expect_equal, expect_operators, expect_traffic, randint, randn
from dojo.testing.diffusion import FINE, SIX, no_noise, recording
from katas.ddim import ddim_sample, ddim_step


def test_step_moves_a_few_times_the_bytes_of_x(rng, cost):
    """The reference moves 19x the bytes of x; detours through float64 or a stack of rows stay under 80x. A result
    for all 1000 steps, of which one is picked, moves far more."""
    x, eps, noise = randn(rng, 3, 4, 3, 64, 64, dtype=torch.float32)
    t = randint(rng, 500, 1000, 4)
    with cost() as spent:
        ddim_step(x, eps, t, t - 100, FINE, 1.0, noise)
    hint = "pick the coefficients of each element's steps first, then touch x a few times"
    expect_traffic(spent, x, 80, what="ddim_step", of="x", hint=hint)


def test_sampler_does_little_beside_calling_the_model(rng, cost):
    """The model is the cost: one call a timestep with the whole batch; around it at most 400 operators for 8 images:
    a loop over the images may do, one over their numbers not."""
    model, calls = recording(no_noise)
    with cost() as spent:
        ddim_sample(model, (8, 3), [5, 4, 3, 1, 0], SIX, 1.0)
    expect_equal(
        [list(x.shape) for x, _ in calls], [[8, 3]] * 5, what="the shapes that eps_model is given, call by call"
    )
    hint = "work on the whole batch at once"
    expect_operators(spent, 400 * 5, what="ddim_sample of 8 images in 5 steps", hint=hint, least=4 * 5)
