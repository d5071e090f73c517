"""Half of the candidates lie around the best point so far; two random points start; the posterior in one block solve."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

Params = dict[str, Any]
Objective = Callable[[Params], float]


@dataclass
class SearchResult:
    best_params: dict[str, Any]
    best_value: float
    trials: list[tuple[dict[str, Any], float]]


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
    if isinstance(choice, list):
        return choice[int(u * len(choice))]
    low, high = choice[-2:]
    if len(choice) == 3:
        return min(low * (high / low) ** u, float(high))
    return min(low + (high - low) * u, float(high))


def _posterior(seen: Tensor, values: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-((a[:, None] - b) ** 2).sum(-1) / (2 * 0.4**2))  # [n, d], [m, d] -> [n, m]

    jitter = 1e-6 * torch.eye(len(seen), dtype=seen.dtype)
    factor = torch.linalg.cholesky(kernel(seen, seen) + jitter)
    whitened = torch.linalg.solve_triangular(factor, kernel(seen, points), upper=False)  # [n, m]
    mean = kernel(points, seen) @ torch.cholesky_solve(values[:, None], factor).squeeze(1)
    return mean, (1 - (whitened**2).sum(0)).clamp(min=0).sqrt()  # rounding can make a variance negative


def grid_search(objective: Objective, space: dict[str, list[Any]]) -> SearchResult:
    _check(space, 1)
    if not all(isinstance(values, list) for values in space.values()):
        raise ValueError("a grid is made of lists")
    points = [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]
    return _result([(point, float(objective(dict(point)))) for point in points])


def random_search(objective: Objective, space: dict[str, Any], n_trials: int, *, seed: int) -> SearchResult:
    _check(space, n_trials)
    generator = torch.Generator().manual_seed(seed)
    trials = []
    for shares in torch.rand(n_trials, len(space), generator=generator, dtype=torch.float64).tolist():
        point = {name: _pick(choice, u) for (name, choice), u in zip(space.items(), shares, strict=True)}
        trials.append((point, float(objective(dict(point)))))
    return _result(trials)


def expected_improvement(
    mean: Float[Tensor, "*batch"], std: Float[Tensor, "*batch"], best: float | Float[Tensor, ""], xi: float = 0.0
) -> Float[Tensor, "*batch"]:
    if not (std >= 0).all():
        raise ValueError("a standard deviation is negative or NaN")
    improvement = best - xi - mean
    z = improvement / std  # infinite or NaN where std is 0, and not used there
    density = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    smooth = improvement * torch.special.ndtr(z) + std * density
    return torch.where(std > 0, smooth, improvement).clamp(min=0)


def bayesian_search(objective: Objective, bounds: dict[str, Any], n_trials: int, *, seed: int) -> SearchResult:
    _check(bounds, n_trials)
    if any(isinstance(choice, list) for choice in bounds.values()):
        raise ValueError("bounds are ranges: a Gaussian process needs distances")
    generator = torch.Generator().manual_seed(seed)
    seen: list[Tensor] = []
    trials: list[tuple[Params, float]] = []
    for number in range(n_trials):
        candidates = torch.rand(400, len(bounds), generator=generator, dtype=torch.float64)  # in the unit cube
        share = candidates[0]
        if trials:
            best = min(range(number), key=lambda i: trials[i][1])
            near = seen[best] + 0.1 * torch.randn(200, len(bounds), generator=generator, dtype=torch.float64)
            candidates = torch.cat([candidates[:200], near.clamp(0, 1)])
        if number >= 2:
            values = torch.tensor([value for _, value in trials], dtype=torch.float64)
            values = (values - values.mean()) / (values.std() if values.std() > 0 else 1)
            mean, std = _posterior(torch.stack(seen), values, candidates)
            share = candidates[expected_improvement(mean, std, values.min()).argmax()]
        point = {name: _pick(choice, u) for (name, choice), u in zip(bounds.items(), share.tolist(), strict=True)}
        trials.append((point, float(objective(dict(point)))))
        seen.append(share)
    return _result(trials)
