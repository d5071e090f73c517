"""A stream for each name. The start is stratified: one point in each row and column of cells. The process takes the values
in one after the other, without a matrix solve, and EI is phi(z) times a ratio that stays accurate far out."""

import math
from collections import namedtuple

import numpy as np
import torch

SearchResult = namedtuple("SearchResult", ["best_params", "best_value", "trials"])


def summary(points, losses):
    ranked = np.where(np.isnan(losses), np.inf, losses)
    best = int(np.argmin(ranked))  # the first of equal ones
    return SearchResult(points[best], losses[best], list(zip(points, losses, strict=True)))


def evaluate(objective, points):
    return summary(points, [float(objective(point | {})) for point in points])


def is_range(entry):
    match entry:
        case ("log", a, b):
            return isinstance(entry, tuple) and 0 < a < b and math.isfinite(b)
        case (a, b):
            return isinstance(entry, tuple) and a < b and math.isfinite(a) and math.isfinite(b)
    return False


def spread_out(entry, shares):
    """The values at an array of shares of one name's entry."""
    if isinstance(entry, list):
        return [entry[i] for i in np.minimum((shares * len(entry)).astype(int), len(entry) - 1)]
    low, high = entry[-2], entry[-1]
    found = low + (high - low) * shares if len(entry) == 2 else np.geomspace(low, high, 2)[0] * (high / low) ** shares
    return [float(x) for x in np.clip(found, low, high)]


def grid_search(objective, space):
    if not space or not all(isinstance(values, list) and len(values) for values in space.values()):
        raise ValueError("lists of values, please")
    shape = [len(values) for values in space.values()]
    places = [np.unravel_index(number, shape) for number in range(math.prod(shape))]
    return evaluate(objective, [{name: space[name][i] for name, i in zip(space, at, strict=True)} for at in places])


def random_search(objective, space, n_trials, *, seed):
    if not space or n_trials < 1 or not all(is_range(e) or (isinstance(e, list) and e) for e in space.values()):
        raise ValueError("a space of lists and ranges, and at least one trial")
    streams = np.random.SeedSequence(seed).spawn(len(space))
    columns = [
        spread_out(entry, np.random.default_rng(stream).random(n_trials))
        for entry, stream in zip(space.values(), streams, strict=True)
    ]
    return evaluate(objective, [dict(zip(space, row, strict=True)) for row in zip(*columns, strict=True)])


def expected_improvement(mean, std, best, xi=0.0):
    if not bool((std >= 0).all()):
        raise ValueError("a deviation below 0, or none")
    gap, spread = (best - xi - mean).double(), std.double()
    z = (gap / spread).nan_to_num()
    # Phi(z) / phi(z) overflows on the right, where EI is the gap itself.
    ratio = torch.special.erfcx(-z.clamp(max=5.0) / 2**0.5) * (math.pi / 2) ** 0.5
    left = spread * torch.exp(-z * z / 2) / math.tau**0.5 * (1 + z * ratio)
    right = torch.where(z < 8, gap * torch.special.ndtr(z) + spread * torch.exp(-z * z / 2) / math.tau**0.5, gap)
    ei = torch.where(z < 5, left, right)
    return torch.where(spread > 0, ei, gap).clamp(min=0).to(mean.dtype)


def gp_posterior(seen, values, points, length=0.4, jitter=1e-6):
    n = len(seen)
    everything = torch.cat([seen, points])
    covariance = torch.exp(-(torch.cdist(everything, everything[:n]) ** 2) / (2 * length**2))  # [n + m, n]
    mean, variance = torch.zeros_like(everything[:, 0]), torch.ones_like(everything[:, 0])
    for i in range(n):  # what is left of the covariance once the values before i are known
        gain = covariance[:, i] / (covariance[i, i] + jitter)
        mean = mean + gain * (values[i] - mean[i])
        variance = variance - gain * covariance[:, i]
        covariance = covariance - gain[:, None] * covariance[i]
    return mean[n:], variance[n:].clamp(min=0).sqrt()


def bayesian_search(objective, bounds, n_trials, *, seed, n_start=4):
    if not bounds or n_trials < 1 or n_start < 2 or not all(map(is_range, bounds.values())):
        raise ValueError("bounds of ranges, and at least one trial and one point to start from")
    stream = np.random.default_rng(seed)
    cells = np.stack([stream.permutation(n_start) for _ in bounds], 1)
    shares = (cells + stream.random(cells.shape)) / n_start
    points, losses = [], []
    for number in range(n_trials):
        if number >= n_start:
            y = np.array(losses)
            y = (y - y.mean()) / (y.std() if np.ptp(y) else 1.0)
            tried, options = torch.from_numpy(shares), torch.from_numpy(stream.random((400, len(bounds))))
            mean, std = gp_posterior(tried, torch.from_numpy(y), options, length=0.5)
            chosen = options[expected_improvement(mean, std, float(y.min())).argmax()]
            shares = np.vstack([shares, chosen.numpy()])
        row = shares[number]
        points.append({name: spread_out(entry, row[[i]])[0] for i, (name, entry) in enumerate(bounds.items())})
        losses.append(float(objective(dict(points[-1]))))
    return summary(points, losses)
