"""Hyperparameter search.

Given a budget of trials, how do you choose hyperparameters: by grid, at random, or with a model of the objective?

Grid search tries every combination. Random search draws every trial anew, so each parameter takes n different values
in n trials. Bayesian search fits a Gaussian process to the trials so far and evaluates next where the expected
improvement over the best value is largest. For a prediction N(mean, std^2), minimising, with improvement = best - xi -
mean, z = improvement / std, and Phi and phi the standard normal distribution function and density; and for a process of
prior mean 0 that has seen y at X:

    EI = E[max(best - xi - f, 0)] = improvement * Phi(z) + std * phi(z)
    posterior of the GP at c:  mean = k(c, X) K^-1 y,  var = k(c, c) - k(c, X) K^-1 k(X, c),  K = k(X, X) + jitter * I
    RBF kernel:  k(a, b) = exp(-|a - b|^2 / (2 * length^2))

A space maps each name to a list of values, to (low, high), uniform, or to ("log", low, high), uniform in the logarithm.
All searches minimise, call the objective once per trial, and touch no global random stream (torch, numpy or random).
The objective gets a dict of its own, which it may change. Spaces are not modified. float() makes a number of a value.
Rules: write the searches, the Gaussian process and EI yourself; EI and the process with torch, the rest as you like.

Stage 1: grid, random, EI, the process.  Stage 2: ties, seeds, NaN, budgets, wrong arguments.  Stage 3: distributions,
types, numerics.  Stage 4: EI and the process without a loop over candidates; Bayesian search in any units, exploring
what it does not know, against random search.

Sources: Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization" (2012); Jones, Schonlau and Welch,
"Efficient Global Optimization of Expensive Black-Box Functions" (1998), for EI.
"""

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Params = dict[str, Any]
Objective = Callable[[Params], float]


@dataclass
class SearchResult:
    """`trials` in the order of evaluation, as (params, value); best_params and best_value are those of the lowest value.

    Among equal values the first trial is best. NaN (a diverged run) stays in `trials` and is never best, as long as
    one value is a number. The params in `trials` are what the objective was given, whatever it did to its dict.
    """

    best_params: dict[str, Any]
    best_value: float
    trials: list[tuple[dict[str, Any], float]]


def grid_search(objective: Objective, space: dict[str, list[Any]]) -> SearchResult:
    """Every combination of one value per name, each evaluated once, in any order.

    The values of a list are distinct. Raises ValueError if the space is empty, or an entry is an empty list or no list.
    """
    raise NotImplementedError("hyperparameter_search.grid_search: write me")


def random_search(objective: Objective, space: dict[str, Any], n_trials: int, *, seed: int) -> SearchResult:
    """n_trials points, all drawn independently, and in each point every name independently; points may repeat.

    A list gives one of its values, each equally likely, as the very object that it is; a range gives a Python float in
    [low, high]. The same seed gives the same trials, other seeds give others.
    Raises ValueError if n_trials < 1, if the space or a list is empty, or if an entry is none of the three kinds;
    ranges are finite with low < high, and 0 < low for "log".
    """
    raise NotImplementedError("hyperparameter_search.random_search: write me")


def expected_improvement(
    mean: Float[Tensor, "*batch"], std: Float[Tensor, "*batch"], best: float | Float[Tensor, ""], xi: float = 0.0
) -> Float[Tensor, "*batch"]:
    """How far below best - xi a draw from N(mean, std^2) falls on average; a draw above it counts as 0.

    Where std is 0 it is max(best - xi - mean, 0). Never negative and never NaN, also far from the best value; the
    dtype (any floating one) and device are kept. Raises ValueError if any std is negative or NaN.
    """
    raise NotImplementedError("hyperparameter_search.expected_improvement: write me")


def gp_posterior(
    seen: Float[Tensor, "n d"],
    values: Float[Tensor, " n"],
    points: Float[Tensor, "m d"],
    length: float = 0.4,
    jitter: float = 1e-6,
) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"]]:
    """Mean and standard deviation at `points` of a Gaussian process that has seen `values` at `seen`.

    The formulas above, with the RBF kernel: before it has seen anything the process has mean 0 and deviation 1. The
    jitter stands on the diagonal of K and nowhere else. The dtype is kept. Where rounding makes a variance negative, the
    deviation is 0, not NaN. The number of operators does not depend on the number of points.
    """
    raise NotImplementedError("hyperparameter_search.gp_posterior: write me")


def bayesian_search(
    objective: Objective, bounds: dict[str, Any], n_trials: int, *, seed: int, n_start: int = 4
) -> SearchResult:
    """n_trials evaluations in all: the first n_start at random, then each where EI is largest under a Gaussian process.

    bounds maps names to ranges as in random_search (no lists). The process works in float64 and sees the ranges scaled
    to [0, 1], "log" ones by their logarithm, and the values scaled to mean 0 and deviation 1, so it works in any units;
    a kernel length of 0.2 to 1 is right there, fixed or fitted. EI may be maximised over a few hundred random candidates.
    Points are Python floats in [low, high], and none is evaluated twice. The first n_start (all, if n_trials is less)
    depend on the seed alone, not on the values. The objective returns finite numbers here, maybe always the same one,
    and then only uncertainty counts. The same seed gives the same trials on the same objective.
    Raises ValueError as random_search does, if n_start < 2 (one value has no deviation), and if an entry is a list.

    What is measured, each over 20 seeds. On a round bowl in 2 dimensions the median of the best of 16 values is at most a
    quarter of random search's. On a constant in the unit square the last 8 of 16 points keep at least 0.1 from each other
    and from all before, in the median. Where the first 4 values are 1 and all later ones 0, it goes on exploring: in the
    unit cube, the median of the distances from points 6 to 12 to their nearest neighbour before them is at least 0.1 on
    average.
    """
    raise NotImplementedError("hyperparameter_search.bayesian_search: write me")
