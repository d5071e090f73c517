"""Each sample looks up its block: Mann-Whitney's U from average ranks, and AP as a mean over the positives."""

import numpy as np


def check(targets, scores):
    if targets.ndim != 1:
        raise ValueError("targets must be one-dimensional")
    if scores.ndim != 1:
        raise ValueError("scores must be one-dimensional")
    if targets.shape[0] != scores.shape[0]:
        raise ValueError("targets and scores must have the same length")
    if scores.dtype.kind == "f" and np.isnan(scores).any():
        raise ValueError("scores must not be NaN")
    if not np.logical_or(targets == 0, targets == 1).all():
        raise ValueError("targets must be 0 or 1")
    return targets.astype(bool)


def roc_curve(targets, scores):
    y = check(targets, scores)
    P = int(y.sum())
    N = y.size - P
    if P == 0 or N == 0:
        raise ValueError("only one class")
    desc = np.lexsort((y, scores))[::-1]
    y, s = y[desc], scores[desc]
    tps = y.cumsum()
    fps = np.arange(1, y.size + 1) - tps
    ends = np.ones(y.size, dtype=bool)
    ends[:-1] = s[:-1] > s[1:]
    fpr, tpr, cuts = (np.empty(ends.sum() + 1) for _ in range(3))
    fpr[0] = tpr[0] = 0
    cuts[0] = float("inf")
    fpr[1:], tpr[1:], cuts[1:] = fps[ends] / N, tps[ends] / P, s[ends]
    return fpr, tpr, cuts


def roc_auc(targets, scores):
    y = check(targets, scores)
    P, N = np.count_nonzero(y), np.count_nonzero(~y)
    if P * N == 0:
        raise ValueError("only one class")
    ascending = np.sort(scores)
    rank = (np.searchsorted(ascending, scores, "left") + np.searchsorted(ascending, scores, "right") + 1) / 2
    U = rank[y].sum() - P * (P + 1) / 2
    return float(U / (P * N))


def average_precision(targets, scores):
    y = check(targets, scores)
    if not y.any():
        raise ValueError("no positive")
    everything, hits, mine = np.sort(scores), np.sort(scores[y]), scores[y]
    ranked = len(everything) - np.searchsorted(everything, mine)
    found = len(hits) - np.searchsorted(hits, mine)
    return float((found / ranked).mean())
