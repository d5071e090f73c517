"""The floor is reading both arrays once. Sorting is most of the work; all pairs are the definition."""

from functools import partial

import numpy as np
import torch

from dojo.testing.bench import work


def inputs(bench, samples, distinct):
    """A fifth is positive, and scores a little higher; `distinct` values at most."""
    targets = (bench.randint(5, samples) == 0).cpu().numpy()
    scores = bench.randint(distinct, samples).cpu().numpy() / distinct + 0.1 * targets
    return targets, scores.astype(np.float32)


def all_pairs(targets, scores):
    positives, negatives = scores[targets][:, None], scores[~targets]
    return ((positives > negatives).mean() + (positives >= negatives).mean()) / 2


def tensors(curve):
    return [torch.from_numpy(np.ascontiguousarray(part)) for part in curve]


def sklearn_way(name, given, **options):
    from sklearn import metrics

    return partial(getattr(metrics, name), *given, **options)


@work(
    samples=100_000,
    distinct=2**22,
    sweep={"samples": (1000, 10_000, 1_000_000), "distinct": (100,)},
    tiny={"samples": 2000},
)
def area(bench, samples, distinct):
    """The area under the ROC curve."""
    given = inputs(bench, samples, distinct)
    bench.katas(lambda kata: partial(kata.roc_auc, *given))
    if samples <= 10_000:
        bench.way("naive: all pairs", partial(all_pairs, *given))
    bench.peer("sklearn", lambda: sklearn_way("roc_auc_score", given))
    bench.same(rtol=1e-9)
    bench.floor(bytes=sum(each.nbytes for each in given))


@work(
    samples=100_000, distinct=2**22, sweep={"samples": (10_000, 1_000_000), "distinct": (100,)}, tiny={"samples": 2000}
)
def curve(bench, samples, distinct):
    """The ROC curve."""
    given = inputs(bench, samples, distinct)
    bench.katas(lambda kata: lambda: tensors(kata.roc_curve(*given)))

    def peer():
        way = sklearn_way("roc_curve", given, drop_intermediate=False)
        return lambda: tensors(way())

    bench.peer("sklearn", peer)
    bench.same(rtol=1e-9)
    bench.floor(bytes=sum(each.nbytes for each in given))


@work(
    samples=100_000, distinct=2**22, sweep={"samples": (10_000, 1_000_000), "distinct": (100,)}, tiny={"samples": 2000}
)
def precision(bench, samples, distinct):
    """Average precision."""
    given = inputs(bench, samples, distinct)
    bench.katas(lambda kata: partial(kata.average_precision, *given))
    bench.peer("sklearn", lambda: sklearn_way("average_precision_score", given))
    bench.same(rtol=1e-9)
    bench.floor(bytes=sum(each.nbytes for each in given))
