"""Stage 1. The grid, one step."""

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, numbers, randn
from dojo.testing.diffusion import SIX, column
from katas.ddim import ddim_step, ddim_timesteps

from .helpers import ABAR, abar_at, at


def diffused(x0, t, noise, abar):
    """x_t as DDPM's forward process makes it: what a sampler's path should look like."""
    a = column(abar_at(t, abar), x0)
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


@pytest.mark.parametrize(
    ("steps", "count", "grid"),
    [
        (1000, 5, [800, 600, 400, 200, 0]),
        (10, 4, [7, 5, 2, 0]),
        (1000, 3, [666, 333, 0]),
        (4, 4, [3, 2, 1, 0]),
        (1, 1, [0]),
    ],
)
def test_the_grid_is_spread_over_all_steps_and_falls_to_0(steps, count, grid):
    """A fixed stride of steps // count would leave the noisiest steps out wherever count does not divide steps."""
    got = ddim_timesteps(steps, count)
    what = f"ddim_timesteps({steps}, {count})"
    expect(isinstance(got, list), f"{what} should be a list of ints, but is a {type(got).__name__}")
    expect_equal(
        got, grid, what=what, hint="i * steps // count, multiplied before it is divided, for i = count - 1, ..., 1, 0"
    )


def test_a_deterministic_step_of_the_worked_example():
    """x_t = 1 with eps = -1 at abar = 0.36 shows x0 = (1 + 0.8) / 0.6 = 3; at 0.64 that gives 0.8 x 3 - 0.6 = 1.8."""
    expect_close(
        ddim_step(numbers(1), numbers(-1), at(1), at(0), ABAR),
        numbers(1.8),
        what="ddim_step(x_t=1, eps=-1, t=1, t_prev=0, abar=[0.64, 0.36])",
        hint="predict x0 with the weights of t, then combine x0 and the same eps with the weights of t_prev",
    )


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_the_last_step_returns_the_predicted_x0(eta):
    """Before step 0 nothing is noisy, abar = 1, so sigma = 0 for any eta: noise there is grain that nothing removes. As
    an index, -1 is the *noisiest* step: the picture would drown."""
    expect_close(
        ddim_step(numbers(1, 1), numbers(-1, -1), at(0, 1), at(-1, -1), ABAR, eta, numbers(5, 5)),
        numbers(2, 3),
        what=f"ddim_step(x_t=1, eps=-1, t=[0, 1], t_prev=-1, abar=[0.64, 0.36], eta={eta}), the predicted x0",
        hint="abar is 1 where t_prev is -1: neither alphas_cumprod[-1] nor alphas_cumprod[0]; and nothing is clipped",
    )


def test_with_the_true_noise_a_step_lands_on_the_forward_process(rng):
    """Why steps can be skipped: if eps is right, x_t' is exactly what q(x_t' | x_0) makes of the same x0 and noise,
    however far the jump."""
    x0, noise = randn(rng, 2, 15)
    later, earlier = torch.combinations(torch.arange(-1, 5), 2).T.flip(0)  # all pairs of steps
    expect_close(
        ddim_step(diffused(x0, later, noise, SIX), noise, later, earlier, SIX),
        diffused(x0, earlier, noise, SIX),
        what="ddim_step, with the true noise, for all pairs of t and t_prev among 5 steps",
        hint="the result is sqrt(abar') x0 + sqrt(1 - abar') eps, with abar' = abar at t_prev",
    )


def test_sigma_of_the_worked_example():
    """At eta = 1 from abar = 0.36 to 0.64: sigma^2 = 0.36 / 0.64 x (1 - 0.5625) = 0.24609375. From zeros only
    sigma x noise is left; eta scales sigma, not its square."""
    zero = numbers(0.0)
    for eta in (1.0, 0.5, 0.1):
        expect_close(
            ddim_step(zero, zero, at(1), at(0), ABAR, eta, numbers(2)),
            numbers(2 * eta * 0.24609375**0.5),
            what=f"ddim_step(x_t=0, eps=0, t=1, t_prev=0, abar=[0.64, 0.36], eta={eta}, noise=2)",
            hint="sigma = eta sqrt((1 - abar') / (1 - abar)) sqrt(1 - abar / abar'), and noise is multiplied by sigma",
        )


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_noise_replaces_part_of_eps_so_that_the_variance_stays(eta):
    """The weights of eps and noise, squared, add up to 1 - abar': added on top, the noise would make every step too
    noisy. The weight of x0 is the same for every eta."""
    x0_weight, eps_weight, noise_weight = (
        ddim_step(diffused(x0, at(1), eps, ABAR), eps, at(1), at(0), ABAR, eta, noise)
        for x0, eps, noise in (numbers(1, 0, 0).split(1), numbers(0, 1, 0).split(1), numbers(0, 0, 1).split(1))
    )
    hint = "the direction's weight is sqrt(1 - abar' - sigma^2): sigma squared, under the root"
    expect_close(x0_weight, numbers(0.8), what=f"the weight of x0 in x_t' at eta={eta}", hint=hint)
    expect_close(
        eps_weight**2 + noise_weight**2,
        numbers(0.36),
        what=f"the squared weights of eps and noise, added, at eta={eta} and abar'=0.64",
        hint=hint,
    )


def test_eta_1_at_stride_1_is_the_ddpm_step(rng):
    """Ancestral sampling is a special case: mean (x - beta / sqrt(1 - abar) eps) / sqrt(alpha), variance beta-tilde."""
    x, eps, noise = randn(rng, 3, 5)
    t = torch.arange(1, 6)
    beta = 1 - SIX[t] / SIX[t - 1]
    mean = (x - beta / (1 - SIX[t]).sqrt() * eps) / (1 - beta).sqrt()
    expect_close(
        ddim_step(x, eps, t, t - 1, SIX, 1.0, noise),
        mean + (beta * (1 - SIX[t - 1]) / (1 - SIX[t])).sqrt() * noise,
        what="ddim_step(eta=1) from t to t - 1, beside DDPM's step with the posterior variance,",
        hint="sigma at eta = 1 is the root of the posterior variance; is it taken out of the weight of eps?",
    )
