"""A stable sort of the codes of the scores, and sums over the runs of equal ones with add.reduceat. All the rest in floats."""

from typing import NamedTuple

import numpy as np


class Runs(NamedTuple):
    cuts: np.ndarray
    ones: np.ndarray
    zeros: np.ndarray


def runs(targets, scores, classes):
    if targets.shape != scores.shape or len(targets.shape) != 1 or not targets.size:
        raise ValueError("no vectors, or empty ones")
    if np.isnan(scores.astype(float)).any():
        raise ValueError("NaN")
    labels = set(np.unique(targets).tolist())
    if not labels <= {0, 1} or len(labels & classes) < len(classes):
        raise ValueError(f"the classes are {labels}")
    order = np.argsort(scores, kind="stable")
    sorted_scores, y = scores[order], targets[order].astype(np.float64)
    starts = np.append(0, np.nonzero(sorted_scores[1:] != sorted_scores[:-1])[0] + 1)
    ones, zeros = np.add.reduceat(y, starts), np.add.reduceat(1 - y, starts)
    return Runs(*(each[::-1] for each in (sorted_scores[starts].astype(np.float64), ones, zeros)))


def roc_curve(targets, scores):
    cuts, ones, zeros = runs(targets, scores, {0, 1})
    fpr, tpr = (np.insert(np.cumsum(each), 0, 0) / each.sum() for each in (zeros, ones))
    return fpr, tpr, np.insert(cuts, 0, np.inf)


def roc_auc(targets, scores):
    _, ones, zeros = runs(targets, scores, {0, 1})
    below = zeros.sum() - zeros.cumsum()
    return float((ones * (below + zeros / 2)).sum() / (ones.sum() * zeros.sum()))


def average_precision(targets, scores):
    _, ones, zeros = runs(targets, scores, {1})
    return float((ones * ones.cumsum() / (ones + zeros).cumsum()).sum() / ones.sum())
