"""Stage 2. Mixed batches, the last step, the sampler."""

import math
from itertools import pairwise

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, expect_raises, expect_rng_untouched, numbers, randn
from dojo.testing.diffusion import SHAPES, SIX, column, expect_normal, knows, no_noise, recording
from katas.ddim import ddim_sample, ddim_step, ddim_timesteps

from .helpers import T_PREV, T, abar_at, at

MANY = (40, 100)  # for statistics


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_element_of_a_batch_has_steps_of_its_own(rng, shape):
    """Scalars, vectors, images, and batch == width, where a t that was not reshaped broadcasts along the wrong axis."""
    x, eps, noise = randn(rng, 3, *shape)

    def step(i):
        return ddim_step(x[i], eps[i], T[i], T_PREV[i], SIX, 0.7, noise[i])

    expect_close(
        step(slice(None)),
        torch.cat([step(slice(row, row + 1)) for row in range(6)]),
        what=f"ddim_step of a batch of shape {list(shape)}, t={T.tolist()} and t_prev={T_PREV.tolist()}, "
        "compared with its rows one by one,",
        hint="each row has a t and a t_prev of its own: reshape the coefficients to [batch, 1, ..., 1]",
    )


def test_eta_0_ignores_the_noise(rng):
    """Deterministic: the same start gives the same picture, which is what interpolation and inversion rest on."""
    x, eps, noise = randn(rng, 3, 6, 4)
    with expect_rng_untouched(what="ddim_step", hint="draw nothing: the noise is an argument"):
        without, given = (ddim_step(x, eps, T, T_PREV, SIX, 0.0, n) for n in (None, noise))
    expect_equal(given, without, what="ddim_step(eta=0) with noise, beside the same without,")


def test_sampler_visits_the_given_timesteps():
    """One call each, t as int64 [batch] with the timestep itself: not its place in the list, nor where it leads."""
    model, calls = recording(no_noise)
    got = ddim_sample(model, (2, 3, 4), [5, 3, 0], SIX)
    expect_equal(list(got.shape), [2, 3, 4], what="the shape of ddim_sample's result")
    expect_equal(
        [t.tolist() for _, t in calls],
        [[5, 5], [3, 3], [0, 0]],
        what="the t of eps_model's calls for timesteps [5, 3, 0] and a batch of 2",
        hint="one call for each of `timesteps`, the last included, with that timestep for every element",
    )
    expect_equal({t.dtype for _, t in calls}, {torch.int64}, what="the dtype of the t that eps_model is given")


@pytest.mark.parametrize("timesteps", [[5], [5, 4, 3, 2, 1, 0], [5, 3, 0], [4, 2]], ids=str)
def test_each_step_leads_to_the_next_timestep_and_the_last_to_clean_data(timesteps):
    """A model that sees no noise rescales x by sqrt(abar' / abar) a step: down to the next timestep of the grid, not to
    t - 1, and in the end to abar = 1, also where the grid stops above 0."""
    model, calls = recording(no_noise)
    end = ddim_sample(model, (3, 2), timesteps, SIX)
    shown = torch.stack([*(x for x, _ in calls), end])
    abar = abar_at(at(*timesteps, -1), SIX)
    expect_close(
        shown,
        shown[:1] * column((abar / abar[0]).sqrt(), shown),
        what=f"x before each of the timesteps {timesteps} and at the end, for eps = 0",
        hint="t_prev is the next entry of `timesteps`, and -1 after the last; each step continues from the one before",
    )


@pytest.mark.parametrize("count", [1, 3, 30])
def test_gaussian_data_shrink_by_the_cosine_of_each_jump(rng, count):
    """For data from N(3, 1) the exact denoiser is known, and with abar = cos^2(angle) a deterministic step multiplies
    the distance from the mean by the cosine of the angle it turns. So few steps give too narrow samples, by this."""
    angles = torch.linspace(0, math.pi / 2, 62, dtype=torch.float64)[1:-1]  # 60 steps
    abar = angles.cos() ** 2
    timesteps = ddim_timesteps(60, count)
    model, calls = recording(knows(3.0, 1.0, abar))
    end = ddim_sample(model, (4, 5), timesteps, abar)
    jumps = numbers(*[angles[t] for t in timesteps], 0).diff()
    start = calls[0][0] - 3 * abar[timesteps[0]].sqrt()
    expect_close(
        end,
        3 + start * jumps.cos().prod(),
        what=f"samples of N(3, 1) in {count} deterministic steps, from the start that the model was shown,",
        hint="eta defaults to 0; every step uses the model's answer to the latest x",
    )


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_sampler_lands_on_data_that_is_a_single_point(eta):
    """If all data are 3, the exact denoiser knows the noise, and any grid and any eta must end at 3 exactly."""
    for timesteps in ([5, 4, 3, 2, 1, 0], [5, 2], [3]):
        expect_close(
            ddim_sample(knows(3.0, 0.0, SIX), (4, 2), timesteps, SIX, eta),
            torch.full((4, 2), 3.0, dtype=torch.float64),
            what=f"samples over timesteps {timesteps} at eta={eta} for data that are always 3",
            hint="the last step leads to t_prev = -1 and adds no noise; nothing is clipped",
        )


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_sampler_passes_through_the_forward_marginals(rng, eta):
    """For data that are always 1, x_t is distributed as q(x_t | x_0) whatever eta is and whatever steps are skipped:
    mean sqrt(abar_t), standard deviation sqrt(1 - abar_t). Eight bounds: a false alarm of 4e-7."""
    abar = (1 - numbers(0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.999)).cumprod(0)
    model, calls = recording(knows(1.0, 0.0, abar))
    ddim_sample(model, MANY, [6, 4, 2, 1], abar, eta)
    expect_equal(len(calls), 4, what="the number of model calls for 4 timesteps")
    for x, t in calls:
        a = abar[t[0]].item()
        what = f"x at t={t[0]} for data that are always 1, at eta={eta},"
        hint = "start from torch.randn(shape); at eta > 0 draw fresh standard normal noise for every step"
        expect_normal(x, a**0.5, (1 - a) ** 0.5, what=what, hint=hint)


