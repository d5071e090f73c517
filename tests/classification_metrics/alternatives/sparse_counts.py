"""A sparse matrix adds what stands at equal coordinates; the scores come as a NamedTuple, averaged by one weight vector."""

from typing import Any, NamedTuple

import torch


class Scores(NamedTuple):
    precision: Any
    recall: Any
    f1: Any


def confusion_matrix(targets, predictions, num_classes):
    if tuple(targets.shape) != tuple(predictions.shape):
        raise ValueError("one prediction for each target, please")
    where = torch.stack([targets.flatten().long(), predictions.flatten().long()])
    if bool(where.lt(0).any()) or bool(where.ge(num_classes).any()):
        raise ValueError("label out of range")
    ones = torch.ones(where.shape[1], dtype=torch.int64, device=where.device)
    return torch.sparse_coo_tensor(where, ones, (num_classes, num_classes), check_invariants=True).to_dense()


def precision_recall_f1(matrix, average):
    m = matrix.double()
    if average == "micro":
        share = accuracy(matrix)
        return Scores(share, share, share)
    support = torch.einsum("ij->i", m)
    weights = {
        "none": None,
        "macro": torch.full_like(support, 1 / len(m)),
        "weighted": support / support.sum() if support.any() else support,
    }
    if average not in weights:
        raise ValueError(f"average: one of micro, {', '.join(weights)}")
    hits = torch.einsum("ii->i", m)

    def over(whole):
        return torch.where(whole > 0, hits / whole, 0.0)

    predicted = torch.einsum("ij->j", m)
    scores = Scores(over(predicted), over(support), over((predicted + support) / 2))
    chosen = weights[average]
    return scores if chosen is None else Scores(*(float(score @ chosen) for score in scores))


def accuracy(matrix):
    total = matrix.sum().item()
    return matrix.diagonal().sum().item() / total if total else 0.0
