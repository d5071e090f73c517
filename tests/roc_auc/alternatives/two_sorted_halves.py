"""Sorts positives and negatives by themselves and looks scores up in them by binary search. No cumulated sums."""

import numpy as np


def halves(targets, scores, negatives_needed=True):
    if not (np.ndim(targets) == np.ndim(scores) == 1) or np.size(targets) != np.size(scores):
        raise ValueError(f"bad shapes: {np.shape(targets)}, {np.shape(scores)}")
    yes, no = targets == 1, targets == 0
    if np.count_nonzero(yes) + np.count_nonzero(no) < targets.size:
        raise ValueError("targets other than 0 and 1")
    if np.count_nonzero(scores == scores) < scores.size:
        raise ValueError("scores must be numbers")
    if not yes.any() or (negatives_needed and not no.any()):
        raise ValueError("a class is missing")
    return np.sort(scores[yes]), np.sort(scores[no])


def at_least(half, cuts):
    return half.size - np.searchsorted(half, cuts, side="left")


def roc_curve(targets, scores):
    positives, negatives = halves(targets, scores)
    cuts = np.flip(np.unique(scores))
    tpr, fpr = at_least(positives, cuts) / positives.size, at_least(negatives, cuts) / negatives.size
    return np.r_[0.0, fpr], np.r_[0.0, tpr], np.r_[np.inf, cuts.astype(np.float64)]


def roc_auc(targets, scores):
    positives, negatives = halves(targets, scores)
    below = np.searchsorted(negatives, positives, "left").sum()
    not_above = np.searchsorted(negatives, positives, "right").sum()
    return int(below + not_above) / (2 * positives.size * negatives.size)


def average_precision(targets, scores):
    positives, negatives = halves(targets, scores, negatives_needed=False)
    hits, alarms = at_least(positives, positives), at_least(negatives, positives)
    return float(np.mean(hits / (hits + alarms)))
