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
    raise NotImplementedError("kmeans.kmeans_plus_plus: write me")


def assign(x: Real[np.ndarray, "n d"], centers: Real[np.ndarray, "k d"]) -> tuple[Int64[np.ndarray, " n"], float]:
    """The nearest centre of each point, and the inertia, the sum of the squared distances to it.

    Where several centres are equally near, the point goes to the one with the lowest index. There may be no points: the
    inertia is then 0.0.

    It holds at most 8 n (k + d) numbers of 8 bytes at a time, so no array of n k d. It executes no more lines of Python
    for more points (a loop over centres, over columns or over large blocks of points is allowed).
    """
    raise NotImplementedError("kmeans.assign: write me")


def update(
    x: Real[np.ndarray, "n d"], labels: Int64[np.ndarray, " n"], centers: Real[np.ndarray, "k d"]
) -> Float64[np.ndarray, "k d"]:
    """The mean of each centre's points. A centre without points stays where it is.

    labels are in [0, k). Memory and lines are limited as in assign.
    """
    raise NotImplementedError("kmeans.update: write me")


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
    raise NotImplementedError("kmeans.kmeans: write me")
