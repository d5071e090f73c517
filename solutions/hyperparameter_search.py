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


# kata: begin
def _result(trials: list[tuple[Params, float]]) -> SearchResult:
    params, value = min(trials, key=lambda trial: math.inf if math.isnan(trial[1]) else trial[1])
    return SearchResult(params, value, trials)


def _check(space: dict[str, Any], n_trials: int) -> None:
    if not space or n_trials < 1:
        raise ValueError(f"one name and one trial are the least, got {len(space)} and {n_trials}")
    for name, choice in space.items():
        match choice:
            case [_, *_] if isinstance(choice, list):
                continue
            case ("log", low, high) if 0 < low < high < math.inf:
                continue
            case (low, high) if -math.inf < low < high < math.inf:
                continue
        raise ValueError(f"{name}: {choice!r} is no list of values, (low, high) or ('log', low, high)")


def _pick(choice: Any, u: float) -> Any:
    """What stands at the share u in [0, 1) of a list or range."""
    if isinstance(choice, list):
        return choice[int(u * len(choice))]
    low, high = map(float, choice[-2:])
    if len(choice) == 2:
        return low + (high - low) * u
    return sorted([low, low * (high / low) ** u, high])[1]  # rounding may land beside a narrow range


def _named(space: dict[str, Any], values: Iterable[Any]) -> Params:
    return dict(zip(space, values, strict=True))


# kata: end


def grid_search(objective: Objective, space: dict[str, list[Any]]) -> SearchResult:
    """Every combination of one value per name, each evaluated once, in any order.

    The values of a list are distinct. Raises ValueError if the space is empty, or an entry is an empty list or no list.
    """
    # kata: begin
    if not space or not all(isinstance(values, list) and values for values in space.values()):
        raise ValueError("a grid is made of lists of at least one value")
    points = [_named(space, values) for values in itertools.product(*space.values())]
    return _result([(point, float(objective(dict(point)))) for point in points])
    # kata: end


def random_search(objective: Objective, space: dict[str, Any], n_trials: int, *, seed: int) -> SearchResult:
    """n_trials points, all drawn independently, and in each point every name independently; points may repeat.

    A list gives one of its values, each equally likely, as the very object that it is; a range gives a Python float in
    [low, high]. The same seed gives the same trials, other seeds give others.
    Raises ValueError if n_trials < 1, if the space or a list is empty, or if an entry is none of the three kinds;
    ranges are finite with low < high, and 0 < low for "log".
    """
    # kata: begin
    _check(space, n_trials)
    generator = torch.Generator().manual_seed(seed)
    trials = []
    for shares in torch.rand(n_trials, len(space), generator=generator, dtype=torch.float64).tolist():
        point = _named(space, map(_pick, space.values(), shares))
        trials.append((point, float(objective(dict(point)))))
    return _result(trials)
    # kata: end


def expected_improvement(
    mean: Float[Tensor, "*batch"], std: Float[Tensor, "*batch"], best: float | Float[Tensor, ""], xi: float = 0.0
) -> Float[Tensor, "*batch"]:
    """How far below best - xi a draw from N(mean, std^2) falls on average; a draw above it counts as 0.

    Where std is 0 it is max(best - xi - mean, 0). Never negative and never NaN, also far from the best value; the
    dtype (any floating one) and device are kept. Raises ValueError if any std is negative or NaN.
    """
    # kata: begin
    if not (std >= 0).all():
        raise ValueError("a standard deviation is negative or NaN")
    improvement = best - xi - mean
    z = improvement / std  # infinite or NaN where std is 0, and not used there
    density = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    smooth = improvement * torch.special.ndtr(z) + std * density
    return torch.where(std > 0, smooth, improvement).clamp(min=0)
    # kata: end


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
    # kata: begin

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-((a[:, None] - b) ** 2).sum(-1) / (2 * length**2))  # [n, d], [m, d] -> [n, m]

    covariance = kernel(seen, seen)
    covariance.diagonal().add_(jitter)
    factor = torch.linalg.cholesky(covariance)
    whitened = torch.linalg.solve_triangular(factor, kernel(seen, points), upper=False)  # [n, m]
    mean = whitened.T @ torch.linalg.solve_triangular(factor, values[:, None], upper=False)[:, 0]
    return mean, (1 - (whitened**2).sum(0)).clamp(min=0).sqrt()
    # kata: end


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
    # kata: begin
    _check(bounds, n_trials)
    if n_start < 2 or any(isinstance(choice, list) for choice in bounds.values()):
        raise ValueError("a Gaussian process needs distances and a deviation: ranges, and two random points")
    generator = torch.Generator().manual_seed(seed)
    seen: list[Tensor] = []
    trials: list[tuple[Params, float]] = []
    for number in range(n_trials):
        candidates = torch.rand(400, len(bounds), generator=generator, dtype=torch.float64)  # in the unit cube
        score = torch.zeros(len(candidates))  # at first one is as good as the other
        if number >= n_start:
            values = torch.tensor([value for _, value in trials], dtype=torch.float64)
            values = (values - values.mean()) / (values.std() if values.std() > 0 else 1)
            score = expected_improvement(*gp_posterior(torch.stack(seen), values, candidates), values.min())
        seen.append(candidates[score.argmax()])
        point = _named(bounds, map(_pick, bounds.values(), seen[-1].tolist()))
        trials.append((point, float(objective(dict(point)))))
    return _result(trials)
    # kata: end