def test_every_step_draws_fresh_noise_for_every_element(rng):
    """One noise for all steps, or for the whole batch, looks random and is not. Recovered from what the model is shown;
    0.25 is 8 standard errors of an uncorrelated pair."""
    model, calls = recording(no_noise)
    ddim_sample(model, (3, 1000), [5, 4, 2, 0], SIX, 1.0)
    noises = [later - earlier * (SIX[u[0]] / SIX[t[0]]).sqrt() for (earlier, t), (later, u) in pairwise(calls)]
    rows = torch.cat([calls[0][0], *noises])  # the start and three steps, of three elements each
    spread = rows.std(-1).min().item()
    expect(spread > 0.1, f"noise should vary within an element at eta=1, but its std is {spread:.3g}", hint="use eta")
    similar = torch.corrcoef(rows).triu(1).abs().max().item()
    expect(
        similar < 0.25,
        f"noise of different steps and elements should be uncorrelated, but correlates at {similar:.2f}",
        hint="torch.randn(shape) anew for every step",
    )


@pytest.mark.parametrize(("steps", "count"), [(10, 0), (10, 11), (10, -1), (0, 0)])
def test_a_count_that_does_not_fit_is_an_error(steps, count):
    with expect_raises(ValueError, what=f"ddim_timesteps({steps}, {count})", hint="1 <= count <= steps"):
        ddim_timesteps(steps, count)


def test_eta_out_of_range_or_without_noise_is_an_error(rng):
    """Above 1 the weight of eps can be the root of a negative number; noise silently left out makes eta a lie."""
    x = randn(rng, 6, 2)
    hint = "raise unless 0 <= eta <= 1: `eta < 0 or eta > 1` lets NaN through"
    for eta in (-0.1, 1.1, math.nan):
        with expect_raises(ValueError, what=f"ddim_step(eta={eta})", hint=hint):
            ddim_step(x, x, T, T_PREV, SIX, eta, x)
        with expect_raises(ValueError, what=f"ddim_sample(eta={eta})", hint=hint):
            ddim_sample(no_noise, (6, 2), [3, 0], SIX, eta)
    with expect_raises(ValueError, what="ddim_step(eta=0.5) without noise", hint="draw none inside: ask for it"):
        ddim_step(x, x, T, T_PREV, SIX, 0.5)


@pytest.mark.parametrize("shape", [(), (1,), (4,), (3, 1), (1, 3)], ids=str)
def test_steps_of_another_shape_than_batch_are_an_error(shape):
    """A t of shape [1] or [] broadcasts silently."""
    x, good, bad = torch.zeros(3, 2, dtype=torch.float64), at(2, 1, 1), torch.ones(shape, dtype=torch.int64)
    for what, t, t_prev in (("t", bad, good - 1), ("t_prev", good, bad - 1), ("t and t_prev", bad, bad - 1)):
        what = f"ddim_step with {what} of shape {list(shape)} for a batch of 3"
        with expect_raises(ValueError, what=what, hint="compare t.shape and t_prev.shape with [batch]"):
            ddim_step(x, x, t, t_prev, SIX)


@pytest.mark.parametrize("timesteps", [[], [0, 3, 5], [5, 3, 3, 0], [6, 3, 0], [5, 0, -1]], ids=str)
def test_timesteps_that_do_not_fall_within_the_schedule_are_an_error(timesteps):
    """An ascending grid runs without a complaint and gives mush; so does the index -1."""
    what = f"ddim_sample over timesteps {timesteps} of 6 steps"
    with expect_raises(ValueError, what=what, hint="non-empty, strictly decreasing, within [0, steps)"):
        ddim_sample(no_noise, (2, 3), timesteps, SIX)
