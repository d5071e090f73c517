"""Counts per distinct score with unique and bincount; the area from the rank sum of the positives, with average ranks."""

import numpy as np


def table(targets, scores):
    y, s = np.asarray(targets), np.asarray(scores)
    if y.ndim != 1 or s.ndim != 1 or len(y) != len(s):
        raise ValueError("two vectors of one length are needed")
    if len(y) == 0:
        raise ValueError("there are no samples")
    if not np.isin(y, [0, 1]).all():
        raise ValueError("a target is neither 0 nor 1")
    if (s != s).any():
        raise ValueError("NaN among the scores")
    values, place = np.unique(s, return_inverse=True)
    positives = np.bincount(place[y == 1], minlength=len(values))
    negatives = np.bincount(place[y == 0], minlength=len(values))
    return values, positives, negatives


def roc_curve(targets, scores):
    values, positives, negatives = table(targets, scores)
    p, n = positives.sum(), negatives.sum()
    if p == 0 or n == 0:
        raise ValueError("both classes are needed")
    tpr = np.concatenate([[0], np.cumsum(positives[::-1])]) / p
    fpr = np.concatenate([[0], np.cumsum(negatives[::-1])]) / n
    return fpr, tpr, np.concatenate([[np.inf], values[::-1].astype(float)])


def roc_auc(targets, scores):
    _, positives, negatives = table(targets, scores)
    p, n = int(positives.sum()), int(negatives.sum())
    if p == 0 or n == 0:
        raise ValueError("both classes are needed")
    size = positives + negatives
    ranks = np.cumsum(size) - (size - 1) / 2  # the average rank of a block, from the lowest score on
    return (float(positives @ ranks) - p * (p + 1) / 2) / (p * n)


def average_precision(targets, scores):
    _, positives, negatives = table(targets, scores)
    p = positives.sum()
    if not p:
        raise ValueError("no positives")
    tp, fp = positives[::-1].cumsum(), negatives[::-1].cumsum()
    return float(np.average(tp / (tp + fp), weights=positives[::-1]))
