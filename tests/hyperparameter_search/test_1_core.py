"""Stage 1. Grid, random, expected improvement, the process."""

import itertools
import math

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, randn
from katas.hyperparameter_search import expected_improvement, gp_posterior, grid_search, random_search

from .helpers import RANGES, SEARCHES, SPACE, loss


def test_a_grid_is_every_combination_once():
    """3 x 2 x 2 values make 12 points; zipping the lists, or one parameter at a time, tries far fewer."""
    asked = []
    result = grid_search(lambda params: asked.append(tuple(params[name] for name in SPACE)) or 0.0, SPACE)
    hint = "the product of the lists: each value of one name with every value of the others"
    expect_equal(sorted(asked), sorted(itertools.product(*SPACE.values())), what="the points evaluated", hint=hint)
    expect_equal([tuple(p[n] for n in SPACE) for p, _ in result.trials], asked, what="the trials", hint="in that order")


@pytest.mark.parametrize("search", SEARCHES)
def test_the_lowest_value_wins(search):
    """Losses are minimised. Taking the maximum, or comparing the parameters, hands back a bad model."""
    asked = []

    def objective(params):
        asked.append((dict(params), loss(params)))
        return asked[-1][1]

    result = SEARCHES[search](objective)
    expect_equal(result.trials, asked, what=f"{search}'s trials", hint="(params, value), in the order of evaluation")
    lowest = min(value for _, value in asked)
    expect_equal(result.best_value, lowest, what=f"{search}'s best_value", hint="minimise")
    expect_equal(loss(result.best_params), lowest, what=f"the loss of {search}'s best_params", hint="that trial's own")


def test_random_search_draws_inside_the_space():
    """A list gives its values, a range numbers between its ends; a name that is drawn once is no search."""
    space = {**RANGES, "act": ["relu", "gelu"]}
    result = random_search(lambda params: params["x"], space, 200, seed=1)
    expect_equal(len(result.trials), 200, what="the number of trials")
    points = [params for params, _ in result.trials]
    expect_equal({tuple(sorted(p)) for p in points}, {("act", "x", "y")}, what="the names in a point")
    hint = "choice[int(u * len(choice))], and a new u for each trial"
    expect_equal({p["act"] for p in points}, {"relu", "gelu"}, what="the values drawn from a list", hint=hint)
    for name, (low, high) in {"x": (-1.0, 3.0), "y": (1e-4, 1e-1)}.items():
        drawn = [p[name] for p in points]
        hint = "low + (high - low) * u, in the logarithm for a log range; a new draw for each trial"
        expect(low <= min(drawn) and max(drawn) <= high, f"{name} should lie in [{low}, {high}]", hint=hint)
        expect_equal(len(set(drawn)), 200, what=f"the number of different values of {name}", hint=hint)


def test_expected_improvement_at_the_best_value():
    """Where the mean equals the best value half of the draws improve, by std / sqrt(2 pi) on average in all."""
    std = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)
    got = expected_improvement(torch.full_like(std, 2.0), std, 2.0)
    hint = "improvement * Phi(z) + std * phi(z), the density scaled by std, phi(0) = 0.3989; float64 stays float64"
    expect_close(got, std * 0.3989422804014327, what="EI where mean == best", hint=hint, rtol=1e-13, atol=0.0)


@pytest.mark.parametrize("xi", [0.0, 0.7])
def test_expected_improvement_is_the_mean_over_draws(rng, xi):
    """The definition: E[max(best - xi - f, 0)]. Here over 20001 evenly spaced quantiles, so exact to about 1e-4."""
    mean, std = randn(rng, 6), randn(rng, 6).abs() + 0.2
    quantiles = torch.special.ndtri((torch.arange(20001, dtype=torch.float64) + 0.5) / 20001)
    want = (0.4 - xi - (mean + std * quantiles[:, None])).clamp(min=0).mean(0)
    hint = "below the best value is better: improvement = best - xi - mean, z = improvement / std"
    expect_close(expected_improvement(mean, std, 0.4, xi), want, what=f"EI, xi={xi}", hint=hint, rtol=2e-3, atol=2e-4)


def test_one_value_teaches_the_process_this_much():
    """By hand: k is 1 and exp(-1/2) at 0 and 1 length, K is 1 + jitter: mean = k y / K and var = 1 - k^2 / K."""
    seen, points = torch.tensor([[0.25]], dtype=torch.float64), torch.tensor([[0.25], [0.75]], dtype=torch.float64)
    mean, std = gp_posterior(seen, torch.tensor([2.0], dtype=torch.float64), points, length=0.5, jitter=0.25)
    near = torch.tensor([1.0, math.exp(-0.5)], dtype=torch.float64)  # one length away
    hint = "k = exp(-|a - b|^2 / (2 length^2)); mean = k y / (1 + jitter)"
    expect_close(mean, near * 2 / 1.25, what="the mean at the value seen and one length away", hint=hint)
    hint = "the square root of 1 - k^2 / (1 + jitter); the prior's own variance is 1, without the jitter"
    expect_close(std, (1 - near**2 / 1.25).sqrt(), what="the deviation there", hint=hint)


def test_the_process_passes_through_what_it_has_seen(rng):
    """Six values of no pattern: K^-1 is what makes the mean meet all of them. A mean weighted by nearness meets none."""
    seen = torch.cartesian_prod(torch.arange(3.0), torch.arange(2.0)).double()
    values, far = randn(rng, 6), torch.full((1, 2), 40.0, dtype=torch.float64)
    mean, std = gp_posterior(seen, values, torch.cat([seen, far]), length=0.9, jitter=1e-10)
    hint = "mean = k(c, X) K^-1 y: solve with the whole matrix K"
    expect_close(mean[:6], values, what="the mean at the points seen", hint=hint, rtol=1e-6, atol=1e-6)  # jitter
    expect(std[:6].max() < 1e-4, f"the deviation should be 0 at the points seen, but is up to {std[:6].max():.3g}")
    prior = torch.tensor([0.0, 1.0], dtype=torch.float64)
    expect_close(torch.stack([mean[6], std[6]]), prior, what="mean and deviation far away", hint="the prior's: 0 and 1")


def test_distances_are_those_of_all_dimensions_together():
    """3 and 4 make 5: an RBF kernel of several parameters multiplies their kernels, so their squares add up."""
    value = torch.tensor([1.0], dtype=torch.float64)
    plane, line = (torch.tensor(xs, dtype=torch.float64) for xs in ([[0.0, 0.0], [0.3, 0.4]], [[0.0], [0.5]]))
    got = gp_posterior(plane[:1], value, plane[1:], length=0.4)
    want = gp_posterior(line[:1], value, line[1:], length=0.4)
    for name, ours, theirs in zip(("mean", "deviation"), got, want, strict=True):
        expect_close(ours, theirs, what=f"the {name} at distance (0.3, 0.4)", hint="sum the squares over the last axis")
