"""Classification metrics.

How good is this classifier, and why is its accuracy not the answer? Count a confusion matrix, and read accuracy,
precision, recall and F1 off it: per class, and averaged in the three ways that papers and libraries report.

M[i, j] counts the samples of class i that were predicted as class j. For one class c, with TP = M[c, c]:

    precision = TP / (how often c was predicted)      recall = TP / (how often c was true: its support)
    F1 = 2 * precision * recall / (precision + recall)

    macro      the plain mean over all C classes          weighted   the mean weighted by support
    micro      the counts of all classes added up first, then one ratio

Every 0 / 0 is 0: a class that never occurs scores 0, and it still counts in the macro mean.

Rules: write the metrics yourself, on torch tensors (no scikit-learn, no torchmetrics). The arguments are not modified.

Stage 1: the matrix, one class at a time, the averages.  Stage 2: absent classes, bad labels, label maps, batches.
Stage 3: narrow integers, large counts, the types of the results.  Stage 4: a million labels and a thousand classes:
the matrix costs a fixed number of operators, and memory traffic that does not grow with the number of classes.
"""

import torch
from jaxtyping import Float, Int64, Integer
from torch import Tensor

Scores = tuple[float, float, float] | tuple[Float[Tensor, " C"], Float[Tensor, " C"], Float[Tensor, " C"]]


def confusion_matrix(
    targets: Integer[Tensor, "*shape"], predictions: Integer[Tensor, "*shape"], num_classes: int
) -> Int64[Tensor, "C C"]:
    """How often each class (row) was predicted as each class (column), in int64, on the labels' device.

    Labels have any signed integer dtype, or uint8 as label maps do, and any shape: a vector, a batch of images, nothing
    at all.
    Operators: at most 50, whatever the number of samples and classes. They read and write at most 25 times the bytes
    of the two int64 label tensors, besides a few matrices of C x C.
    Raises ValueError if the two shapes differ, or if a label lies outside [0, num_classes): none is left out in silence.
    """
    # kata: begin
    if targets.shape != predictions.shape:
        raise ValueError(f"targets {list(targets.shape)} and predictions {list(predictions.shape)} differ in shape")
    targets, predictions = targets.flatten().long(), predictions.flatten().long()  # row * C overflows in uint8
    if ((targets < 0) | (targets >= num_classes) | (predictions < 0) | (predictions >= num_classes)).any():
        raise ValueError(f"labels must lie in [0, {num_classes})")
    # The floor is reading the labels, 16 bytes a sample; checking and counting take a handful of such passes.
    cells = targets * num_classes + predictions  # (samples,): each sample's cell in the flattened matrix
    return torch.bincount(cells, minlength=num_classes**2).view(num_classes, num_classes)
    # kata: end


def precision_recall_f1(matrix: Int64[Tensor, "C C"], average: str) -> Scores:
    """(precision, recall, F1) of a confusion matrix as above, computed in float64.

    `average` is "macro", "micro" or "weighted", for three Python floats, or "none" for three float64 tensors of shape
    [C], one score per class. The averaged F1 is the average of the classes' F1, not the F1 of the averages.
    Raises ValueError for any other `average`.
    """
    # kata: begin
    if average not in ("none", "macro", "micro", "weighted"):
        raise ValueError(f"average must be none, macro, micro or weighted, got {average!r}")
    hits, predicted, support = matrix.diagonal(), matrix.sum(0), matrix.sum(1)  # (C,) each
    if average == "micro":
        hits, predicted, support = hits.sum(), predicted.sum(), support.sum()
    # 2 P R / (P + R) is 2 TP / (predicted + support): one division, and 0 / 0 only for a class that never occurs.
    precision, recall, f1 = _ratio(hits, predicted), _ratio(hits, support), _ratio(2 * hits, predicted + support)
    if average == "none":
        return precision, recall, f1
    if average == "weighted":
        share = _ratio(support, support.sum())
        return (precision @ share).item(), (recall @ share).item(), (f1 @ share).item()
    return precision.mean().item(), recall.mean().item(), f1.mean().item()
    # kata: end


def accuracy(matrix: Int64[Tensor, "C C"]) -> float:
    """The fraction of samples that were predicted as what they are, as a Python float; 0.0 for an empty matrix."""
    # kata: begin
    return _ratio(matrix.diagonal().sum(), matrix.sum()).item()
    # kata: end


# kata: begin
def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole in float64, where 0 / 0 is 0: no part of a whole of 0 is left to count."""
    return part.double() / whole.clamp(min=1)


# kata: end
