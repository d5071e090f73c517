"""Stage 1. The forward process, its posterior, one reverse step."""

import pytest
import torch
from torch.distributions import Normal

from dojo.testing import expect_close, expect_rng_untouched, numbers, randn
from dojo.testing.diffusion import expect_normal, no_noise
from katas.ddpm import p_sample, predict_x0, q_posterior, q_sample

from .helpers import ABAR, BETAS, BOTH, MANY, mean_of_step, schedule


def test_q_sample_weighs_signal_and_noise_by_square_roots():
    """A worked example: 0.8 x 2 + 0.6 x (-1) = 1 after one step and 0.6 x 2 + 0.8 x (-1) = 0.4 after two."""
    expect_close(
        q_sample(numbers(2, 2), BOTH, numbers(-1, -1), ABAR),
        numbers(1.0, 0.4),
        what="q_sample(2, t=[0, 1], noise=-1, abar=[0.64, 0.36])",
        hint="sqrt(abar_t) x0 + sqrt(1 - abar_t) noise, at each row's own t: both weights are roots, and abar is already a product",
    )


def test_q_sample_uses_the_noise_it_is_given(rng):
    """Training compares the prediction with this very noise: drawing anew inside makes the target unlearnable."""
    noise = randn(rng, 2, 50)
    with expect_rng_untouched(what="q_sample", hint="use the `noise` argument; draw nothing"):
        got = q_sample(torch.zeros_like(noise), BOTH, noise, ABAR)
    expect_close(
        got,
        noise * numbers(0.6, 0.8)[:, None],
        what="q_sample of x0 = 0",
        hint="without signal, what is left is sqrt(1 - abar_t) times the given noise",
    )


def test_predict_x0_solves_q_sample_for_the_clean_data():
    """The worked example backwards: x_t = [1, 0.4] with noise -1 came from 2. This is what clipping looks at."""
    expect_close(
        predict_x0(numbers(1.0, 0.4), BOTH, numbers(-1, -1), ABAR),
        numbers(2, 2),
        what="predict_x0([1, 0.4], t=[0, 1], eps=-1, abar=[0.64, 0.36])",
        hint="(x_t - sqrt(1 - abar_t) eps) / sqrt(abar_t): divide the whole difference, by the root; and do not clip",
    )


def test_posterior_of_the_worked_example():
    """At t = 1: c_0 = 0.8 x 0.4375 / 0.64, c_t = 0.75 x 0.36 / 0.64, variance 0.4375 x 0.36 / 0.64."""
    mean, variance = q_posterior(numbers(1, 0), numbers(0, 1), torch.tensor([1, 1]), BETAS)
    expect_close(
        mean,
        numbers(0.546875, 0.421875),
        what="q_posterior's weights of (x0, x_t) at t=1 for betas=[0.36, 0.4375]",
        hint="x0 gets sqrt(abar_{t-1}) beta_t, x_t gets sqrt(alpha_t) (1 - abar_{t-1}), both over (1 - abar_t)",
    )
    expect_close(
        variance.expand(2),
        numbers(0.24609375, 0.24609375),
        what="q_posterior's variance at t=1 for betas=[0.36, 0.4375]",
        hint="beta-tilde = beta_t (1 - abar_{t-1}) / (1 - abar_t): a variance, so no root and no logarithm",
    )


def test_posterior_is_bayes_rule(rng):
    """q(x_{t-1} | x_t, x_0) is proportional to q(x_t | x_{t-1}) q(x_{t-1} | x_0): the logs differ by one constant
    wherever x_{t-1} is. A right answer to 'where does the posterior come from?' starts here."""
    betas, abar = schedule(8)
    t = torch.arange(1, 8)
    x0, x_t = randn(rng, 2, 7)
    mean, variance = q_posterior(x0, x_t, t, betas)
    earlier = numbers(-2, -0.5, 0, 1, 3)[:, None]  # five places where x_{t-1} could be, for all seven steps
    prior = Normal(abar[t - 1].sqrt() * x0, (1 - abar[t - 1]).sqrt()).log_prob(earlier)
    likelihood = Normal((1 - betas[t]).sqrt() * earlier, betas[t].sqrt()).log_prob(x_t)
    posterior = Normal(mean, variance.clamp(min=1e-12).sqrt()).log_prob(earlier)
    evidence = prior + likelihood - posterior
    expect_close(
        evidence,
        evidence[:1].expand(5, -1),
        what="log prior + log likelihood - log posterior (rows: places of x_{t-1}, columns: t = 1..7)",
        hint="multiply the two Gaussians, precisions add; is abar_{t-1} the entry *before* t?",
    )


def test_posterior_of_the_first_step_is_the_clean_data(rng):
    """Before step 0 nothing is noisy: abar_{-1} = 1, and x_{-1} is x0 for certain. Padding on the wrong side breaks it."""
    x0, x_t = randn(rng, 2, 3, 4)
    mean, variance = q_posterior(x0, x_t, torch.zeros(3, dtype=torch.int64), schedule(5)[0])
    hint = "abar_{t-1} at t=0 is 1: put the 1 in front of abar and drop its last entry"
    expect_close(mean, x0, what="q_posterior's mean at t=0 (x0 itself)", hint=hint)
    expect_close(variance.expand(3, 4), torch.zeros_like(x0), what="q_posterior's variance at t=0", hint=hint)


def test_step_of_the_worked_example():
    """At t = 1: x_t has weight 1 / sqrt(alpha) = 1 / 0.75, and eps weight -beta / (sqrt(1 - abar) sqrt(alpha))."""
    expect_close(
        mean_of_step(numbers(0, 1), numbers(1, 0), torch.tensor([1, 1]), BETAS),
        numbers(1 / 0.75, -0.4375 / (0.8 * 0.75)),
        what="p_sample's mean weights of (x_t, eps) at t=1 for betas=[0.36, 0.4375]",
        hint="(x_t - beta_t / sqrt(1 - abar_t) eps) / sqrt(alpha_t), which is q_posterior's mean for the predicted x0",
    )


@pytest.mark.parametrize(
    ("options", "variance"),
    [({"variance": "posterior"}, 0.24609375), ({"variance": "beta"}, 0.4375), ({}, 0.24609375)],
    ids=["posterior", "beta", "default"],
)
def test_spread_of_a_step_is_the_root_of_the_variance(rng, options, variance):
    """t = 1 is noisy, with the asked-for variance (beta-tilde unless told); its root is the factor of the noise."""
    t = torch.ones(MANY[0], dtype=torch.int64)
    expect_normal(
        p_sample(no_noise, torch.zeros(MANY, dtype=torch.float64), t, BETAS, **options),
        0.0,
        variance**0.5,
        what=f"steps from x_t = 0 at t=1 with betas=[0.36, 0.4375] and {options or 'the default variance'}",
        hint="add sqrt(variance) times torch.randn; `posterior`, the default, is beta-tilde_t; `beta` is beta_t",
    )
