"""Stage 4. Memory for n (k + d) numbers, no loop over points."""

import tracemalloc

import numpy as np
import pytest

from dojo.testing import expect
from dojo.testing.arrays import normal
from dojo.testing.lines import expect_lines
from katas import kmeans as kata
from katas.kmeans import assign, kmeans, kmeans_plus_plus, update

CALLS = {
    "assign": lambda x, k: assign(x, x[:k]),
    "update": lambda x, k: update(x, np.arange(len(x)) % k, x[:k]),
    "kmeans": lambda x, k: kmeans(x, k, init=x[:k], max_iter=2),
    "kmeans_plus_plus": lambda x, k: kmeans_plus_plus(x, k, rng=np.random.default_rng(0)),
}


def peak(run):
    """The most bytes that a call holds at a time, of those that NumPy has asked for."""
    run()
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", CALLS)
def test_memory_for_points_and_distances(rng, name):
    """800 points, 32 centres, 32 dimensions: the array of all differences has 800 x 32 x 32 numbers, 6.5 MB. The distances are
    0.2 MB, like the points."""
    n, k, d = 800, 32, 32
    x = normal(rng, n, d)
    numbers = peak(lambda: CALLS[name](x, k)) / 8
    most = 8 * n * (k + d)
    hint = "the product x @ centers.T has n k numbers; x[:, None] - centers has n k d"
    sentence = f"{name} should hold at most 8 n (k + d) = {most} numbers at a time, but held {numbers:.0f}"
    expect(numbers <= most, f"{sentence}, {numbers / (n * k * d):.1f} n k d", hint=hint)
    if name != "update":
        sentence = f"NumPy should do the work of {name}, but it held only {numbers:.0f} numbers for {n} points"
        expect(numbers >= n, sentence, hint="compute with NumPy, whose memory is counted")


@pytest.mark.parametrize("name", CALLS)
def test_no_loop_over_points(rng, name):
    """3000 points in at most 700 lines. A loop over 4 centres or 3 columns, or over blocks of points, takes fewer."""
    x = normal(rng, 3000, 3)
    what = f"{name} of 3000 points with k=4"
    hint = "let NumPy go over the points: bincount, one product of matrices, one argmin"
    expect_lines(lambda: CALLS[name](x, 4), kata, 700, what=what, hint=hint)
