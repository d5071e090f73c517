"""Stage 2. Absent classes, bad labels, label maps, batches."""

import pytest
import torch

from dojo.testing import expect_close, expect_equal, expect_raises, randint
from katas.classification_metrics import accuracy, confusion_matrix, precision_recall_f1

from .helpers import AVERAGES, MATRIX, expect_matrix, expect_scores


def test_the_matrix_has_room_for_classes_that_do_not_occur():
    """A validation batch seldom holds all classes. Matrices of other sizes cannot be added or compared."""
    hint = "C x C always: bincount needs minlength=C * C, and num_classes is not the number of labels seen"
    expect_matrix([1, 1], [1, 0], 4, [[0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], hint)


@pytest.mark.parametrize("average", AVERAGES)
def test_zero_over_zero_is_zero_and_counts(average):
    """Class 1 is never predicted (no precision), class 2 never true (no recall), class 3 neither. All count in macro."""
    matrix = torch.tensor([[3, 0, 1, 0], [2, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    expected = {
        "none": ([3 / 5, 0, 0, 0], [3 / 4, 0, 0, 0], [6 / 9, 0, 0, 0]),
        "macro": (3 / 20, 3 / 16, 6 / 36),
        "micro": (3 / 6, 3 / 6, 3 / 6),
        "weighted": (4 / 6 * 3 / 5, 4 / 6 * 3 / 4, 4 / 6 * 6 / 9),
    }[average]
    hint = (
        "0 / 0 is 0 here, not NaN and not 1; the macro mean divides by all C classes, absent ones included (scikit-learn's "
        "default leaves out those that neither occur nor are predicted; with labels=range(C) it counts them)"
    )
    expect_scores(precision_recall_f1(matrix, average), expected, f"{average!r} with absent classes", hint)


def test_a_single_sample_is_judged_without_smoothing():
    """One sample, and it is right: whatever keeps a denominator from being 0 must not reach a denominator of 1."""
    matrix = confusion_matrix(torch.tensor([1]), torch.tensor([1]), 2)
    hint = "only 0 / 0 is special: add nothing to the other denominators"
    exact = {"hint": hint, "within": 1e-12}  # a share of 1 / 1 is 1 in any precision, and 1e-8 more below it shows
    expect_scores(precision_recall_f1(matrix, "none"), [[0.0, 1.0]] * 3, "each class after one right sample", **exact)
    expect_scores(precision_recall_f1(matrix, "weighted"), [1.0] * 3, "'weighted' after one right sample", **exact)
    expect_equal(float(accuracy(matrix)), 1.0, what="the accuracy of one right sample", hint=hint)


@pytest.mark.parametrize("average", AVERAGES)
def test_an_empty_matrix_scores_zero(average):
    """Before the first batch there is nothing to divide by, and a progress bar should not crash on it."""
    nothing = torch.empty(0, dtype=torch.int64)
    empty = torch.zeros(3, 3, dtype=torch.int64)
    expect_equal(confusion_matrix(nothing, nothing, 3), empty, what="the matrix of no samples")
    zero = [0.0] * 3 if average == "none" else 0.0
    hint = "no denominator may be 0: not a column's, not a row's, not the total"
    expect_scores(precision_recall_f1(empty, average), [zero] * 3, f"{average!r} of an empty matrix", hint)
    expect_equal(float(accuracy(empty)), 0.0, what="the accuracy of an empty matrix", hint=hint)


@pytest.mark.parametrize("shape", [(), (2, 3), (2, 3, 4)], ids=str)
def test_labels_may_have_any_shape(rng, shape):
    """Segmentation has one label per pixel; the matrix counts pixels."""
    targets, predictions = randint(rng, 0, 3, *shape), randint(rng, 0, 3, *shape)
    flat = confusion_matrix(targets.reshape(-1), predictions.reshape(-1), 3)
    found = confusion_matrix(targets, predictions, 3)
    expect_equal(found, flat, what=f"the matrix of labels of shape {list(shape)}", hint="flatten both")


def test_matrices_of_batches_add_up(rng):
    """This is why one keeps the matrix and not the F1: counts add over batches and workers, ratios do not."""
    targets, predictions = randint(rng, 0, 5, 90), randint(rng, 0, 5, 90)
    parts = [confusion_matrix(t, p, 5) for t, p in zip(targets.split(40), predictions.split(40), strict=True)]
    expect_equal(sum(parts), confusion_matrix(targets, predictions, 5), what="the sum of three batches' matrices")


@pytest.mark.parametrize("average", ["none", "macro"])
def test_transposing_the_matrix_swaps_precision_and_recall(rng, average):
    """What is a false positive of one class is a false negative of another; F1 cannot tell them apart."""
    matrix = randint(rng, 0, 9, 5, 5)
    precision, recall, f1 = precision_recall_f1(matrix, average)
    swapped = precision_recall_f1(matrix.T, average)
    expect_scores(swapped, (recall, precision, f1), f"the transposed matrix, {average!r},")


def test_scikit_learn_finds_the_same_numbers(rng):
    """The field's yardstick, with labels=range(C), zero_division=0, and a class that is never true and one never
    predicted."""
    targets, predictions = randint(rng, 0, 5, 60), randint(rng, 1, 6, 60)
    matrix = confusion_matrix(targets, predictions, 7)
    from sklearn import metrics

    labels = range(7)
    pair = targets.numpy(), predictions.numpy()
    want = torch.from_numpy(metrics.confusion_matrix(*pair, labels=labels))
    expect_equal(matrix, want, what="the matrix (scikit-learn's is expected)")
    for average in AVERAGES:
        choice = {"labels": labels, "average": None if average == "none" else average, "zero_division": 0.0}
        *want, _ = metrics.precision_recall_fscore_support(*pair, **choice)
        expect_scores(precision_recall_f1(matrix, average), want, f"{average!r} (scikit-learn's is expected)")
    want = torch.tensor(metrics.accuracy_score(*pair), dtype=torch.float64)
    expect_close(torch.as_tensor(accuracy(matrix), dtype=torch.float64), want, what="the accuracy")


@pytest.mark.parametrize(("target", "prediction"), [(-1, 1), (1, -1), (3, 1), (1, 3), (-100, 1), (255, 1)])
def test_a_label_outside_the_classes_is_an_error(target, prediction):
    """As an index -1 means the last class; in `t * C + p` a prediction of C falls into the next row. Both are silent. What
    is to be ignored (-100, 255) the caller leaves out, and knows then how much that was."""
    what = f"confusion_matrix of target {target} and prediction {prediction} with 3 classes"
    with expect_raises(ValueError, what=what, hint="check both, against 0 and against C: no mask"):
        confusion_matrix(torch.tensor([0, target]), torch.tensor([0, prediction]), 3)


@pytest.mark.parametrize("shape", [(3, 1), (2,), (1,), (1, 3)], ids=str)
def test_targets_and_predictions_of_different_shapes_are_an_error(shape):
    """[3, 1] against [3] broadcasts to nine pairs: a forgotten squeeze gives a matrix of 9 samples from 3."""
    what = f"confusion_matrix of shapes [3] and {list(shape)}"
    with expect_raises(ValueError, what=what, hint="compare the shapes before anything can broadcast"):
        confusion_matrix(torch.tensor([0, 1, 1]), torch.ones(shape, dtype=torch.int64), 2)


@pytest.mark.parametrize("average", ["samples", "Macro", "", None])
def test_an_unknown_average_is_an_error(average):
    """A misspelt average that falls through to a default is reported under the wrong name."""
    hint = "compare with the four names before anything else"
    with expect_raises(ValueError, what=f"precision_recall_f1(average={average!r})", hint=hint):
        precision_recall_f1(MATRIX, average)
