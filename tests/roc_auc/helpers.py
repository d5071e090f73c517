"""Inputs by rank, and comparisons of curves and numbers. Stages 1 and 2 take lists and any float; stage 3 is strict."""

import numpy as np
import torch

from dojo.testing import expect, expect_close, randn
from katas.roc_auc import average_precision, roc_auc, roc_curve

AUC_HINT = "(pairs in order + half of the tied pairs) / (P * N), or trapezoids under the curve, from (0, 0) on"
AP_HINT = "sum over the distinct scores of (recall - recall before) * precision, where precision = TP / (TP + FP)"
CURVE_HINT = "sort from high to low, cumulate positives and negatives, divide each by its own total, begin at (0, 0)"

# From the highest score to the lowest: 0 1 1 0 0 1 0. 3 positives, 4 negatives.
TARGETS = np.array([1, 1, 0, 0, 0, 1, 0])
SCORES = np.array([0.3, 0.8, 0.1, 0.9, 0.45, 0.7, 0.4])


def ranked(rng, positives, negatives):
    """(targets, scores, ranks of the positives from 1 on): distinct scores of either sign, in random order."""
    n = positives + negatives
    scores = (5 * randn(rng, n)).sort(descending=True).values
    ranks = torch.randperm(n, generator=rng)[:positives].sort().values + 1
    targets = torch.zeros(n, dtype=torch.int64)
    targets[ranks - 1] = 1
    order = torch.randperm(n, generator=rng)
    return targets[order].numpy(), scores[order].numpy(), ranks.double()


def blocks(*counts, first=1):
    """(targets, scores): for each (positives, negatives) a block of equal scores, from high to low, in the order in which
    positives (first=1) or negatives (first=0) of a block come first."""
    targets, scores = [], []
    for place, (positives, negatives) in enumerate(counts):
        block = [1] * positives + [0] * negatives
        targets += block if first else block[::-1]
        scores += [10.0 - place] * len(block)
    return np.array(targets), np.array(scores)


def expect_number(actual, expected, what, hint=""):
    """A number within 1e-12."""
    what = what if len(what) < 200 else what[:200]
    number = isinstance(actual, int | float | np.number | np.ndarray) and np.ndim(actual) == 0
    expect(number, f"{what} should be one number, {expected:.6g}, but is {actual!r}", hint=hint)
    value = torch.tensor(float(actual), dtype=torch.float64)
    expected = torch.tensor(float(expected), dtype=torch.float64)
    expect_close(value, expected, what=what, hint=hint, rtol=0.0, atol=1e-12)


def points(curve, what):
    """The three parts of a curve as float64 tensors of equal length."""
    expect(
        isinstance(curve, tuple | list) and len(curve) == 3,
        f"{what} should be (FPR, TPR, thresholds), but is {curve!r}",
    )
    parts = [torch.tensor(np.asarray(part).astype(np.float64)) for part in curve]
    lengths = [list(part.shape) for part in parts]
    expect(lengths[0] == lengths[1] == lengths[2], f"the three parts of {what} should have one length, not {lengths}")
    return parts


def expect_curve(curve, fpr, tpr, thresholds, what, hint=CURVE_HINT):
    parts = points(curve, what)
    names = {"the thresholds": (2, thresholds), "the FPR": (0, fpr), "the TPR": (1, tpr)}
    for name, (part, expected) in names.items():
        expected = torch.tensor(expected, dtype=torch.float64)
        expect_close(parts[part], expected, what=f"{name} of {what}", hint=hint, rtol=1e-12, atol=1e-12)


def expect_same(given, other, what, hint="", thresholds=True):
    """All three results of two inputs agree."""
    expect_number(roc_auc(*other), float(roc_auc(*given)), f"the AUC {what}", hint)
    expect_number(average_precision(*other), float(average_precision(*given)), f"AP {what}", hint)
    fpr, tpr, cuts = points(roc_curve(*given), "the curve")
    got = roc_curve(*other)
    expect_curve(
        got, fpr.tolist(), tpr.tolist(), cuts.tolist() if thresholds else list(got[2]), f"the curve {what}", hint
    )
