"""A beginner's loops over plain Python numbers, one class and one sample at a time, with an if for every denominator."""

import torch


def confusion_matrix(targets, predictions, num_classes):
    if targets.shape != predictions.shape:
        raise ValueError("targets and predictions must have the same shape")
    rows = [[0] * num_classes for _ in range(num_classes)]
    for true, predicted in zip(targets.flatten().tolist(), predictions.flatten().tolist(), strict=True):
        if true not in range(num_classes) or predicted not in range(num_classes):
            raise ValueError(f"there is no class {true} or no class {predicted}")
        rows[true][predicted] += 1
    return torch.tensor(rows, dtype=torch.int64, device=targets.device)


def scores_of(tp, fp, fn):
    precision = tp / (tp + fp) if tp + fp > 0 else 0.0
    recall = tp / (tp + fn) if tp + fn > 0 else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
    return precision, recall, f1


def precision_recall_f1(matrix, average):
    rows = matrix.tolist()
    classes = range(len(rows))
    tp = [rows[c][c] for c in classes]
    fp = [sum(rows[other][c] for other in classes if other != c) for c in classes]
    fn = [sum(rows[c][other] for other in classes if other != c) for c in classes]
    table = [scores_of(tp[c], fp[c], fn[c]) for c in classes]
    if average == "none":
        return tuple(torch.tensor(column, dtype=torch.float64) for column in zip(*table, strict=True))
    if average == "micro":
        return scores_of(sum(tp), sum(fp), sum(fn))
    if average == "macro":
        return tuple(sum(column) / len(column) for column in zip(*table, strict=True))
    if average == "weighted":
        support = [sum(row) for row in rows]
        if sum(support) == 0:
            return 0.0, 0.0, 0.0
        return tuple(
            sum(s * w for s, w in zip(column, support, strict=True)) / sum(support)
            for column in zip(*table, strict=True)
        )
    raise ValueError(f"no such average: {average}")


def accuracy(matrix):
    rows = matrix.tolist()
    total = sum(map(sum, rows))
    return sum(rows[c][c] for c in range(len(rows))) / total if total else 0.0
