"""scikit-learn's KMeans, one Lloyd iteration at a time, kmeans_plusplus with one candidate, and pairwise distances.

One at a time, because the adapter takes empty clusters out of what it hands over: scikit-learn moves them, the kata
leaves them where they are. Means of labels are those of NearestCentroid, which wants two classes.
"""

import warnings
from types import SimpleNamespace

import numpy as np
from sklearn.cluster import KMeans
from sklearn.cluster import kmeans_plusplus as sklearn_kmeans_plusplus
from sklearn.metrics import pairwise_distances_argmin
from sklearn.neighbors import NearestCentroid


def checked(x, k):
    if not 1 <= k <= len(x):
        raise ValueError("k")
    if not np.isfinite(x).all():
        raise ValueError("x")
    return x.astype(np.float64)


def kmeans_plus_plus(x, k, *, rng):
    x = checked(x, k)
    state = np.random.RandomState(rng.integers(2**32))  # scikit-learn takes no Generator
    distinct = len(np.unique(x, axis=0))
    centers, _ = sklearn_kmeans_plusplus(x - x.mean(0), min(k, distinct), n_local_trials=1, random_state=state)
    rows = [int(np.abs(x - x.mean(0) - center).sum(1).argmin()) for center in centers]
    return x[rows + [int(row) for row in rng.integers(len(x), size=k - len(rows))]]


def assign(x, centers):
    x, centers = x.astype(np.float64), centers.astype(np.float64)
    if not len(x):  # which scikit-learn refuses
        return np.zeros(0, np.int64), 0.0
    origin = x.mean(0)  # KMeans.fit subtracts it as well
    labels = pairwise_distances_argmin(x - origin, centers - origin).astype(np.int64)
    return labels, float(np.square(x - centers[labels]).sum())


def update(x, labels, centers):
    x, new = x.astype(np.float64), np.array(centers, np.float64)
    present = np.unique(labels)
    if len(present) == 1:
        new[present] = x.mean(0)
    elif len(present):
        with warnings.catch_warnings(action="ignore"):  # features without variance
            new[present] = NearestCentroid().fit(x, labels).centroids_
    return new


def kmeans(x, k, *, init=None, max_iter=300, rng=None):
    x = checked(x, k)
    if max_iter < 1 or (init is None and rng is None):
        raise ValueError("max_iter, or no start")
    centers = kmeans_plus_plus(x, k, rng=rng) if init is None else init.astype(np.float64)
    if centers.shape != (k, x.shape[1]) or not np.isfinite(centers).all():
        raise ValueError("init")
    labels, inertia = assign(x, centers)
    iterations, changed = 0, True
    while changed and iterations < max_iter:
        full, before = np.unique(labels), labels
        centers = centers.copy()
        step = KMeans(len(full), init=centers[full], n_init=1, max_iter=1, tol=0, algorithm="lloyd")
        with warnings.catch_warnings(action="ignore"):  # it has not converged, or finds fewer distinct points than k
            centers[full] = step.fit(x).cluster_centers_
        labels, inertia = assign(x, centers)
        iterations, changed = iterations + 1, (labels != before).any()
    return SimpleNamespace(centers=centers, labels=labels, inertia=inertia, iterations=iterations)
