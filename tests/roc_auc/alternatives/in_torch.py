"""Ranks the scores with NumPy, once, and does all arithmetic on tensors."""

import numpy as np
import torch


def ranking(targets, scores):
    """(cuts, positives and all samples at or above each cut), from high to low."""
    if targets.ndim != 1 or scores.ndim != 1 or targets.shape[0] != scores.shape[0]:
        raise ValueError("targets and scores: [n] and [n]")
    y = torch.from_numpy(targets.astype(np.float64))
    if not bool(((y == 0) | (y == 1)).all()):
        raise ValueError("targets are 0 and 1")
    if bool(np.isnan(scores).any()):
        raise ValueError("scores are no NaN")
    cuts, code, size = np.unique(scores, return_inverse=True, return_counts=True)
    code, size = torch.from_numpy(code.reshape(-1)), torch.from_numpy(size)
    hits = torch.zeros(len(cuts), dtype=torch.float64).index_add_(0, code, y)
    cuts = torch.tensor(cuts.astype(np.float64))
    return cuts.flip(0), hits.flip(0).cumsum(0), size.flip(0).cumsum(0).double()


def rates(targets, scores):
    cuts, hits, alarms = ranking(targets, scores)
    if not len(cuts) or hits[-1] in (0, alarms[-1]):
        raise ValueError("a positive and a negative, at least")
    tpr = torch.nn.functional.pad(hits / hits[-1], (1, 0))
    fpr = torch.nn.functional.pad((alarms - hits) / (alarms - hits)[-1], (1, 0))
    return fpr, tpr, torch.nn.functional.pad(cuts, (1, 0), value=torch.inf)


def roc_curve(targets, scores):
    return tuple(part.numpy() for part in rates(targets, scores))


def roc_auc(targets, scores):
    fpr, tpr, _ = rates(targets, scores)
    return torch.trapezoid(tpr, fpr).item()


def average_precision(targets, scores):
    _, hits, alarms = ranking(targets, scores)
    if not len(hits) or hits[-1] == 0:
        raise ValueError("one positive, at least")
    return torch.dot(hits.diff(prepend=hits.new_zeros(1)), hits / alarms).div(hits[-1]).item()
