"""scikit-learn's parts: ParameterGrid, ParameterSampler with scipy's distributions, and a GaussianProcessRegressor.

Its searches cross-validate an estimator, so of them only the points are taken here. Expected improvement and the loop of
Bayesian search are not in scikit-learn; the one is written with scipy's normal distribution, the other by hand.
"""

import math
import warnings
from types import SimpleNamespace

import numpy as np
import torch
from scipy import stats
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.model_selection import ParameterGrid, ParameterSampler


def run(objective, points):
    trials = []
    for point in points:
        trials.append((point, float(objective(dict(point)))))
    params, value = min(trials, key=lambda trial: math.inf if math.isnan(trial[1]) else trial[1])
    return SimpleNamespace(best_params=params, best_value=value, trials=trials)


class Range:
    """A distribution that draws Python floats: scipy's are numpy's, and round past the ends of narrow ranges."""

    def __init__(self, entry):
        if not isinstance(entry, tuple) or len(entry) not in (2, 3) or (len(entry) == 3 and entry[0] != "log"):
            raise ValueError(f"{entry!r} is no range")
        self.low, self.high = map(float, entry[-2:])
        if not (-math.inf < self.low < self.high < math.inf) or (len(entry) == 3 and self.low <= 0):
            raise ValueError(f"{entry!r} is no range")
        narrow = self.high / self.low < 1 + 1e-9 if len(entry) == 3 else False  # scipy wants more room
        wide = stats.loguniform if len(entry) == 3 and not narrow else None
        self.inner = wide(self.low, self.high) if wide else stats.uniform(self.low, self.high - self.low)

    def clip(self, x):
        return min(max(float(x), self.low), self.high)

    def rvs(self, random_state=None):
        return self.clip(self.inner.rvs(random_state=random_state))

    def at(self, share):
        return self.clip(self.inner.ppf(share))


def grid_search(objective, space):
    if not space or not all(isinstance(values, list) and values for values in space.values()):
        raise ValueError("a grid is made of lists")  # ParameterGrid also takes tuples, and an empty space
    return run(objective, list(ParameterGrid(space)))


def random_search(objective, space, n_trials, *, seed):
    if not space or n_trials < 1 or any(isinstance(entry, list) and not entry for entry in space.values()):
        raise ValueError("nothing to draw from")
    parts = {name: entry if isinstance(entry, list) else Range(entry) for name, entry in space.items()}
    # From lists alone ParameterSampler draws without replacement. A distribution beside them makes it draw anew.
    sampler = ParameterSampler(parts | {"": stats.uniform()}, n_trials, random_state=np.random.RandomState(seed))
    return run(objective, [{name: point[name] for name in space} for point in sampler])


def expected_improvement(mean, std, best, xi=0.0):
    if not (std >= 0).all():
        raise ValueError("a standard deviation is negative or NaN")
    gap, spread = (best - xi - mean).double().numpy(), std.double().numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        z = gap / spread
        ei = np.where(spread > 0, gap * stats.norm.cdf(z) + spread * stats.norm.pdf(z), gap)
    return torch.from_numpy(np.maximum(ei, 0)).to(mean.dtype)


def gp_posterior(seen, values, points, length=0.4, jitter=1e-6):
    process = GaussianProcessRegressor(
        RBF(length), alpha=max(jitter, 1e-300), optimizer=None
    )  # an alpha of 0 is refused
    with warnings.catch_warnings(action="ignore"):  # it says so where it sets a negative variance to 0
        mean, std = process.fit(seen.numpy(), values.numpy()).predict(points.numpy(), return_std=True)
    return tuple(torch.from_numpy(np.asarray(part)).to(values.dtype) for part in (mean, std))


def bayesian_search(objective, bounds, n_trials, *, seed, n_start=4):
    parts = {name: Range(entry) for name, entry in bounds.items()}
    if not parts or n_trials < 1 or n_start < 2:
        raise ValueError("nothing to search")
    stream, tried, values = np.random.RandomState(seed), np.empty((0, len(parts))), []

    def points():
        nonlocal tried
        for number in range(n_trials):
            options = stream.random_sample((400, len(parts)))
            choice = 0
            if number >= n_start:
                # normalize_y does the standardising, its kernel has the length 0.4 and is not fitted.
                process = GaussianProcessRegressor(RBF(0.4), alpha=1e-6, optimizer=None, normalize_y=True)
                with warnings.catch_warnings(action="ignore"):
                    predicted = process.fit(tried, values).predict(options, return_std=True)
                choice = expected_improvement(*map(torch.from_numpy, predicted), min(values)).argmax().item()
            tried = np.vstack([tried, options[choice]])
            yield {name: part.at(share) for (name, part), share in zip(parts.items(), options[choice], strict=True)}

    def asked(params):
        values.append(float(objective(params)))
        return values[-1]

    return run(asked, points())
