"""What any right metrics do. Matrices are asymmetric and have absent classes, so that no two conventions agree."""

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, expect_raises, expect_unchanged, randint
from katas.classification_metrics import accuracy, confusion_matrix, precision_recall_f1

AVERAGES = ["none", "macro", "micro", "weighted"]
# 20 samples, supports 6, 6 and 8, predicted 7, 8 and 5 times: every sum is another number.
MATRIX = torch.tensor([[5, 1, 0], [2, 3, 1], [0, 4, 4]])


def expect_scores(scores, expected, what, hint="", within=1e-6):
    """Each of precision, recall and F1, floats or tensors, within 1e-6: stage 3 is the one that is strict about types."""
    expect(len(scores) == 3, f"{what} should be (precision, recall, f1), but has {len(scores)} parts")
    for name, score, want in zip(("precision", "recall", "F1"), scores, expected, strict=True):
        score, want = (torch.as_tensor(value, dtype=torch.float64) for value in (score, want))
        expect_close(score, want, what=f"the {name} of {what}", hint=hint, rtol=within, atol=within)


def expect_matrix(targets, predictions, num_classes, expected, hint):
    found = confusion_matrix(torch.tensor(targets), torch.tensor(predictions), num_classes)
    what = f"the matrix of targets {targets} and predictions {predictions}"
    expect_equal(found, torch.tensor(expected), what=what, hint=hint)


# Stage 1: the matrix, one class at a time, the averages


@pytest.mark.stage(1)
def test_rows_are_true_classes_and_columns_are_predictions():
    """Two samples of class 0 were taken for class 1: that is M[0, 1]. Half the field draws it the other way round."""
    hint = (
        "M[target, prediction], each sample counted: M[t, p] += 1 with index tensors counts a repeated cell only once"
    )
    expect_matrix([0, 0, 0, 1, 2, 2], [0, 1, 1, 1, 0, 2], 3, [[1, 2, 0], [0, 1, 0], [1, 0, 1]], hint)


@pytest.mark.stage(1)
def test_every_sample_lands_in_the_row_of_its_target_and_the_column_of_its_prediction(rng):
    """500 samples in 16 cells: row sums count the targets, column sums the predictions, the diagonal the hits."""
    targets, predictions = randint(rng, 0, 4, 500), randint(rng, 0, 3, 500)
    matrix = confusion_matrix(targets, predictions, 4)
    hint = "add one for every sample: += with repeated index tensors adds once per distinct cell"
    expect_equal(matrix.sum(1), targets.bincount(minlength=4), what="the row sums", hint=hint)
    expect_equal(matrix.sum(0), predictions.bincount(minlength=4), what="the column sums", hint=hint)
    expect_equal(int(matrix.diagonal().sum()), int((targets == predictions).sum()), what="the diagonal's sum")


@pytest.mark.stage(1)
def test_precision_divides_by_what_was_predicted_and_recall_by_what_was_true():
    """Class 0 was predicted 7 times and was true 6 times; 5 of them were hits."""
    expected = ([5 / 7, 3 / 8, 4 / 5], [5 / 6, 3 / 6, 4 / 8], [10 / 13, 6 / 14, 8 / 13])
    hint = "precision: M[c, c] / column sum; recall: M[c, c] / row sum; F1 is their harmonic mean 2 P R / (P + R)"
    expect_scores(precision_recall_f1(MATRIX, "none"), expected, "each class", hint)


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
def test_weighted_counts_each_class_by_its_support():
    """Supports 6, 6 and 8 of 20. Weighted recall is always the accuracy; weighted precision and F1 are not."""
    expected = (
        (6 * 5 / 7 + 6 * 3 / 8 + 8 * 4 / 5) / 20,
        (5 + 3 + 4) / 20,
        (6 * 10 / 13 + 6 * 6 / 14 + 8 * 8 / 13) / 20,
    )
    hint = "weigh the classes' scores (F1 too) by how often each class is true, the row sums, not by the predictions"
    expect_scores(precision_recall_f1(MATRIX, "weighted"), expected, "the weighted average", hint)


@pytest.mark.stage(1)
def test_micro_pools_the_counts_before_it_divides():
    """With one label per sample every false positive is some class's false negative: all three are the accuracy."""
    hint = "add hits, predictions and supports over the classes, then divide once"
    expect_scores(precision_recall_f1(MATRIX, "micro"), [12 / 20] * 3, "the micro average", hint)


