"""Each centre moves by the mean deviation of its points. Distances are built coordinate by coordinate, transposed. The loop
ends when the labels, as bytes, are those of the round before."""

import itertools
from types import SimpleNamespace

import numpy as np


def wide(array):
    return np.array(array, dtype=np.float64, order="C")


def squares(x, centers):
    """[k, n]"""
    total = np.zeros((len(centers), len(x)))
    for column, places in zip(x.T, centers.T, strict=True):
        total += np.subtract.outer(places, column) ** 2
    return total


def assign(x, centers):
    total = squares(wide(x), wide(centers))
    return total.argmin(0), sum((total.min(0).sum(),), 0.0).item()


def update(x, labels, centers):
    x, centers = wide(x), wide(centers)
    names, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    deviations = x - centers[labels]
    for column in range(x.shape[1]):
        centers[names, column] += np.bincount(inverse, deviations[:, column], len(names)) / counts
    return centers


def kmeans_plus_plus(x, k, *, rng):
    if k not in range(1, len(x) + 1):
        raise ValueError("k")
    if not (np.abs(x) < np.inf).all():
        raise ValueError("x")
    x = wide(x)
    chosen = np.empty((0, x.shape[1]))
    while len(chosen) < k:
        nearest = squares(x, chosen).min(0, initial=np.inf)
        weights = nearest if 0 < nearest.max() < np.inf else np.ones(len(x))
        chosen = np.vstack([chosen, rng.choice(x, p=weights / weights.sum(), axis=0)])
    return chosen


def kmeans(x, k, *, init=None, max_iter=300, rng=None):
    if k not in range(1, len(x) + 1) or not (np.abs(x) < np.inf).all():
        raise ValueError("k or x")
    if not max_iter >= 1:
        raise ValueError("max_iter")
    if init is None:
        if rng is None:
            raise ValueError("no start")
        init = kmeans_plus_plus(x, k, rng=rng)
    elif init.shape != (k, x.shape[1]) or not (np.abs(init) < np.inf).all():
        raise ValueError("init")
    centers, (labels, inertia) = init, assign(x, init)
    for iterations in itertools.count(1):
        seen, centers = labels.tobytes(), update(x, labels, centers)
        labels, inertia = assign(x, centers)
        if labels.tobytes() == seen or iterations >= max_iter:
            return SimpleNamespace(centers=centers, labels=labels, inertia=inertia, iterations=iterations)
