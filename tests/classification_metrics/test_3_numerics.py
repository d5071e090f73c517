"""Stage 3. Narrow integers, large counts, types."""

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, expect_unchanged, randint
from katas.classification_metrics import accuracy, confusion_matrix, precision_recall_f1

from .helpers import AVERAGES, MATRIX


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32], ids=str)
def test_labels_of_any_integer_dtype_are_counted(rng, dtype):
    """Label maps come as uint8: there 13 * 20 overflows, and as an index uint8 is an (old) mask, not a position."""
    targets, predictions = randint(rng, 0, 20, 200), randint(rng, 0, 20, 200)
    want = confusion_matrix(targets, predictions, 20)
    hint = "convert the labels to int64 before any arithmetic or indexing"
    for first, second in ((targets.to(dtype), predictions.to(dtype)), (targets.to(dtype), predictions)):
        found = confusion_matrix(first, second, 20)
        expect_equal(found, want, what=f"the matrix of {first.dtype} and {second.dtype} labels", hint=hint)


def test_more_classes_than_a_label_dtype_can_hold(rng):
    """300 classes, of which only a few occur: 300 itself does not fit into uint8, not even for the range check."""
    labels = randint(rng, 0, 200, 50)
    found = confusion_matrix(labels.to(torch.uint8), labels.to(torch.uint8), 300)
    expect_equal(
        found.diagonal(), labels.bincount(minlength=300), what="the diagonal with 300 classes and uint8 labels"
    )


def test_scores_are_computed_in_float64():
    """Pixels are counted in billions. float32 cannot tell 2**24 from 2**24 + 1, nor hold a ratio to more than 7 digits."""
    n = 2**24 + 1
    matrix = torch.tensor([[n, 1], [n + 1, 3 * n]])
    recalls = n / (n + 1), 3 * n / (4 * n + 1)
    hint = "convert the counts to float64 (`.double()`) before you divide; `/` on integer tensors gives float32"
    _, recall, _ = precision_recall_f1(matrix, "none")
    expect_close(recall, torch.tensor(recalls, dtype=torch.float64), what="recall", hint=hint, rtol=1e-12, atol=0)
    hits = 4 * n / (5 * n + 2)
    for average, want in {"macro": sum(recalls) / 2, "micro": hits, "weighted": hits}.items():
        _, recall, _ = precision_recall_f1(matrix, average)
        expect(abs(recall - want) < 1e-12, f"{average} recall should be {want!r}, but is {recall!r}", hint=hint)
    found = accuracy(matrix)
    expect(abs(found - hits) < 1e-12, f"the accuracy should be {hits!r}, but is {found!r}", hint=hint)


@pytest.mark.parametrize("average", AVERAGES)
def test_averages_are_python_floats_and_scores_per_class_are_tensors(average):
    """Floats go into logs and JSON; a tensor there keeps device memory alive and prints badly."""
    kind = torch.Tensor if average == "none" else float
    for name, score in zip(("precision", "recall", "F1"), precision_recall_f1(MATRIX, average), strict=True):
        found = f"{name} with average={average!r} should be a {kind.__name__}, but is a {type(score).__name__}"
        expect(isinstance(score, kind), found, hint=".item() on averages")
    found = type(accuracy(MATRIX)).__name__
    expect(isinstance(accuracy(MATRIX), float), f"the accuracy should be a float, but is a {found}")


def test_nothing_is_modified_and_strides_do_not_matter(rng):
    """Every second column of a label map, and a transposed matrix, are views: reading is all that is allowed."""
    targets, predictions = randint(rng, 0, 3, 6, 8)[:, ::2], randint(rng, 0, 3, 8, 6).T[:, ::2]
    matrix = MATRIX.clone().T
    with expect_unchanged(targets, predictions, matrix, what="an argument"):
        found = confusion_matrix(targets, predictions, 3)
        for average in AVERAGES:
            precision_recall_f1(matrix, average)
        accuracy(matrix)
    want = confusion_matrix(targets.contiguous(), predictions.contiguous(), 3)
    expect_equal(found, want, what="the matrix of strided labels")