@pytest.mark.stage(1)
def test_accuracy_is_the_share_of_the_diagonal():
    """12 of 20. The mean of the classes' recalls is balanced accuracy, another metric."""
    hint = "the diagonal's sum over the sum of all cells"
    found = torch.as_tensor(accuracy(MATRIX), dtype=torch.float64)
    expect_close(found, torch.tensor(12 / 20, dtype=torch.float64), what="the accuracy", hint=hint)


# Stage 2: absent classes, bad labels, label maps, batches


@pytest.mark.stage(2)
def test_the_matrix_has_room_for_classes_that_do_not_occur():
    """A validation batch seldom holds all classes. Matrices of other sizes cannot be added or compared."""
    hint = "C x C always: bincount needs minlength=C * C, and num_classes is not the number of labels seen"
    expect_matrix([1, 1], [1, 0], 4, [[0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], hint)


@pytest.mark.stage(2)
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
    hint = "0 / 0 is 0 here, not NaN and not 1; the macro mean divides by all C classes, absent ones included"
    expect_scores(precision_recall_f1(matrix, average), expected, f"{average!r} with absent classes", hint)


@pytest.mark.stage(2)
def test_a_single_sample_is_judged_without_smoothing():
    """One sample, and it is right: whatever keeps a denominator from being 0 must not reach a denominator of 1."""
    matrix = confusion_matrix(torch.tensor([1]), torch.tensor([1]), 2)
    hint = "only 0 / 0 is special: add nothing to the other denominators"
    exact = {"hint": hint, "within": 1e-12}  # a share of 1 / 1 is 1 in any precision, and 1e-8 more below it shows
    expect_scores(precision_recall_f1(matrix, "none"), [[0.0, 1.0]] * 3, "each class after one right sample", **exact)
    expect_scores(precision_recall_f1(matrix, "weighted"), [1.0] * 3, "'weighted' after one right sample", **exact)
    expect_equal(float(accuracy(matrix)), 1.0, what="the accuracy of one right sample", hint=hint)


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
@pytest.mark.parametrize(("target", "prediction"), [(-1, 1), (1, -1), (3, 1), (1, 3), (-100, 1), (255, 1)])
def test_a_label_outside_the_classes_is_an_error(target, prediction):
    """As an index -1 means the last class; in `t * C + p` a prediction of C falls into the next row. Both are silent. What
    is to be ignored (-100, 255) the caller leaves out, and knows then how much that was."""
    what = f"confusion_matrix of target {target} and prediction {prediction} with 3 classes"
    with expect_raises(ValueError, what=what, hint="check both, against 0 and against C: no mask"):
        confusion_matrix(torch.tensor([0, target]), torch.tensor([0, prediction]), 3)


@pytest.mark.stage(2)
@pytest.mark.parametrize("shape", [(3, 1), (2,), (1,), (1, 3)], ids=str)
def test_targets_and_predictions_of_different_shapes_are_an_error(shape):
    """[3, 1] against [3] broadcasts to nine pairs: a forgotten squeeze gives a matrix of 9 samples from 3."""
    what = f"confusion_matrix of shapes [3] and {list(shape)}"
    with expect_raises(ValueError, what=what, hint="compare the shapes before anything can broadcast"):
        confusion_matrix(torch.tensor([0, 1, 1]), torch.ones(shape, dtype=torch.int64), 2)


@pytest.mark.stage(2)
@pytest.mark.parametrize("average", ["samples", "Macro", "", None])
def test_an_unknown_average_is_an_error(average):
    """A misspelt average that falls through to a default is reported under the wrong name."""
    hint = "compare with the four names before anything else"
    with expect_raises(ValueError, what=f"precision_recall_f1(average={average!r})", hint=hint):
        precision_recall_f1(MATRIX, average)


@pytest.mark.stage(2)
@pytest.mark.parametrize("shape", [(), (2, 3), (2, 3, 4)], ids=str)
def test_labels_may_have_any_shape(rng, shape):
    """Segmentation has one label per pixel; the matrix counts pixels."""
    targets, predictions = randint(rng, 0, 3, *shape), randint(rng, 0, 3, *shape)
    flat = confusion_matrix(targets.reshape(-1), predictions.reshape(-1), 3)
    found = confusion_matrix(targets, predictions, 3)
    expect_equal(found, flat, what=f"the matrix of labels of shape {list(shape)}", hint="flatten both")


@pytest.mark.stage(2)
def test_matrices_of_batches_add_up(rng):
    """This is why one keeps the matrix and not the F1: counts add over batches and workers, ratios do not."""
    targets, predictions = randint(rng, 0, 5, 90), randint(rng, 0, 5, 90)
    parts = [confusion_matrix(t, p, 5) for t, p in zip(targets.split(40), predictions.split(40), strict=True)]
    expect_equal(sum(parts), confusion_matrix(targets, predictions, 5), what="the sum of three batches' matrices")


@pytest.mark.stage(2)
@pytest.mark.parametrize("average", ["none", "macro"])
def test_transposing_the_matrix_swaps_precision_and_recall(rng, average):
    """What is a false positive of one class is a false negative of another; F1 cannot tell them apart."""
    matrix = randint(rng, 0, 9, 5, 5)
    precision, recall, f1 = precision_recall_f1(matrix, average)
    swapped = precision_recall_f1(matrix.T, average)
    expect_scores(swapped, (recall, precision, f1), f"the transposed matrix, {average!r},")


# Stage 3: narrow integers, large counts, types


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32], ids=str)
def test_labels_of_any_integer_dtype_are_counted(rng, dtype):
    """Label maps come as uint8: there 13 * 20 overflows, and as an index uint8 is an (old) mask, not a position."""
    targets, predictions = randint(rng, 0, 20, 200), randint(rng, 0, 20, 200)
    want = confusion_matrix(targets, predictions, 20)
    hint = "convert the labels to int64 before any arithmetic or indexing"
    for first, second in ((targets.to(dtype), predictions.to(dtype)), (targets.to(dtype), predictions)):
        found = confusion_matrix(first, second, 20)
        expect_equal(found, want, what=f"the matrix of {first.dtype} and {second.dtype} labels", hint=hint)


