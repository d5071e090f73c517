"""Counts with index_put_(accumulate=True), checks ranges by the extremes, and takes F1 as the harmonic mean."""

import torch


def confusion_matrix(targets, predictions, num_classes):
    if targets.size() != predictions.size():
        raise ValueError("targets and predictions differ in shape")
    rows, columns = targets.reshape(-1).to(torch.int64), predictions.reshape(-1).to(torch.int64)
    if rows.numel():
        for labels in (rows, columns):
            low, high = labels.aminmax()
            if low < 0 or high >= num_classes:
                raise ValueError(f"a label lies outside [0, {num_classes})")
    matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=targets.device)
    return matrix.index_put_((rows, columns), torch.ones_like(rows), accumulate=True)


def precision_recall_f1(matrix, average):
    counts = matrix.to(torch.float64)
    tp, fp, fn = counts.diag(), counts.sum(0) - counts.diag(), counts.sum(1) - counts.diag()
    if average == "micro":
        tp, fp, fn = tp.sum(), fp.sum(), fn.sum()
    precision, recall = (tp / (tp + fp)).nan_to_num(0.0), (tp / (tp + fn)).nan_to_num(0.0)
    scores = precision, recall, (2 * precision * recall / (precision + recall)).nan_to_num(0.0)
    match average:
        case "none":
            return scores
        case "micro" | "macro":
            return tuple(float(score.mean()) for score in scores)
        case "weighted":
            support = (tp + fn) / max(counts.sum().item(), 1.0)
            return tuple(float((score * support).sum()) for score in scores)
    raise ValueError(f"unknown average {average!r}")


def accuracy(matrix):
    return precision_recall_f1(matrix, "micro")[0]
