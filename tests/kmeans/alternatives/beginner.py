"""One centre at a time: what is strictly nearer takes the point over; a mask and a mean for each label. In k-means++, every
point waits for an exponential time, shorter where its weight is large, and the first is taken."""

import numpy as np


class KMeansResult:
    def __init__(self, centers, labels, inertia, iterations):
        self.centers = centers
        self.labels = labels
        self.inertia = inertia
        self.iterations = iterations


def check(x, k):
    if k < 1:
        raise ValueError("k must be at least 1")
    if k > len(x):
        raise ValueError("k must not be larger than the number of points")
    if not np.isfinite(x.sum(dtype=np.float64)):
        raise ValueError("x must be finite")


def kmeans_plus_plus(x, k, *, rng):
    check(x, k)
    x = x.astype(float)
    centers = []
    distance = None
    for i in range(k):
        weight = np.ones(len(x))
        if i > 0 and distance.max() > 0:
            weight = distance**2
        with np.errstate(divide="ignore"):
            waiting = rng.exponential(size=len(x)) / (weight / weight.max())
        center = x[np.argmin(waiting)].copy()
        centers.append(center)
        new = np.sqrt(((x - center) ** 2).sum(axis=1))
        distance = new if distance is None else np.where(new < distance, new, distance)
    return np.array(centers)


def assign(x, centers):
    x = x.astype(float)
    labels = np.zeros(len(x), dtype=np.int64)
    best = np.full(len(x), np.inf)
    for j in range(len(centers)):
        square = ((x - centers[j].astype(float)) ** 2).sum(axis=1)
        nearer = square < best
        labels[nearer] = j
        best[nearer] = square[nearer]
    return labels, float(best.sum())


def update(x, labels, centers):
    new = np.array(centers, dtype=float)
    for j in range(len(new)):
        mine = x[labels == j]
        if len(mine) > 0:
            new[j] = mine.mean(axis=0, dtype=float)
    return new


def kmeans(x, k, *, init=None, max_iter=300, rng=None):
    check(x, k)
    if max_iter < 1:
        raise ValueError("max_iter must be at least 1")
    if init is not None:
        if init.shape[0] != k or init.ndim != 2 or init.shape[1] != x.shape[1]:
            raise ValueError("init must be k rows like those of x")
        if not np.isfinite(init).all():
            raise ValueError("init must be finite")
        centers = init.copy()
    elif rng is not None:
        centers = kmeans_plus_plus(x, k, rng=rng)
    else:
        raise ValueError("init or rng is needed")
    labels, inertia = assign(x, centers)
    iterations = 0
    while True:
        centers = update(x, labels, centers)
        new_labels, inertia = assign(x, centers)
        iterations = iterations + 1
        moved = (new_labels != labels).sum()
        labels = new_labels
        if moved == 0 or iterations == max_iter:
            break
    return KMeansResult(centers, labels, inertia, iterations)
