"""Stage 2. Ties, seeds, NaN, budgets, wrong arguments."""

import copy
import math
import random
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, expect_raises, expect_rng_untouched, randn
from katas.hyperparameter_search import bayesian_search, expected_improvement, gp_posterior, grid_search, random_search

from .helpers import RANGES, SEARCHES, SPACE, loss


@contextmanager
def expect_streams_untouched(what):
    python, numpy = random.getstate(), np.random.get_state()
    with expect_rng_untouched(what=what, hint="a generator of your own, made from the seed"):
        yield
    same = python == random.getstate() and np.array_equal(numpy[1], np.random.get_state()[1])
    expect(
        same and numpy[2] == np.random.get_state()[2],
        f"{what} should leave the streams of random and numpy alone, but drew from them or seeded them",
        hint="a generator of your own: random.Random(seed), np.random.default_rng(seed), torch.Generator()",
    )


@pytest.mark.parametrize("search", SEARCHES)
def test_of_equal_values_the_first_trial_is_best(search):
    """A later equal trial cost more and won nothing; `<=` keeps the last. A constant objective must not divide by 0."""
    result = SEARCHES[search](lambda params: 5.0)
    expect_equal(
        result.best_params, result.trials[0][0], what=f"{search}'s best_params among ties", hint="keep the first"
    )


@pytest.mark.parametrize("search", ["grid_search", "random_search"])
def test_a_diverged_trial_is_never_best(search):
    """min() keeps a NaN that comes first, because nothing compares as smaller; argmin returns it wherever it is."""
    for broken in (0, 2):
        values = [3.0, 2.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]
        values[broken] = math.nan
        left = iter(values)
        result = SEARCHES[search](lambda params, left=left: next(left))
        expect_equal(result.best_value, 2.0, what=f"{search}'s best_value, trial {broken} NaN", hint="skip NaN")
        expect(math.isnan(result.trials[broken][1]), "a NaN should stay in the trials, but is gone")


@pytest.mark.parametrize("search", SEARCHES)
def test_the_objective_may_change_its_dict(search):
    """Objectives pop what they need. What was evaluated must stay on record, and the next trial must not suffer."""

    def objective(params):
        value = loss(params)
        params.clear()
        return value

    result = SEARCHES[search](objective)
    hint = "give the objective a dict of its own: dict(params)"
    kept = [sorted(params) for params, _ in result.trials]
    expect_equal(
        kept, [["x", "y"]] * len(kept), what="the names in the trials, once the objective cleared its", hint=hint
    )
    expect_equal(loss(result.best_params), result.best_value, what="the loss of best_params", hint=hint)


def test_the_space_is_not_modified():
    """Popping "log", sorting a list or writing a drawn value into the space changes the caller's next search."""
    for space, search in (
        ({**RANGES, "k": list(range(9))}, lambda s: random_search(lambda params: 0.0, s, 5, seed=0)),
        (dict(RANGES), lambda s: bayesian_search(lambda params: params["x"], s, 5, seed=0)),
        (copy.deepcopy(SPACE), lambda s: grid_search(lambda params: 0.0, s)),
    ):
        before = copy.deepcopy(space)
        search(space)
        expect_equal(space, before, what="the space after the search", hint="only read it")


@pytest.mark.parametrize("search", [random_search, bayesian_search], ids=lambda s: s.__name__)
def test_a_seed_fixes_the_trials_and_nothing_else(search, seed):
    """A search must be repeatable, must differ under another seed, and leaves the training's random streams alone."""
    name = search.__name__
    with expect_streams_untouched(name):
        first = search(lambda params: params["x"] ** 2, RANGES, 8, seed=seed).trials
    torch.rand(1)
    again = search(lambda params: params["x"] ** 2, RANGES, 8, seed=seed).trials
    hint = "everything random comes from one generator of your own, seeded with `seed`"
    same = f"{name} should make the same trials with the same seed, but made {first[0]} first, and then {again[0]}"
    expect(again == first, same, hint=hint)
    other = search(lambda params: params["x"] ** 2, RANGES, 8, seed=seed + 1).trials
    sentence = f"{name} should start elsewhere with another seed, but starts at {first[0]} again"
    expect(other[0] != first[0], sentence, hint=hint)


def test_random_points_may_repeat():
    """10 draws from 10 values are all different in 4 of 10000 searches: draws without replacement, or anew until they
    differ, are not independent, and in a space of lists they run out."""
    several = [
        len({params["k"] for params, _ in random_search(lambda params: 0.0, {"k": list(range(10))}, 10, seed=s).trials})
        for s in range(3)
    ]
    hint = "draw every trial anew, whatever came before: no shuffling, no `while point in seen`"
    expect(min(several) < 10, "10 draws from 10 values should repeat some, but in 3 searches none did", hint=hint)