@pytest.mark.stage(3)
def test_more_classes_than_a_label_dtype_can_hold(rng):
    """300 classes, of which only a few occur: 300 itself does not fit into uint8, not even for the range check."""
    labels = randint(rng, 0, 200, 50)
    found = confusion_matrix(labels.to(torch.uint8), labels.to(torch.uint8), 300)
    expect_equal(
        found.diagonal(), labels.bincount(minlength=300), what="the diagonal with 300 classes and uint8 labels"
    )


@pytest.mark.stage(3)
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


@pytest.mark.stage(3)
@pytest.mark.parametrize("average", AVERAGES)
def test_averages_are_python_floats_and_scores_per_class_are_tensors(average):
    """Floats go into logs and JSON; a tensor there keeps device memory alive and prints badly."""
    kind = torch.Tensor if average == "none" else float
    for name, score in zip(("precision", "recall", "F1"), precision_recall_f1(MATRIX, average), strict=True):
        found = f"{name} with average={average!r} should be a {kind.__name__}, but is a {type(score).__name__}"
        expect(isinstance(score, kind), found, hint=".item() on averages")
    found = type(accuracy(MATRIX)).__name__
    expect(isinstance(accuracy(MATRIX), float), f"the accuracy should be a float, but is a {found}")


@pytest.mark.stage(3)
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


# Stage 4: cost


@pytest.mark.stage(4)
def test_the_matrix_takes_one_pass_over_the_labels(rng, cost):
    """A one-hot product moves samples x classes numbers, a loop over samples or classes starts an operator for each.
    A range check, one multiplication and a bincount move about 6 times the labels; the limit is 25."""
    classes, targets = 200, randint(rng, 0, 200, 20_000)
    predictions = (targets + randint(rng, 0, 2, 20_000)) % classes
    with cost() as spent:
        matrix = confusion_matrix(targets, predictions, classes)
    expect_equal(int(matrix.sum()), 20_000, what="the number of samples counted")
    hint = "number the cells, row * C + column, and count the numbers: no loop, no [samples, classes] tensor"
    times = (spent.bytes - 8 * matrix.nbytes) / (targets.nbytes + predictions.nbytes)
    found = f"the labels' bytes should be moved at most 25 times, but were moved {times:.0f} times"
    expect(times <= 25, found, hint=hint)
    expect(spent.operators <= 50, f"at most 50 operators should run, but {spent.operators} did", hint=hint)


# Stage 2 again, last because it imports scikit-learn


@pytest.mark.stage(2)
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
