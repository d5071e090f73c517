"""Stage 3. Distributions, types, numerics."""

import math

import pytest
import torch

from dojo.testing import FLOATS, expect, expect_close, expect_distribution, expect_equal, expect_unchanged, randn
from katas.hyperparameter_search import bayesian_search, expected_improvement, gp_posterior, grid_search, random_search

from .helpers import RANGES, SEARCHES, loss

N = 4000


def test_ranges_are_uniform_and_log_ranges_log_uniform(seed):
    """A learning rate in (1e-4, 1) drawn uniformly is above 0.1 nine times in ten. Chi-square: 1e-6 false alarms."""
    space = {"x": (-1.0, 3.0), "lr": ("log", 1e-4, 1.0), "k": [10, 20, 30]}
    points = [params for params, _ in random_search(lambda params: 0.0, space, N, seed=seed).trials]
    eighths = torch.full((8,), 1 / 8)
    x = torch.tensor([min(int((p["x"] + 1) * 2), 7) for p in points])
    expect_distribution(x, eighths, what="x in eighths of (-1, 3)", hint="uniform from low to high")
    lr = torch.tensor([min(int((math.log10(p["lr"]) + 4) * 2), 7) for p in points])
    hint = "uniform in the logarithm, then back: each decade is as likely as the others"
    expect_distribution(lr, eighths, what="lr in half decades", hint=hint)
    expect_distribution(
        torch.tensor([p["k"] // 10 - 1 for p in points]), torch.full((3,), 1 / 3), what="k of [10, 20, 30]"
    )
    hint = "a draw for each name: one generator for the whole search, not one for each name"
    expect_distribution((x // 2) * 4 + lr // 2, torch.full((16,), 1 / 16), what="x and lr together", hint=hint)


def test_narrow_ranges_keep_to_their_ends():
    """("log", a, the next number) has two numbers in it. low * (high / low) ** u and exp(log(low) + ...) may round past
    either end, and a probability of 1.0000000000000002 is an error somewhere else."""
    narrow = {f"{low}": ("log", low, math.nextafter(low, 9.0)) for low in (0.1, 0.3, 0.7, 1e-3, 3e-4, 5.0)}
    points = [params for params, _ in random_search(lambda params: 0.0, narrow, 20, seed=2).trials]
    points += [params for params, _ in bayesian_search(lambda params: 0.0, narrow, 3, seed=2).trials]
    outside = [p[n] for p in points for n, (_, low, high) in narrow.items() if not low <= p[n] <= high]
    expect(not outside, f"no value should lie outside its range, but {outside[:3]} do", hint="clip after the rounding")


def test_lists_give_their_very_objects():
    """A value may be a module, a tensor or a function: a copy trains another one. It need not be hashable either."""
    values = [[0.9, 0.99], [0.9, 0.999]]
    points = [p for p, _ in random_search(lambda params: 0.0, {"betas": values, **RANGES}, 20, seed=1).trials]
    for value in values:
        value.append("seen")
    hint = "hand the list's own objects on, no copies of them"
    expect(
        all(p["betas"][-1] == "seen" for p in points), "random_search should give the objects of the list", hint=hint
    )
    points = [p["betas"] for p, _ in grid_search(lambda params: 0.0, {"betas": values, "k": [1, 2]}).trials]
    hint = "lists of lists are fine: no set(), no dict of values"
    expect_equal(sorted(points), sorted(values * 2), what="grid_search's values from a list of lists", hint=hint)


def test_values_come_out_as_they_went_in():
    """np.random.choice turns [1, "a"] into strings and ints into np.int64, which JSON and nn.Linear refuse."""
    values = [16, "auto", None, True, (2, 2)]
    points = [params for params, _ in random_search(lambda params: 0.0, {"v": values, **RANGES}, 80, seed=5).trials]
    kinds = {type(p["v"]) for p in points}
    expect_equal(
        kinds, {int, str, type(None), bool, tuple}, what="the types drawn from a mixed list", hint="draw an index"
    )
    points += [params for params, _ in bayesian_search(lambda params: params["x"], RANGES, 6, seed=5).trials]
    expect_equal(
        {type(p[n]) for p in points for n in RANGES}, {float}, what="the types drawn from ranges", hint="float()"
    )


@pytest.mark.parametrize("search", SEARCHES)
def test_values_are_python_floats(search):
    """A loss that is kept as a tensor carries its graph along, and follows in-place updates: here one buffer for all."""
    buffer = torch.zeros((), dtype=torch.float64)
    result = SEARCHES[search](lambda params: buffer.fill_(loss(params)))
    expect_equal({type(value) for _, value in result.trials}, {float}, what="the types of the values", hint="float()")
    expect_equal(type(result.best_value), float, what="the type of best_value", hint="float()")
    expect_equal([v for _, v in result.trials], [loss(p) for p, _ in result.trials], what="the values", hint="float()")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_certain_predictions_improve_by_their_difference(dtype):
    """std = 0 makes z infinite or 0 / 0: EI is then just max(best - xi - mean, 0)."""
    mean, std = torch.tensor([[-1.0, 0.5], [0.75, 3.0]], dtype=dtype), torch.zeros(2, 2, dtype=dtype)
    want = torch.tensor([[1.75, 0.25], [0.0, 0.0]], dtype=dtype)
    with expect_unchanged(mean, std):
        got = expected_improvement(mean, std, 1.0, 0.25)
    expect_close(got, want, what="EI where std is 0", hint="treat std == 0 apart; xi counts there, too")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_expected_improvement_stays_finite_and_positive_far_away(dtype):
    """improvement * Phi(z) and std * phi(z) nearly cancel for a mean far above the best: rounding can go below 0."""
    mean = torch.linspace(-60, 60, 481).to(dtype)
    for std in (1.0, 1e-3):
        got = expected_improvement(mean, torch.full_like(mean, std), 0.0)
        expect_equal(got.dtype, dtype, what="EI's dtype", hint="give the dtype of mean back")
        expect(
            (got >= 0).all(), f"EI should never be negative or NaN, but its lowest value is {got.min()}", hint="clamp"
        )
        expect_close(got[:200], -mean[:200], what="EI far below the best value", hint="Phi(z) is 1 there, phi(z) 0")


def test_expected_improvement_is_as_small_as_its_units(rng):
    """EI(c mean, c std, c best) = c EI(mean, std, best). `std + 1e-9` keeps a division by 0 away, and drowns a loss that
    is measured in nano-units."""
    mean, std = randn(rng, 20), randn(rng, 20).abs() + 0.1
    whole, small = (expected_improvement(c * mean, c * std, c * 0.4) for c in (1.0, 2.0**-30))
    expect_close(small * 2.0**30, whole, what="EI in other units", hint="add nothing to std; treat std == 0 apart")


def test_the_process_never_gives_a_negative_variance(rng):
    """At a point that was seen, without jitter, 1 - k K^-1 k is 0, and rounds to either side of it. argmax prefers NaN."""
    seen = torch.cartesian_prod(torch.arange(6.0), torch.arange(5.0)).double() + randn(rng, 30, 2) / 20
    _, std = gp_posterior(seen, seen[:, 0], seen, length=0.7, jitter=0.0)
    hint = "clamp the variance at 0 before the square root"
    expect(not std.isnan().any(), f"no deviation should be NaN, but {int(std.isnan().sum())} of 30 are", hint=hint)
    expect(std.max() < 1e-6, f"deviations should be about 0 at the points seen, but one is {std.max():.3g}", hint=hint)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_process_keeps_dtypes_and_its_arguments(rng, dtype):
    """Adding the jitter in place is fine, on a matrix of one's own."""
    seen, values, points = (randn(rng, *shape, dtype=dtype) for shape in ((4, 2), (4,), (3, 2)))
    with expect_unchanged(seen, values, points):
        for what, found in zip(("mean", "deviation"), gp_posterior(seen, values, points), strict=True):
            expect_equal((found.dtype, tuple(found.shape)), (dtype, (3,)), what=f"dtype and shape of the {what}")
