"""scikit-learn's metrics. It works on labels: a matrix becomes one sample per cell, weighted by the cell's count."""

import torch
from sklearn import metrics

AVERAGES = ("none", "macro", "micro", "weighted")


def confusion_matrix(targets, predictions, num_classes):
    pair = [labels.long().flatten().cpu().numpy() for labels in (targets, predictions)]
    outside = any(len(labels) and not 0 <= labels.min() <= labels.max() < num_classes for labels in pair)
    if targets.shape != predictions.shape or outside:  # scikit-learn leaves labels out that it is not told of
        raise ValueError(f"labels of equal shape in [0, {num_classes}) are needed")
    if not targets.numel():  # which scikit-learn refuses when it is told the labels
        return torch.zeros(num_classes, num_classes, dtype=torch.int64)
    return torch.from_numpy(metrics.confusion_matrix(*pair, labels=range(num_classes)))


def precision_recall_f1(matrix, average):
    if average in AVERAGES and not matrix.any():  # scikit-learn refuses samples that all weigh nothing
        return (torch.zeros(len(matrix), dtype=torch.float64) if average == "none" else 0.0,) * 3
    classes = torch.arange(len(matrix))
    targets, predictions = torch.cartesian_prod(classes, classes).T.numpy()
    *scores, _ = metrics.precision_recall_fscore_support(
        targets,
        predictions,
        labels=range(len(matrix)),
        average=None if average == "none" else str(average),  # None means per class there
        sample_weight=matrix.flatten().numpy(),
        zero_division=0.0,
    )
    return tuple(torch.from_numpy(score) if average == "none" else float(score) for score in scores)


def accuracy(matrix):
    return precision_recall_f1(matrix, "micro")[0]
