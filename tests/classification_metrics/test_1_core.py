"""Stage 1. The matrix, one class at a time, the averages."""

import torch

from dojo.testing import expect_close, expect_equal, randint
from katas.classification_metrics import accuracy, confusion_matrix, precision_recall_f1

from .helpers import MATRIX, expect_matrix, expect_scores


def test_rows_are_true_classes_and_columns_are_predictions():
    """Two samples of class 0 were taken for class 1: that is M[0, 1]. Half the field draws it the other way round."""
    hint = (
        "M[target, prediction], each sample counted: M[t, p] += 1 with index tensors counts a repeated cell only once"
    )
    expect_matrix([0, 0, 0, 1, 2, 2], [0, 1, 1, 1, 0, 2], 3, [[1, 2, 0], [0, 1, 0], [1, 0, 1]], hint)


def test_every_sample_lands_in_the_row_of_its_target_and_the_column_of_its_prediction(rng):
    """500 samples in 16 cells: row sums count the targets, column sums the predictions, the diagonal the hits."""
    targets, predictions = randint(rng, 0, 4, 500), randint(rng, 0, 3, 500)
    matrix = confusion_matrix(targets, predictions, 4)
    hint = "add one for every sample: += with repeated index tensors adds once per distinct cell"
    expect_equal(matrix.sum(1), targets.bincount(minlength=4), what="the row sums", hint=hint)
    expect_equal(matrix.sum(0), predictions.bincount(minlength=4), what="the column sums", hint=hint)
    expect_equal(int(matrix.diagonal().sum()), int((targets == predictions).sum()), what="the diagonal's sum")


def test_precision_divides_by_what_was_predicted_and_recall_by_what_was_true():
    """Class 0 was predicted 7 times and was true 6 times; 5 of them were hits."""
    expected = ([5 / 7, 3 / 8, 4 / 5], [5 / 6, 3 / 6, 4 / 8], [10 / 13, 6 / 14, 8 / 13])
    hint = "precision: M[c, c] / column sum; recall: M[c, c] / row sum; F1 is their harmonic mean 2 P R / (P + R)"
    expect_scores(precision_recall_f1(MATRIX, "none"), expected, "each class", hint)


def test_macro_is_the_plain_mean_of_the_classes():
    """Every class weighs the same, rare ones too. The harmonic mean of macro precision and macro recall is another
    number, which some papers call macro F1 as well."""
    expected = (
        (5 / 7 + 3 / 8 + 4 / 5) / 3,
        (5 / 6 + 3 / 6 + 4 / 8) / 3,
        (10 / 13 + 6 / 14 + 8 / 13) / 3,
    )
    hint = "score each class first, then take the mean; macro F1 is the mean of the classes' F1"
    expect_scores(precision_recall_f1(MATRIX, "macro"), expected, "the macro average", hint)


def test_weighted_counts_each_class_by_its_support():
    """Supports 6, 6 and 8 of 20. Weighted recall is always the accuracy; weighted precision and F1 are not."""
    expected = (
        (6 * 5 / 7 + 6 * 3 / 8 + 8 * 4 / 5) / 20,
        (5 + 3 + 4) / 20,
        (6 * 10 / 13 + 6 * 6 / 14 + 8 * 8 / 13) / 20,
    )
    hint = "weigh the classes' scores (F1 too) by how often each class is true, the row sums, not by the predictions"
    expect_scores(precision_recall_f1(MATRIX, "weighted"), expected, "the weighted average", hint)


def test_micro_pools_the_counts_before_it_divides():
    """With one label per sample every false positive is some class's false negative: all three are the accuracy."""
    hint = "add hits, predictions and supports over the classes, then divide once"
    expect_scores(precision_recall_f1(MATRIX, "micro"), [12 / 20] * 3, "the micro average", hint)


def test_accuracy_is_the_share_of_the_diagonal():
    """12 of 20. The mean of the classes' recalls is balanced accuracy, another metric."""
    hint = "the diagonal's sum over the sum of all cells"
    found = torch.as_tensor(accuracy(MATRIX), dtype=torch.float64)
    expect_close(found, torch.tensor(12 / 20, dtype=torch.float64), what="the accuracy", hint=hint)
