"""All differences of a block of points, add.at for the sums, and draws by the place of one number among cumulated weights."""

from typing import NamedTuple

import numpy as np

BLOCK = 96


class KMeansResult(NamedTuple):
    centers: np.ndarray
    labels: np.ndarray
    inertia: float
    iterations: int


def kmeans_plus_plus(x, k, *, rng):
    n = x.shape[0]
    if k < 1 or k > n:
        raise ValueError(f"k = {k} for {n} points")
    x = x.astype(np.float64)
    if np.isnan(x).any() or np.isinf(x).any():
        raise ValueError("NaN or inf")
    centers = np.empty((k, x.shape[1]))
    centers[0] = x[int(rng.random() * n)]
    weights = np.square(x - centers[0]).sum(axis=1)
    for i in range(1, k):
        cumulated = np.cumsum(weights)
        if cumulated[-1] > 0:
            row = np.searchsorted(cumulated, rng.random() * cumulated[-1], side="right")
        else:
            row = int(rng.random() * n)
        centers[i] = x[row]
        np.minimum(weights, np.square(x - centers[i]).sum(axis=1), out=weights)
    return centers


def assign(x, centers):
    labels = np.zeros(len(x), dtype=np.int64)
    inertia = 0.0
    centers = centers.astype(np.float64)
    for begin in range(0, len(x), BLOCK):
        squares = np.square(x[begin : begin + BLOCK, None].astype(np.float64) - centers[None]).sum(axis=-1)
        labels[begin : begin + BLOCK] = np.argmin(squares, axis=1)
        inertia += squares.min(axis=1).sum()
    return labels, float(inertia)


def update(x, labels, centers):
    sums = np.zeros(centers.shape)
    np.add.at(sums, labels, x.astype(np.float64))
    counts = np.zeros(len(centers))
    np.add.at(counts, labels, 1)
    new = centers.astype(np.float64)
    full = counts > 0
    new[full] = sums[full] / counts[full, None]
    return new


def kmeans(x, k, *, init=None, max_iter=300, rng=None):
    if not (1 <= k <= len(x)) or max_iter <= 0:
        raise ValueError("k or max_iter")
    if not np.all(np.isfinite(x)):
        raise ValueError("x is not finite")
    if init is None and rng is None:
        raise ValueError("neither init nor rng")
    centers = init if init is not None else kmeans_plus_plus(x, k, rng=rng)
    if centers.shape != (k, x.shape[1]):
        raise ValueError("shape of init")
    if not np.all(np.isfinite(centers)):
        raise ValueError("init is not finite")
    old, _ = assign(x, centers)
    for iteration in range(max_iter):
        centers = update(x, old, centers)
        labels, inertia = assign(x, centers)
        if np.array_equal(labels, old):
            return KMeansResult(centers, labels, inertia, iteration + 1)
        old = labels
    return KMeansResult(centers, labels, inertia, max_iter)
