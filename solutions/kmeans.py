"""k-means.

Write k-means with k-means++ in NumPy, vectorised. When does it stop, what do you do with an empty cluster, and what
does the fast formula for distances cost?

k-means looks for k centres that make the inertia small, the sum over the points of the squared Euclidean distance to the
nearest centre. Lloyd's algorithm takes turns: each point goes to its nearest centre, each centre moves to the mean of
its points. Neither step makes the inertia larger, so it ends, in a local minimum that depends on the start. k-means++
draws a start whose centres lie apart.

Rules: NumPy and the standard library (no scikit-learn, no scipy).

Numbers: x holds n points of d numbers, in any floating dtype (float16, float32, float64) or integer dtype (uint8
pixels, for example), centres likewise. Everything is computed in float64, and all centres that are returned are float64:
the mean of pixels is no pixel. Labels are int64, inertia and iterations are plain numbers. The points may lie far from
the origin, at 1e8 times their spread, and then get the labels that they would get near it. No argument is modified,
and no result shares memory with one.

Stage 1: nearest centres, means, the iterations, k-means++.  Stage 2: empty clusters, ties, duplicates, one cluster and n
clusters, no points, wrong arguments.  Stage 3: every dtype, points far from the origin, one source of randomness.
Stage 4: memory for n (k + d) numbers, no loop over points.

Sources: Lloyd, "Least squares quantization in PCM" (1982); Arthur and Vassilvitskii, "k-means++: The Advantages of
Careful Seeding" (2007).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, Real


def kmeans_plus_plus(x: Real[np.ndarray, "n d"], k: int, *, rng: np.random.Generator) -> Float64[np.ndarray, "k d"]:
    """k points of x as centres, in the order in which they are drawn.

    The first is drawn uniformly. Each further one is drawn once, with probability proportional to the squared distance
    of a point to the nearest centre so far. Where all these distances are 0, because x has fewer than k distinct points,
    it is drawn uniformly again. Only rng is drawn from; which numbers it gives for what is free.

    It holds at most 8 n (k + d) numbers of 8 bytes at a time.
    Raises ValueError if k is not in [1, n], or if x holds NaN or infinity.
    """
    # kata: begin
    x = _checked(x, k)
    nearest = np.full(len(x), np.inf)  # of each point: the squared distance to the nearest centre so far
    chosen = [int(rng.integers(len(x)))]
    while len(chosen) < k:
        nearest = np.minimum(nearest, ((x - x[chosen[-1]]) ** 2).sum(1))
        total = nearest.sum()
        chosen.append(int(rng.choice(len(x), p=nearest / total if total > 0 else None)))
    return x[chosen]
    # kata: end


def assign(x: Real[np.ndarray, "n d"], centers: Real[np.ndarray, "k d"]) -> tuple[Int64[np.ndarray, " n"], float]:
    """The nearest centre of each point, and the inertia, the sum of the squared distances to it.

    Where several centres are equally near, the point goes to the one with the lowest index. There may be no points: the
    inertia is then 0.0.

    It holds at most 8 n (k + d) numbers of 8 bytes at a time, so no array of n k d. It executes no more lines of Python
    for more points (a loop over centres, over columns or over large blocks of points is allowed).
    """
    # kata: begin
    x, centers = np.asarray(x, np.float64), np.asarray(centers, np.float64)
    # |x - c|^2 = |x|^2 - 2 x.c + |c|^2, and |x|^2 is the same for all centres of a point. Far from the origin the three
    # terms are huge and cancel, so both are seen from the middle of the points first.
    origin = x.sum(0) / max(len(x), 1)
    points, seen = x - origin, centers - origin
    labels = ((seen**2).sum(1) - 2 * points @ seen.T).argmin(1)
    return labels, float(((x - centers[labels]) ** 2).sum())
    # kata: end


def update(
    x: Real[np.ndarray, "n d"], labels: Int64[np.ndarray, " n"], centers: Real[np.ndarray, "k d"]
) -> Float64[np.ndarray, "k d"]:
    """The mean of each centre's points. A centre without points stays where it is.

    labels are in [0, k). Memory and lines are limited as in assign.
    """
    # kata: begin
    k = len(centers)
    counts = np.bincount(labels, minlength=k)[:, None]
    sums = np.stack([np.bincount(labels, weights=column, minlength=k) for column in x.T], axis=1)  # in float64
    return np.where(counts > 0, sums / np.maximum(counts, 1), centers)
    # kata: end


class KMeansResult(NamedTuple):
    """What kmeans returns. Labels and inertia are those of the points under these centres."""

    centers: Float64[np.ndarray, "k d"]
    labels: Int64[np.ndarray, " n"]
    inertia: float
    iterations: int  # how often the centres were updated


def kmeans(
    x: Real[np.ndarray, "n d"],
    k: int,
    *,
    init: Real[np.ndarray, "k d"] | None = None,
    max_iter: int = 300,
    rng: np.random.Generator | None = None,
) -> KMeansResult:
    """Lloyd's iterations from the centres init, or from kmeans_plus_plus(x, k, rng=rng) without them.

    The points are assigned to the first centres. Then each iteration updates the centres and assigns the points to the
    new ones. The first iteration that changes no label is the last, and so is the one with the number max_iter. How far
    the centres move has no influence. With init, nothing is drawn from rng.

    Memory and lines are limited as in assign.
    Raises ValueError if k is not in [1, n], if x or init holds NaN or infinity, if init is not of shape [k, d], if
    max_iter is below 1, or if neither init nor rng is given.
    """
    # kata: begin
    x = _checked(x, k)
    if max_iter < 1:
        raise ValueError(f"max_iter must be at least 1, got {max_iter}")
    if init is None:
        if rng is None:
            raise ValueError("give the first centres as init, or a generator to draw them")
        init = kmeans_plus_plus(x, k, rng=rng)
    if init.shape != (k, x.shape[1]) or not np.isfinite(init).all():
        raise ValueError(f"init must be {k} finite centres of {x.shape[1]} numbers, got {init.shape}")
    labels, inertia = assign(x, init)
    centers, iterations, changed = init, 0, True
    while changed and iterations < max_iter:
        centers, before = update(x, labels, centers), labels
        labels, inertia = assign(x, centers)
        changed = (labels != before).any()
        iterations += 1
    return KMeansResult(centers, labels, inertia, iterations)
    # kata: end


# kata: begin
def _checked(x: Real[np.ndarray, "n d"], k: int) -> Float64[np.ndarray, "n d"]:
    """x in float64; raises ValueError if it cannot be clustered into k."""
    if not 1 <= k <= len(x):
        raise ValueError(f"k must be in [1, {len(x)}], got {k}")
    if not np.isfinite(x).all():
        raise ValueError("x holds NaN or infinity")
    return np.asarray(x, np.float64)


# kata: end
