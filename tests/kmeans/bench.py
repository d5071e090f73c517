"""The nearest of 64 centres for 20 000 points in 16 dimensions. The floor reads points and centres once and writes the labels;
its FLOPs are those of one product of matrices."""

from functools import partial

import numpy as np
import torch

from dojo.testing.bench import work


def labels_of(assign, x, centers):
    return torch.from_numpy(assign(x, centers)[0])


def all_differences(x, centers):
    """The formula as it is written: an array of n k d numbers."""
    return torch.from_numpy(((x[:, None] - centers) ** 2).sum(2).argmin(1))


def one_centre_at_a_time(x, centers):
    """Differences again, of n d numbers at a time."""
    return torch.from_numpy(np.stack([((x - c) ** 2).sum(1) for c in centers], axis=1).argmin(1))


def sklearn_labels(x, centers):
    from sklearn.metrics import pairwise_distances_argmin

    return lambda: torch.from_numpy(pairwise_distances_argmin(x, centers).astype(np.int64))


@work(points=20_000, k=64, d=16, sweep={"points": (5000, 10_000), "k": (16, 32)}, tiny={"points": 2000})
def assign(bench, points, k, d):
    """The labels of assign."""
    x = bench.randn(points, d, dtype=torch.float64).cpu().numpy()
    centers = bench.randn(k, d, dtype=torch.float64).cpu().numpy()
    bench.katas(lambda kata: partial(labels_of, kata.assign, x, centers))
    bench.way("naive: all differences", partial(all_differences, x, centers))
    bench.way("one centre at a time", partial(one_centre_at_a_time, x, centers))
    bench.peer("sklearn", lambda: sklearn_labels(x, centers))
    bench.same()
    bench.floor(bytes=x.nbytes + centers.nbytes + 8 * points, flops=2 * points * k * d)
