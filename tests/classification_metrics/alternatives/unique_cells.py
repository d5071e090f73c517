"""Sorts: unique() counts the cells that occur. An eps far below the smallest ratio stands in for the zero check."""

import torch

EPS = 1e-200


def confusion_matrix(targets, predictions, num_classes):
    if targets.shape != predictions.shape:
        raise ValueError("shapes differ")
    t, p = (x.detach().long().ravel() for x in (targets, predictions))
    if ((t // num_classes) | (p // num_classes)).any():  # 0 only for labels in [0, C)
        raise ValueError("label out of range")
    cells, counts = torch.unique(t * num_classes + p, return_counts=True)
    flat = t.new_zeros(num_classes * num_classes)
    flat[cells] = counts
    return flat.reshape(num_classes, num_classes)


def precision_recall_f1(matrix, average):
    m = matrix.to(torch.double)
    tp, columns, rows = torch.diagonal(m), torch.sum(m, dim=-2), torch.sum(m, dim=-1)
    averages = {
        "none": lambda score, pooled: score,
        "macro": lambda score, pooled: torch.mean(score).item(),
        "micro": lambda score, pooled: pooled.item(),
        "weighted": lambda score, pooled: (torch.dot(score, rows) / (rows.sum() + EPS)).item(),
    }
    try:
        reduce = averages[average]
    except KeyError:
        raise ValueError(f"average {average!r}") from None
    pooled = tp.sum() / (m.sum() + EPS)
    return tuple(reduce(tp / (whole + EPS), pooled) for whole in (columns, rows, 0.5 * (columns + rows)))


def accuracy(matrix):
    return (torch.trace(matrix.double()) / (matrix.double().sum() + EPS)).item()
