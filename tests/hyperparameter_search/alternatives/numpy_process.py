"""The process in numpy with a plain inverse and K^-1 y; draws from numpy's generator; the log range through exp."""

import itertools
import math
from dataclasses import dataclass, field

import numpy as np
import torch


@dataclass
class SearchResult:
    best_params: dict
    best_value: float
    trials: list = field(default_factory=list)


def record(result, objective, point):
    value = float(objective({**point}))
    result.trials.append((point, value))
    if (
        result.best_params is None
        or value < result.best_value
        or (math.isnan(result.best_value) and not math.isnan(value))
    ):
        result.best_params, result.best_value = point, value


def check_range(entry):
    if not isinstance(entry, tuple) or len(entry) not in (2, 3):
        raise ValueError("a range is (low, high) or ('log', low, high)")
    if len(entry) == 3 and (entry[0] != "log" or entry[1] <= 0):
        raise ValueError("a log range starts above 0")
    low, high = entry[-2:]
    if not (low < high and np.isfinite(low) and np.isfinite(high)):
        raise ValueError("low < high")


def between(entry, share):
    low, high = entry[-2:]
    if len(entry) == 3:
        return float(np.clip(np.exp(np.log(low) + share * (np.log(high) - np.log(low))), low, high))
    return float(np.clip(low + share * (high - low), low, high))


def grid_search(objective, space):
    if not space or any(not isinstance(values, list) or not values for values in space.values()):
        raise ValueError("a grid takes lists")
    result = SearchResult(None, math.nan)
    for combination in itertools.product(*reversed(space.values())):  # another order
        record(result, objective, dict(zip(space, reversed(combination), strict=True)))
    return result


def random_search(objective, space, n_trials, *, seed):
    if not space or n_trials < 1:
        raise ValueError("nothing to search")
    for entry in space.values():
        if not isinstance(entry, list):
            check_range(entry)
        elif len(entry) == 0:
            raise ValueError("an empty list")
    draws = np.random.default_rng(seed)
    result = SearchResult(None, math.nan)
    for _ in range(n_trials):
        point = {}
        for name, entry in space.items():
            if isinstance(entry, list):
                point[name] = entry[draws.integers(len(entry))]
            else:
                point[name] = between(entry, draws.random())
        record(result, objective, point)
    return result


def expected_improvement(mean, std, best, xi=0.0):
    if torch.any(torch.isnan(std) | (std < 0)):
        raise ValueError("std")
    m, s = mean.double(), std.double()
    gap = best - xi - m
    z = gap / s.clamp(min=1e-300)
    phi = torch.exp(-0.5 * z * z) * 0.3989422804014327
    ei = gap * 0.5 * torch.erfc(-z / math.sqrt(2.0)) + s * phi
    return torch.clamp(torch.where(s == 0, gap, ei), min=0.0).to(mean.dtype)


def gp_posterior(seen, values, points, length=0.4, jitter=1e-6):
    a, y, c = (part.numpy().astype(np.float64) for part in (seen, values, points))

    def kernel(a, b):
        return np.exp(-np.square(a[:, None] - b[None]).sum(2) / (2 * length**2))

    inverse = np.linalg.inv(kernel(a, a) + jitter * np.eye(len(a)))
    cross = kernel(c, a)
    variance = 1 - np.einsum("mi,ij,mj->m", cross, inverse, cross)
    mean, std = cross @ inverse @ y, np.sqrt(np.maximum(variance, 0))
    return torch.from_numpy(mean).to(values.dtype), torch.from_numpy(std).to(values.dtype)


def bayesian_search(objective, bounds, n_trials, *, seed, n_start=4):
    if not bounds or n_trials < 1 or n_start < 2:
        raise ValueError("nothing to search")
    for entry in bounds.values():
        check_range(entry)
    draws = np.random.default_rng(seed)
    result = SearchResult(None, math.nan)
    seen = np.empty((0, len(bounds)))
    for trial in range(n_trials):
        candidates = draws.random((300, len(bounds)))
        choice = 0
        if trial >= n_start:
            y = np.array([value for _, value in result.trials])
            y = (y - y.mean()) / (y.std() + (y.std() == 0))
            mean, std = gp_posterior(*map(torch.from_numpy, (seen, y, candidates)), 0.5, 1e-5)
            choice = int(expected_improvement(mean, std, y.min()).argmax())
        seen = np.vstack([seen, candidates[choice]])
        record(
            result, objective, {n: between(e, u) for (n, e), u in zip(bounds.items(), candidates[choice], strict=True)}
        )
    return result
