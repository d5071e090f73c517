"""Stage 1. What is kept, what is repainted, what the model is shown."""

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, randn, seeded
from dojo.testing.diffusion import SIX, column, expect_normal, knows, no_noise, recording
from katas.inpainting import inpaint

from .helpers import GRID, HALF, shown, some_mask

MANY = (40, 200)  # 4000 known ones and 4000 in the hole
EITHER = "the known region is put back at t before the step from t, or at t_prev after it"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_known_region_ends_exactly_as_given(rng, dtype):
    """Not nearly: the promise is that nothing outside the mask changes, to the last bit."""
    x0, mask = randn(rng, 3, 2, 4, 4, dtype=dtype), some_mask(rng, 3, 1, 4, 4)
    got = inpaint(lambda x, t: 0.3 * x.flip(-1), x0, mask, GRID, SIX)
    known = (mask == 0).expand(x0.shape)
    expect_equal(list(got.shape), list(x0.shape), what="the shape of the result")
    hint = "after the last step put x0 itself back where the mask is 0; 1 is what is repainted"
    expect_equal(got[known], x0[known], what="the result where the mask is 0", hint=hint)


def test_the_hole_is_repainted(rng):
    """With a model that knows one picture only, the hole must end as that picture."""
    x0, other, mask = randn(rng, 2, 3, 4), randn(rng, 2, 3, 4), some_mask(rng, 2, 3, 4)
    expect_close(
        inpaint(knows(other), x0, mask, GRID, SIX),
        torch.where(mask == 1, other, x0),
        what="the result, with a model that always sees one other picture in x,",
        hint="where the mask is 1, x goes through all steps and the last leads to t_prev = -1; elsewhere it is x0",
    )


def test_the_model_is_asked_at_each_of_the_timesteps(rng):
    """Once each, in their order, with the whole batch and t as int64 [batch]."""
    model, calls = recording(no_noise)
    inpaint(model, randn(rng, 2, 6), some_mask(rng, 2, 6), GRID, SIX)
    what = f"the t of eps_model's calls over timesteps {GRID}, for a batch of 2"
    expect_equal([t.tolist() for _, t in calls], [[t, t] for t in GRID], what=what)
    expect_equal({t.dtype for _, t in calls}, {torch.int64}, what="the dtype of the t that eps_model is given")


def test_the_known_region_is_shown_at_the_level_of_each_call(rng):
    """Two pictures with the same noise differ by sqrt(abar_t) times their difference in what the model is shown at t. The
    clean picture there, or one noised to a neighbouring timestep, does not fit the t that comes with it."""
    first, second = randn(rng, 2, 3, 8)
    difference = (shown(first, HALF[:8]) - shown(second, HALF[:8]))[..., HALF[:8] == 0]
    for t, got in list(zip(GRID, difference, strict=True))[1:]:
        expect_close(
            got,
            SIX[t].sqrt() * (first - second)[..., HALF[:8] == 0],
            what=f"how two pictures, equally noised, differ in the known region that the model is shown at t={t},",
            hint=f"sqrt(abar_t) x0 + sqrt(1 - abar_t) noise: {EITHER}",
        )


def test_the_known_region_is_as_noisy_as_the_model_expects():
    """Its noise has the standard deviation sqrt(1 - abar_t) in each call: measured on black pictures."""
    for t, x in list(zip(GRID, shown(torch.zeros(MANY, dtype=torch.float64), HALF), strict=True))[1:]:
        what = f"the noise of the known region that the model is shown at t={t}"
        hint = f"q_sample with torch.randn at the timestep of the call: {EITHER}"
        expect_normal(x[:, HALF == 0], 0.0, (1 - SIX[t]).sqrt().item(), what=what, hint=hint)


def test_the_first_call_shows_the_noised_picture_or_pure_noise():
    """Who replaces before the step shows x0 at timesteps[0], who replaces after it pure noise. Nothing else."""
    black, white = torch.zeros(MANY, dtype=torch.float64), torch.ones(MANY, dtype=torch.float64)
    dark, bright = (shown(x0, HALF)[0][:, HALF == 0] for x0 in (black, white))
    weight = (bright - dark).mean().item()
    right = min((0.0, SIX[5].sqrt().item()), key=lambda w: abs(w - weight))
    hint = "start from torch.randn; you may put the known region back at timesteps[0] before the first step"
    what = "what 1 more in x0 changes in the known region of the first x that the model is shown"
    expect_close(bright - dark, torch.full_like(dark, right), what=what, hint=hint)
    what = "the noise of the known region in the first x that the model is shown"
    expect_normal(dark, 0.0, (1 - right**2) ** 0.5, what=what, hint=hint)


def test_the_hole_starts_from_pure_noise():
    """Not from what x0 holds there: that is what the user wants to be rid of."""
    start = shown(torch.full(MANY, 5.0, dtype=torch.float64), HALF)[0][:, HALF == 1]
    hint = "x starts as torch.randn of the shape of x0, not as x0 noised"
    expect_normal(start, 0.0, 1.0, what="the hole in the first x that the model is shown", hint=hint)


def test_what_was_in_the_hole_plays_no_part(rng):
    """Whatever is painted over must not shine through, not even by way of the model, which here mixes all numbers."""
    x0, mask = randn(rng, 2, 8), HALF[:8]

    def result(x0):
        return inpaint(lambda x, t: x.flip(-1) + x.mean(), x0, mask, GRID, SIX, generator=seeded(0))

    expect_close(
        result(x0 + 100 * mask)[:, mask == 1],
        result(x0)[:, mask == 1],
        what="the repainted hole when x0 is 100 higher there",
        hint="in the hole use only x; x0 counts where the mask is 0",
    )


def test_the_hole_fits_what_is_around_it(rng):
    """For data (a, a), both numbers equal, the exact denoiser is known. Given the first, the second should come out close
    to it: 20 steps reach a correlation of 0.96 with one noise and 0.98 with fresh noise, while pasting x0 over a
    finished sample has none. For 400 pairs 0.8 is more than 15 standard errors from either."""
    abar = torch.linspace(0, torch.pi / 2, 22, dtype=torch.float64)[1:-1].cos() ** 2

    def model(x, t):
        a = column(abar[t], x)
        return (x - a * x.sum(1, keepdim=True) / (1 + a)) / (1 - a).sqrt()

    x0 = randn(rng, 400, 1) * torch.tensor([1.0, 0.0])
    got = inpaint(model, x0, torch.tensor([0, 1]), list(range(19, -1, -1)), abar)
    fit = torch.corrcoef(torch.stack([x0[:, 0], got[:, 1]]))[0, 1].item()
    sentence = (
        f"what is painted should correlate with what is around it (data (a, a)) at 0.8 or more, but does at {fit:.2f}"
    )
    expect(fit >= 0.8, sentence, hint=f"let the model see the known region at every step: {EITHER}")
