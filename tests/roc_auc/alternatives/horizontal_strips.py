"""The area in strips over the TPR axis, counted in half cells as whole numbers; the last sample of a run by a shifted copy."""

import numpy as np


def _steps(y, s, need):
    n = np.shape(y)
    if n != np.shape(s) or len(n) != 1:
        raise ValueError("shapes")
    if np.any(s != s):
        raise ValueError("NaN")
    ones = np.equal(y, 1)
    if not np.array_equal(ones, np.not_equal(y, 0)):
        raise ValueError("labels")
    if np.sum(ones) < 1 or np.sum(~ones) < need:
        raise ValueError("classes")
    up = np.argsort(s, kind="mergesort")
    s, ones = np.take(s, up), np.take(ones, up)
    first = np.empty(len(s), bool)  # of a run, from low to high
    first[0] = True
    np.not_equal(s[1:], s[:-1], out=first[1:])
    start = first.nonzero()[0]
    total = np.cumsum(ones, dtype=np.int64)
    tp = total[-1] - total[start] + ones[start]  # of this score or a higher one
    fp = len(s) - start - tp
    return np.concatenate(([np.inf], s[start][::-1].astype("f8"))), np.append(0, tp[::-1]), np.append(0, fp[::-1])


def roc_curve(targets, scores):
    cuts, tp, fp = _steps(targets, scores, 1)
    return np.true_divide(fp, fp[-1]), np.true_divide(tp, tp[-1]), cuts


def roc_auc(targets, scores):
    _, tp, fp = _steps(targets, scores, 1)
    outside = int(((fp[1:] + fp[:-1]) * (tp[1:] - tp[:-1])).sum())
    return 1 - outside / (2 * int(tp[-1]) * int(fp[-1]))


def average_precision(targets, scores):
    _, tp, fp = _steps(targets, scores, 0)
    gain = np.subtract(tp[1:], tp[:-1])
    return float(np.sum(gain * (1 - fp[1:] / (tp[1:] + fp[1:])))) / int(tp[-1])