@pytest.mark.parametrize("n_start", [None, 2, 7])
def test_the_first_points_are_drawn_and_the_next_depend_on_the_values(n_start):
    """Upside down, an objective has its lowest value elsewhere: the random start cannot know, and then the model must."""
    option = {} if n_start is None else {"n_start": n_start}

    def points(sign, seed):
        trials = bayesian_search(lambda p: sign * (p["x"] - p["y"]), RANGES, 9, seed=seed, **option).trials
        return [params for params, _ in trials]

    pairs = [zip(points(1, seed), points(-1, seed), strict=True) for seed in range(5)]
    differ = [any(a != b for a, b in both) for both in zip(*pairs, strict=True)]
    first, what = n_start or 4, "n_start (4 unless told)" if n_start is None else f"n_start={n_start}"
    hint = "no value decides about the first n_start points; number n_start + 1 is the model's"
    expect(not any(differ[:first]), f"{what}: the first {first} points should depend on the seed alone", hint=hint)
    expect(differ[first], f"{what}: point {first + 1} should depend on the values before it, but does not", hint=hint)


def test_no_point_is_tried_twice():
    """In one dimension the best few candidates are soon used up: a fixed list of them comes back to the same ones."""
    tried = []
    bayesian_search(lambda params: tried.append(params["x"]) or (params["x"] - 0.3) ** 2, {"x": (0, 1)}, 30, seed=1)
    expect_equal(
        len(set(tried)), 30, what="the number of different points of 30", hint="draw new candidates every time"
    )


@pytest.mark.parametrize("n_trials", [1, 2, 3, 12])
def test_bayesian_search_keeps_to_its_budget_and_bounds(n_trials):
    """The random start is part of the budget. No point is tried twice: a trial costs a training run."""
    points = []
    bayesian_search(lambda params: points.append((params["x"], params["y"])) or params["x"], RANGES, n_trials, seed=2)
    expect_equal(len(points), n_trials, what="the number of evaluations", hint="the first random points count, too")
    expect_equal(len(set(points)), n_trials, what="the number of different points", hint="never repeat a trial")
    inside = all(-1 <= x <= 3 and 1e-4 <= y <= 1e-1 for x, y in points)
    expect(inside, f"every point should lie in {RANGES}, but they are {points}", hint="scale back from the unit cube")


def test_the_process_has_these_defaults(rng):
    """Where one value was seen, jitter / (1 + jitter) of the variance is left: 1e-6 of it, unless told."""
    seen, values = randn(rng, 5, 2), randn(rng, 5)
    points = torch.cat([seen, randn(rng, 3, 2)])
    for name, ours, explicit in zip(
        ("mean", "deviation"),
        gp_posterior(seen, values, points),
        gp_posterior(seen, values, points, length=0.4, jitter=1e-6),
        strict=True,
    ):
        expect_close(ours, explicit, what=f"the {name} with the defaults", hint="length=0.4, jitter=1e-6")


@pytest.mark.parametrize(
    "choice",
    [[], (1.0, 1.0), (2.0, 1.0), (0.0, math.inf), (1.0, 2.0, 3.0), ("log", 0.0, 1.0), ("ln", 1.0, 2.0)],
    ids=str,
)
def test_a_wrong_entry_of_a_space_is_an_error(choice):
    """Better before the first training run than after the tenth."""
    for search in (random_search, bayesian_search):
        with expect_raises(ValueError, what=f"{search.__name__} over {choice}"):
            search(lambda params: 0.0, {"a": (0.0, 1.0), "b": choice}, 3, seed=0)
    for right in ([1, 2], ("log", 0.1, 1.0)):
        with expect_raises(ValueError, what=f"random_search over {right} and {choice}", hint="check every entry"):
            random_search(lambda params: 0.0, {"a": right, "b": choice}, 3, seed=0)
    with expect_raises(ValueError, what=f"grid_search over {choice}", hint="a grid takes lists that are not empty"):
        grid_search(lambda params: 0.0, {"a": [1, 2], "b": choice})


def test_other_wrong_arguments_are_errors():
    """An empty space has nothing to search; a list has no distances; a standard deviation is not negative."""
    one = torch.ones(2)
    for what, call in {
        "grid_search, empty space": lambda: grid_search(lambda params: 0.0, {}),
        "random_search, empty space": lambda: random_search(lambda params: 0.0, {}, 3, seed=0),
        "bayesian_search, empty space": lambda: bayesian_search(lambda params: 0.0, {}, 3, seed=0),
        "random_search, n_trials=0": lambda: random_search(lambda params: 0.0, RANGES, 0, seed=0),
        "bayesian_search, n_trials=0": lambda: bayesian_search(lambda params: 0.0, RANGES, 0, seed=0),
        "random_search, n_trials=-1": lambda: random_search(lambda params: 0.0, RANGES, -1, seed=0),
        "bayesian_search, n_trials=-1": lambda: bayesian_search(lambda params: 0.0, RANGES, -1, seed=0),
        "bayesian_search, n_start=1": lambda: bayesian_search(lambda params: 0.0, RANGES, 3, seed=0, n_start=1),
        "bayesian_search over a list": lambda: bayesian_search(lambda params: 0.0, {"a": [1, 2]}, 3, seed=0),
        "grid_search over a range": lambda: grid_search(lambda params: 0.0, {"a": (0.0, 1.0)}),
        "EI, one std negative": lambda: expected_improvement(one, torch.tensor([1.0, -0.1]), 0.0),
        "EI, one std NaN": lambda: expected_improvement(one, torch.tensor([math.nan, 1.0]), 0.0),
    }.items():
        with expect_raises(ValueError, what=what, hint="check the arguments before the first trial"):
            call()
