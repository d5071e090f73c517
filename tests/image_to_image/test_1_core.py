"""Stage 1. How many steps, which, and from where."""

import math

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, randn, seeded
from dojo.testing.diffusion import SIX, knows, no_noise, recording
from katas.image_to_image import image_to_image, start_step

from .helpers import GRID, first_shown

RUNS = [(1.0, GRID), (0.75, [4, 3, 1]), (0.5, [3, 1]), (0.25, [1])]  # strength, and which timesteps of GRID it runs


@pytest.mark.parametrize(
    ("steps", "strength", "count"),
    [(50, 0.8, 40), (50, 0.5, 25), (10, 0.96, 10), (7, 0.2, 1), (100, 0.29, 29), (5, 0.5, 2), (10, 1, 10), (10, 0, 0)],
)
def test_strength_is_the_share_of_steps_that_are_run(steps, strength, count):
    """0.29 x 100 is 28.999999999999996 to a computer: cutting it off, as some pipelines do, loses a step. Python's round
    takes halves to the even neighbour, so 2.5 is 2."""
    got, what = start_step(steps, strength), f"start_step({steps}, {strength})"
    expect(isinstance(got, int), f"{what} should be an int, but is a {type(got).__name__}")
    expect_equal(got, count, what=what, hint="round(steps * strength): how many are run, not how many are skipped")


@pytest.mark.parametrize(("strength", "run"), RUNS)
def test_only_the_last_timesteps_are_run(strength, run):
    """The picture joins where it is as noisy as the model expects; everything before that is skipped."""
    model, calls = recording(no_noise)
    image_to_image(model, torch.ones(2, 3, dtype=torch.float64), strength, GRID, SIX)
    what = f"the t of eps_model's calls at strength={strength} over timesteps {GRID}, for a batch of 2"
    hint = "run the last start_step(len(timesteps), strength) of the timesteps, in their order"
    expect_equal([t.tolist() for _, t in calls], [[t, t] for t in run], what=what, hint=hint)
    expect_equal({t.dtype for _, t in calls}, {torch.int64}, what="the dtype of the t that eps_model is given")


@pytest.mark.parametrize(("strength", "run"), RUNS)
def test_the_picture_has_the_weight_of_the_first_timestep_that_is_run(rng, strength, run):
    """Two pictures with the same noise differ by sqrt(abar_t) times their difference. One timestep off, and the model
    sees a picture that is noisier, or cleaner, than it is told."""
    first, second = randn(rng, 2, 2, 3, 4)
    expect_close(
        first_shown(first, strength, GRID, SIX) - first_shown(second, strength, GRID, SIX),
        SIX[run[0]].sqrt() * (first - second),
        what=f"how two equally noised pictures differ when the model first sees them, at strength={strength},",
        hint=f"x0 is weighted by sqrt(alphas_cumprod[t]) for t = {run[0]}, the first timestep that is run, not for a neighbour or timesteps[0]",
    )


@pytest.mark.parametrize(("strength", "run"), RUNS)
def test_the_noise_has_the_spread_of_the_first_timestep_that_is_run(strength, run):
    """From a black picture only sqrt(1 - abar_t) x noise is left. 4000 numbers, bounds of 6 standard errors: a false
    alarm of 4e-9 for each of two."""
    noise = first_shown(torch.zeros(40, 100, dtype=torch.float64), strength, GRID, SIX)
    spread, hint = (1 - SIX[run[0]]).sqrt().item(), "torch.randn times the square root of 1 - abar_t"
    got = noise.std().item()
    sentence = f"at strength={strength} the noise should have standard deviation {spread:.4f}, but has {got:.4f}"
    expect(abs(got / spread - 1) < 6 / 8000**0.5, sentence, hint=hint)
    mean = noise.mean().item()
    expect(abs(mean) < 6 * spread / 4000**0.5, f"the noise should have mean 0, but has {mean:.4f}", hint=hint)


@pytest.mark.parametrize("strength", [1.0, 0.75, 0.5, 0.25, 0.0])
def test_a_model_that_knows_the_picture_gives_it_back(rng, strength):
    """With eps exactly right the noise is taken out again, whatever the strength: this must end at x0."""
    x0 = randn(rng, 3, 4)
    expect_close(
        image_to_image(knows(x0, 0.0, SIX), x0, strength, GRID, SIX),
        x0,
        what=f"image_to_image(strength={strength}) with a model that sees exactly which noise is in x",
        hint="the last step leads to t_prev = -1, clean data; each step uses the model's answer to the latest x",
    )


@pytest.mark.parametrize("steps", [1, 2, 5, 15, 30])
def test_strength_decides_how_much_of_the_picture_is_left(rng, steps):
    """For data from N(3, 1) and abar = cos^2(angle), noising and each step multiply the distance from the mean by the
    cosine of the angle they turn: two pictures come out closer to each other by exactly these factors."""
    angles = torch.linspace(0, math.pi / 2, 62, dtype=torch.float64)[1:-1]  # 60 steps
    abar, grid = angles.cos() ** 2, list(range(58, -1, -2))  # 30 timesteps
    first, second = randn(rng, 2, 2, 5)
    a, b = (
        image_to_image(knows(3.0, 1.0, abar), x, steps / 30, grid, abar, generator=seeded(0)) for x in (first, second)
    )
    turned = angles[grid[-steps:]]
    jumps = torch.cat([turned, turned.new_zeros(1)]).diff()
    expect_close(
        a - b,
        (first - second) * turned[0].cos() * jumps.cos().prod(),
        what=f"how two pictures differ in the end after {steps} of 30 steps, with equal noise and the model of N(3, 1),",
        hint="noise x0 once, to the first timestep that is run; each step continues from the one before, the last to -1",
    )
