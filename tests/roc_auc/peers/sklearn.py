"""scikit-learn's metrics. They refuse infinite scores, narrow some integers, and return 0 or NaN for one class: scores
become their ranks here, and what is no ranking is refused first."""

import numpy as np
from sklearn import metrics


def ranks(targets, scores, classes=(0, 1)):
    if targets.ndim != 1 or targets.shape != scores.shape or np.isnan(scores).any():
        raise ValueError("no ranking")
    if not np.isin(targets, (0, 1)).all() or not np.isin(classes, targets).all():
        raise ValueError(f"targets {targets}")
    values, codes = np.unique(scores, return_inverse=True)
    return targets.astype(int), codes, values.astype(float)


def roc_curve(targets, scores):
    targets, codes, values = ranks(targets, scores)
    fpr, tpr, cuts = metrics.roc_curve(targets, codes, drop_intermediate=False)
    return fpr, tpr, np.append(cuts[0], values[cuts[1:].astype(int)])


def roc_auc(targets, scores):
    targets, codes, _ = ranks(targets, scores)
    return float(metrics.roc_auc_score(targets, codes))


def average_precision(targets, scores):
    targets, codes, _ = ranks(targets, scores, classes=(1,))
    return float(metrics.average_precision_score(targets, codes))
