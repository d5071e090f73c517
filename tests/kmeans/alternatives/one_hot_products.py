"""Products of matrices for both steps: distances from the first point, and a one-hot matrix of the labels. A multinomial draw
picks the centres."""

from dataclasses import dataclass

import numpy as np


@dataclass
class KMeansResult:
    centers: np.ndarray
    labels: np.ndarray
    inertia: float
    iterations: int


def refuse(condition, sentence):
    if condition:
        raise ValueError(sentence)


def kmeans_plus_plus(x, k, *, rng):
    n, _ = x.shape
    refuse(not 0 < k <= n, "k")
    refuse(not np.isfinite(x).all(), "x")
    x = np.array(x, dtype=np.float64)
    probs = np.full(n, 1 / n)
    nearest = np.full(n, np.inf)
    rows = []
    for _ in range(k):
        rows.append(rng.multinomial(1, probs).argmax())
        apart = x - x[rows[-1]]
        nearest = np.where((new := np.einsum("nd,nd->n", apart, apart)) < nearest, new, nearest)
        total = nearest.sum()
        probs = nearest / total if total else np.full(n, 1 / n)
    return np.take(x, rows, axis=0)


def from_first(x, centers):
    origin = x[0].astype(np.float64)
    return x.astype(np.float64) - origin, centers.astype(np.float64) - origin


def assign(x, centers):
    if not len(x):
        return np.empty(0, dtype=np.int64), 0.0
    a, b = from_first(x, centers)
    scores = a @ b.T
    scores -= 0.5 * np.einsum("kd,kd->k", b, b)
    labels = scores.argmax(axis=1).astype(np.int64)
    inertia = np.einsum("nd,nd->", rest := a - b[labels], rest)
    return labels, inertia.item()


def update(x, labels, centers):
    if not len(x):
        return centers.astype(np.float64)
    a, b = from_first(x, centers)
    member = np.zeros((len(centers), len(x)))
    member[labels, np.arange(len(x))] = 1
    counts = member.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = member @ a / counts
    return np.where(counts == 0, b, means) + x[0].astype(np.float64)


def kmeans(x, k, *, init=None, max_iter=300, rng=None):
    refuse(not 0 < k <= len(x), "k")
    refuse(max_iter < 1, "max_iter")
    refuse(not np.isfinite(x).all(), "x")
    refuse(init is None and rng is None, "no start")
    if init is None:
        init = kmeans_plus_plus(x, k, rng=rng)
    refuse(np.shape(init) != (k, np.shape(x)[1]) or not np.isfinite(init).all(), "init")

    def go_on(centers, labels, left, done):
        new = update(x, labels, centers)
        after, inertia = assign(x, new)
        if left == 1 or not np.any(after != labels):
            return KMeansResult(new, after, inertia, done)
        return new, after, left - 1, done + 1

    state = init, assign(x, init)[0], max_iter, 1
    while isinstance(state, tuple):
        state = go_on(*state)
    return state
