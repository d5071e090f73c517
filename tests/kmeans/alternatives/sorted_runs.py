"""The points sorted by label, and the sums of their runs by reduceat; norms instead of squares; an array of distances that
is filled column by column."""

from collections import namedtuple

import numpy as np

KMeansResult = namedtuple("KMeansResult", "centers labels inertia iterations")


def kmeans_plus_plus(x, k, *, rng):
    if not 1 <= k <= x.shape[0] or not np.isfinite(x).all():
        raise ValueError("k in [1, n], finite x")
    points = np.asfortranarray(x, dtype=np.float64)
    order = rng.permutation(len(points))  # the first of a random order is a uniform draw
    picked = [order[0]]
    squares = np.linalg.norm(points - points[picked[0]], axis=1) ** 2
    for _ in range(k - 1):
        if squares.any():
            steps = np.append(0.0, np.cumsum(squares)) / squares.sum()
            place = np.searchsorted(steps, rng.uniform(), side="right") - 1
            picked.append(min(place, int(np.flatnonzero(squares)[-1])))
        else:
            picked.append(rng.permutation(len(points))[0])
        squares = np.fmin(squares, np.linalg.norm(points - points[picked[-1]], axis=1) ** 2)
    return np.stack([points[i] for i in picked])


def distances(x, centers):
    apart = np.empty((len(x), len(centers)))
    for j, center in enumerate(np.asarray(centers, dtype=np.float64)):
        apart[:, j] = np.linalg.norm(x - center, axis=1)
    return apart


def assign(x, centers):
    apart = distances(np.asarray(x, dtype=np.float64), centers)
    return np.argmin(apart, axis=1), float(np.sum(np.min(apart, axis=1) ** 2))


def update(x, labels, centers):
    new = centers.astype(np.float64)
    if len(x) == 0:
        return new
    order = np.argsort(labels, kind="stable")
    ranked = labels[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    sums = np.add.reduceat(x[order].astype(np.float64), starts, axis=0)
    new[ranked[starts]] = sums / np.diff(np.r_[starts, len(x)])[:, np.newaxis]
    return new


def kmeans(x, k, *, init=None, max_iter=300, rng=None):
    if not 1 <= k <= x.shape[0] or not np.isfinite(x).all():
        raise ValueError("k in [1, n], finite x")
    if max_iter < 1:
        raise ValueError("max_iter")
    match init, rng:
        case None, None:
            raise ValueError("init or rng")
        case None, _:
            init = kmeans_plus_plus(x, k, rng=rng)
    if init.shape != (k, x.shape[1]) or not np.isfinite(init).all():
        raise ValueError("init")
    history = [assign(x, init)]
    centers = init
    while len(history) <= max_iter:
        centers = update(x, history[-1][0], centers)
        history.append(assign(x, centers))
        if (history[-1][0] == history[-2][0]).all():
            break
    return KMeansResult(centers, *history[-1], len(history) - 1)
