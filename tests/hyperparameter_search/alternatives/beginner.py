"""Nested loops and random.Random; Normal from torch.distributions; a short kernel length, written with cdist."""

import math
import random
from dataclasses import dataclass

import torch


@dataclass
class SearchResult:
    best_params: dict
    best_value: float
    trials: list


def best_of(trials):
    best = None
    for params, value in trials:
        if not math.isnan(value) and (best is None or value < best[1]):
            best = (params, value)
    if best is None:
        best = trials[0]
    return SearchResult(best[0], best[1], trials)


def check(name, entry):
    if type(entry) is not tuple:
        raise ValueError(f"{name} is no range")
    if len(entry) == 2:
        low, high = entry
    elif len(entry) == 3 and entry[0] == "log":
        low, high = entry[1], entry[2]
        if low <= 0:
            raise ValueError(f"{name}: log of 0")
    else:
        raise ValueError(f"{name} is no range")
    if not low < high or math.isinf(low) or math.isinf(high):
        raise ValueError(f"{name}: low < high")


def draw(entry, stream):
    if isinstance(entry, list):
        return stream.choice(entry)
    if len(entry) == 2:
        return min(max(stream.uniform(entry[0], entry[1]), entry[0]), entry[1])
    return min(max(10 ** stream.uniform(math.log10(entry[1]), math.log10(entry[2])), entry[1]), entry[2])


def grid_search(objective, space):
    if len(space) == 0:
        raise ValueError("empty")
    points = [{}]
    for name in space:
        if not isinstance(space[name], list) or len(space[name]) == 0:
            raise ValueError(f"{name} is no list")
        longer = []
        for point in points:
            for value in space[name]:
                new = dict(point)
                new[name] = value
                longer.append(new)
        points = longer
    trials = []
    for point in points:
        trials.append((point, float(objective(point.copy()))))
    return best_of(trials)


def random_search(objective, space, n_trials, *, seed):
    if len(space) == 0 or n_trials <= 0:
        raise ValueError("empty")
    for name in space:
        if isinstance(space[name], list):
            if space[name] == []:
                raise ValueError(f"{name} is empty")
        else:
            check(name, space[name])
    stream = random.Random(seed)
    trials = []
    for _ in range(n_trials):
        point = {}
        for name in space:
            point[name] = draw(space[name], stream)
        trials.append((point, float(objective(point.copy()))))
    return best_of(trials)


def expected_improvement(mean, std, best, xi=0.0):
    if torch.isnan(std).any() or (std < 0).any():
        raise ValueError("std must be >= 0")
    dtype = mean.dtype
    mean = mean.double()
    std = std.double()
    certain = std == 0
    normal = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    z = (best - xi - mean) / torch.where(certain, torch.ones_like(std), std)
    ei = (best - xi - mean) * normal.cdf(z) + std * normal.log_prob(z).exp()
    ei = torch.where(certain, best - xi - mean, ei)
    return torch.relu(ei).to(dtype)


def gp_posterior(seen, values, points, length=0.4, jitter=1e-6):
    K = torch.exp(-0.5 * torch.cdist(seen, seen) ** 2 / length**2)
    for i in range(len(seen)):
        K[i, i] += jitter
    k = torch.exp(-0.5 * torch.cdist(points, seen) ** 2 / length**2)
    weights = torch.linalg.solve(K, k.T)  # [n, m]
    variance = 1 - (k.T * weights).sum(0)
    return weights.T @ values, torch.sqrt(torch.maximum(variance, torch.zeros_like(variance)))


def bayesian_search(objective, bounds, n_trials, *, seed, n_start=4):
    if len(bounds) == 0 or n_trials <= 0 or n_start < 2:
        raise ValueError("empty")
    for name in bounds:
        check(name, bounds[name])
    stream = random.Random(seed)
    names = list(bounds)
    X = []
    trials = []
    for i in range(n_trials):
        candidates = torch.tensor([[stream.random() for _ in names] for _ in range(200)], dtype=torch.float64)
        x = candidates[0]
        if i >= n_start:
            y = torch.tensor([v for _, v in trials], dtype=torch.float64)
            spread = y.std()
            if spread == 0:
                spread = 1.0
            y = (y - y.mean()) / spread
            mean, std = gp_posterior(torch.stack(X), y, candidates, 0.3)
            ei = expected_improvement(mean, std, y.min().item(), 0.01)
            x = candidates[ei.argmax()]
        X.append(x)
        point = {}
        for name, u in zip(names, x.tolist(), strict=True):
            low, high = bounds[name][-2], bounds[name][-1]
            if bounds[name][0] == "log":
                value = math.exp(math.log(low) * (1 - u) + math.log(high) * u)
            else:
                value = low * (1 - u) + high * u
            point[name] = float(min(max(value, low), high))
        trials.append((point, float(objective(point.copy()))))
    return best_of(trials)
