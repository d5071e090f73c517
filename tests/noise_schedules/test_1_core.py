"""Stage 1. The formulas."""

from dojo.testing import expect_equal, numbers
from katas.noise_schedules import alphas_cumprod, cosine_betas, linear_betas, snr

from .helpers import expect_betas


def test_linear_betas_are_equally_spaced_and_include_both_ends():
    """Five steps from 0.1 to 0.5: four gaps of 0.1."""
    expect_betas(
        linear_betas(5, 0.1, 0.5),
        numbers(0.1, 0.2, 0.3, 0.4, 0.5),
        what="linear_betas(5, 0.1, 0.5)",
        hint="torch.linspace(start, end, steps): the betas are evenly spaced (not their roots), and the last is `end`",
    )


def test_linear_betas_of_the_paper():
    """1000 steps from 1e-4 to 0.02: what nearly every DDPM was trained with. Entry 333 lies a third of the way up."""
    betas = linear_betas(1000)
    expect_equal(list(betas.shape), [1000], what="the shape of linear_betas(1000)")
    expect_betas(
        betas[[0, 333, 999]],
        numbers(1e-4, 0.0202 / 3, 0.02),
        what="entries 0, 333 and 999 of linear_betas(1000)",
        hint="the defaults are 1e-4 and 0.02",
    )


def test_cosine_betas_of_a_worked_example():
    """Without offset three steps turn by 30 degrees each: f is 1, 3/4, 1/4, 0; beta is 1/4, 2/3 and (clipped) 0.999."""
    expect_betas(
        cosine_betas(3, s=0.0),
        numbers(1 / 4, 2 / 3, 0.999),
        what="cosine_betas(3, s=0)",
        hint="f is the *square* of a cosine of a quarter turn; beta_t = 1 - f((t + 1) / T) / f(t / T), at most 0.999",
    )


def test_the_offset_starts_the_turn_late_and_still_ends_it_at_a_quarter():
    """With s = 1/2 two steps go from 30 degrees over 60 to 90: f is 3/4, 1/4, 0."""
    expect_betas(
        cosine_betas(2, s=0.5),
        numbers(2 / 3, 0.999),
        what="cosine_betas(2, s=0.5)",
        hint="the angle is pi/2 (u + s) / (1 + s): add s before you divide. And abar is f over f(0), not f alone",
    )


def test_cosine_betas_of_the_paper():
    """1000 steps with s = 0.008. Without the offset the first beta would be 2.5e-6, and the first steps add nothing."""
    betas = cosine_betas(1000)
    expect_equal(list(betas.shape), [1000], what="the shape of cosine_betas(1000)")
    expect_betas(
        betas[[0, 500, 999]],
        numbers(4.12842248e-05, 3.15569144e-03, 0.999),
        what="entries 0, 500 and 999 of cosine_betas(1000)",
        hint="s is 0.008 unless told, max_beta 0.999; small betas are differences of numbers near 1, so use float64",
    )


def test_alphas_cumprod_multiplies_what_each_step_leaves():
    """Betas of 0.36 and 0.4375 leave 0.64 and then 0.5625 of that, 0.36. Entry 0 is one step in, not clean data."""
    expect_betas(
        alphas_cumprod(numbers(0.36, 0.4375, 0.5)),
        numbers(0.64, 0.36, 0.18),
        what="alphas_cumprod([0.36, 0.4375, 0.5])",
        hint="the cumulative *product* of 1 - beta, step t included; no root",
    )


def test_snr_is_the_ratio_of_the_variances():
    """At abar = 0.8 there are 0.8 of signal to 0.2 of noise: 4, not 2 (deviations), not 1.39 (logarithm)."""
    expect_betas(
        snr(numbers(0.8, 0.5, 0.2)),
        numbers(4, 1, 0.25),
        what="snr([0.8, 0.5, 0.2])",
        hint="abar / (1 - abar): signal over noise, without root or logarithm",
    )
