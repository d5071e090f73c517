"""Stage 2. Strength 0 and 1, grids, batches, wrong strengths."""

import math

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, expect_raises, randn
from dojo.testing.diffusion import SIX, column, no_noise, recording
from katas.image_to_image import image_to_image, start_step

from .helpers import GRID, first_shown


@pytest.mark.parametrize("strength", [0, 0.0, 0.1, 0.125])
def test_without_a_step_the_picture_comes_back_unchanged(rng, strength):
    """0.125 x 4 is a half, which rounds to no step. timesteps[-0:] is the whole list: with that, strength 0 would run
    everything and keep almost nothing."""
    x0 = randn(rng, 3, 2, 4)
    model, calls = recording(no_noise)
    got = image_to_image(model, x0, strength, GRID, SIX)
    hint = "with no step to run return x0's values as they are; timesteps[-count:] is everything when count is 0"
    expect_equal(len(calls), 0, what=f"the number of model calls at strength={strength} over 4 timesteps", hint=hint)
    expect_equal(got, x0, what=f"image_to_image(strength={strength}) over 4 timesteps", hint=hint)


def test_strength_1_still_starts_from_the_picture(rng):
    """A little of the picture is left at the first timestep, and pure noise there would be a shift in brightness."""
    x0 = randn(rng, 2, 3)
    shift = first_shown(x0 + 10, 1, GRID, SIX) - first_shown(x0, 1, GRID, SIX)
    what = "what 10 more in x0 changes in the first x that the model is shown at strength 1"
    hint = "noise x0 to timesteps[0]; do not start from noise alone, or from x0 + noise"
    expect_close(shift, torch.full_like(x0, 10 * SIX[5].sqrt().item()), what=what, hint=hint)


@pytest.mark.parametrize("timesteps", [[3], [5, 2], [4, 3], (5, 4, 3, 2, 1, 0), [5, 0]], ids=str)
def test_each_step_leads_to_the_next_timestep_and_the_last_to_clean_data(timesteps):
    """A model that sees no noise rescales x by sqrt(abar' / abar) a step: to the next timestep of the grid rather than
    t - 1, in the end to abar = 1, and with no noise after the first."""
    model, calls = recording(no_noise)
    end = image_to_image(model, torch.ones(3, 2, dtype=torch.float64), 1.0, timesteps, SIX)
    expect_equal(len(calls), len(timesteps), what=f"the number of model calls at strength 1 over timesteps {timesteps}")
    shown = torch.stack([*(x for x, _ in calls), end])
    abar = torch.cat([SIX[list(timesteps)], SIX.new_ones(1)])
    expect_close(
        shown,
        shown[:1] * column((abar / abar[0]).sqrt(), shown),
        what=f"x before each of the timesteps {timesteps} and at the end, for eps = 0",
        hint="t_prev is the next entry of `timesteps`, and -1 after the last; no noise but the first",
    )


@pytest.mark.parametrize("shape", [(4,), (3, 3), (3, 2, 5), (2, 3, 4, 4), (1, 1, 1, 1)], ids=str)
def test_images_may_have_any_shape(rng, shape):
    """Scalars, vectors, pictures, and batch == width; the result has the shape of x0."""
    x0, model, calls = randn(rng, *shape), *recording(no_noise)
    got = image_to_image(model, x0, 0.5, GRID, SIX)
    expect_equal(list(got.shape), list(shape), what=f"the shape of the result for x0 of shape {list(shape)}")
    expect_equal(
        [(list(x.shape), list(t.shape)) for x, t in calls],
        [(list(shape), [shape[0]])] * 2,
        what="the shapes of the x and t that eps_model is given, call by call",
        hint="the whole batch in one call, and t as int64 [batch]",
    )


def test_every_element_has_noise_of_its_own():
    """The same picture thrice in a batch must give three variations. 0.25 is 8 standard errors of an uncorrelated pair."""
    rows = first_shown(torch.zeros(3, 1000, dtype=torch.float64), 0.5, GRID, SIX)
    spread = rows.std(-1).min().item()
    hint = "torch.randn of the shape of x0"
    expect(spread > 0.1, f"noise should vary within an element, but its standard deviation is {spread:.3g}", hint=hint)
    similar = torch.corrcoef(rows).triu(1).abs().max().item()
    sentence = f"the noise of different elements should be uncorrelated, but correlates at {similar:.2f}"
    expect(similar < 0.25, sentence, hint=hint)


@pytest.mark.parametrize("strength", [-0.1, 1.1, 75, math.nan, -math.inf])
def test_a_strength_outside_0_to_1_is_an_error(strength):
    """75 for 75 % slices silently to something, and so does -0.1."""
    hint = "ValueError unless 0 <= strength <= 1"
    with expect_raises(ValueError, what=f"start_step(10, {strength})", hint=hint):
        start_step(10, strength)
    with expect_raises(ValueError, what=f"image_to_image(strength={strength})", hint=hint):
        image_to_image(no_noise, torch.ones(2, 3), strength, GRID, SIX)
