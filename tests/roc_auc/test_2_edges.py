"""Stage 2. Equal scores, one class only, wrong arguments."""

import numpy as np
import pytest
import torch

from dojo.testing import expect_raises, randint
from katas.roc_auc import average_precision, roc_auc, roc_curve

from .helpers import AP_HINT, AUC_HINT, blocks, expect_curve, expect_number, expect_same, ranked

ALL = [roc_curve, roc_auc, average_precision]
TIES = "keep only the last point of each run of equal scores: what comes before it depends on the order of the samples"
FIRST = pytest.mark.parametrize("first", [1, 0], ids=["positives first", "negatives first"])
FUNCTION = pytest.mark.parametrize("function", ALL, ids=lambda function: function.__name__)
TWO_CLASSES = pytest.mark.parametrize("function", [roc_curve, roc_auc], ids=lambda function: function.__name__)


@FIRST
def test_a_tied_pair_counts_half(first):
    """A positive and a negative of one score, and nothing else: no evidence either way."""
    given = blocks((1, 1), first=first)
    hint = f"{AUC_HINT}. {TIES}"
    expect_number(roc_auc(*given), 0.5, f"the AUC of targets {given[0].tolist()} with equal scores", hint)


@FIRST
def test_a_tie_among_others_counts_half(first):
    """Above stands a positive, below a negative: of 2 * 2 pairs, three are in order and one is tied."""
    given = blocks((1, 0), (1, 1), (0, 1), first=first)
    what = f"the AUC of targets {given[0].tolist()} with scores {given[1].tolist()}"
    expect_number(roc_auc(*given), 3.5 / 4, what, f"{AUC_HINT}. {TIES}")


@FIRST
def test_equal_scores_are_one_point(first):
    """Blocks of 1 + 1, 2 + 1 and 1 + 3 positives and negatives: three thresholds, and a slanted line for each."""
    given = blocks((1, 1), (2, 1), (1, 3), first=first)
    fpr, tpr = [0, 1 / 5, 2 / 5, 1], [0, 1 / 4, 3 / 4, 1]
    what = f"the curve of targets {given[0].tolist()} with scores {given[1].tolist()}"
    expect_curve(roc_curve(*given), fpr, tpr, [np.inf, 10, 9, 8], what, TIES)


@FIRST
def test_the_area_under_slanted_lines(first):
    """The same blocks: trapezoids of 1/5 * 1/8, 1/5 * 1/2 and 3/5 * 7/8."""
    given = blocks((1, 1), (2, 1), (1, 3), first=first)
    what = f"the AUC of targets {given[0].tolist()} with scores {given[1].tolist()}"
    expect_number(roc_auc(*given), 0.65, what, f"{AUC_HINT}. {TIES}")


@FIRST
def test_a_block_has_one_precision(first):
    """The same blocks: recall rises by 1/4, 2/4 and 1/4, at precisions of 1/2, 3/5 and 4/9, those at the end of a block."""
    given = blocks((1, 1), (2, 1), (1, 3), first=first)
    what = f"AP of targets {given[0].tolist()} with scores {given[1].tolist()}"
    expect_number(average_precision(*given), 1 / 8 + 3 / 10 + 1 / 9, what, f"{AP_HINT}. {TIES}")


@pytest.mark.parametrize(("positives", "negatives"), [(1, 1), (1, 4), (5, 2)])
@FIRST
def test_constant_scores_know_nothing(positives, negatives, first):
    """One threshold: the curve is the diagonal, AUC 1/2, and AP the share of positives."""
    given = blocks((positives, negatives), first=first)
    what = f"targets {given[0].tolist()} with constant scores"
    expect_curve(roc_curve(*given), [0, 1], [0, 1], [np.inf, 10], f"the curve of {what}", TIES)
    expect_number(roc_auc(*given), 0.5, f"the AUC of {what}", f"{AUC_HINT}. {TIES}")
    expect_number(average_precision(*given), positives / (positives + negatives), f"AP of {what}", f"{AP_HINT}. {TIES}")


def test_equal_scores_need_not_stand_together(rng):
    """20 samples of 4 scores, in ten orders: no result may change, whatever order the sort leaves equal scores in."""
    scores = randint(rng, 0, 4, 20).double().numpy()
    targets = np.array([1, 0, 0] * 6 + [1, 0])
    for _ in range(10):
        order = torch.randperm(20, generator=rng).numpy()
        expect_same((targets, scores), (targets[order], scores[order]), "of the same samples in another order", TIES)


def test_a_tie_is_the_mean_of_its_two_orders(rng):
    """Push the positives of equal scores up a little, then down a little: AUC lies in the middle."""
    scores, targets = randint(rng, 0, 5, 30).double().numpy(), np.array([1, 0, 0, 1, 0] * 6)
    up, down = (float(roc_auc(targets, scores + push * targets)) for push in (0.25, -0.25))
    what = f"the AUC, which is {up:.6g} with ties broken for the positives and {down:.6g} against them,"
    expect_number(roc_auc(targets, scores), (up + down) / 2, what, AUC_HINT)


def test_repeating_every_sample_changes_nothing(rng):
    """Shares stay shares. Every repetition is a tie."""
    targets, scores, _ = ranked(rng, 4, 7)
    expect_same((targets, scores), (np.tile(targets, 3), np.tile(scores, 3)), "of every sample three times", TIES)


def test_rarer_positives_lower_average_precision_and_not_the_area(rng):
    """Every negative five times: each precision falls, TP / (TP + 5 FP). A false positive *rate* stays what it was."""
    given = blocks((1, 1), (2, 1), (1, 3))
    often = blocks((1, 5), (2, 5), (1, 15))
    expect_number(roc_auc(*often), float(roc_auc(*given)), "the AUC with each negative five times", AUC_HINT)
    want = 1 / 4 * 1 / 6 + 2 / 4 * 3 / 13 + 1 / 4 * 4 / 29
    expect_number(average_precision(*often), want, "AP with each negative five times", AP_HINT)


def test_decisions_are_scores_with_one_threshold():
    """A classifier that says only yes (True) or no: 3 of 4 positives and 1 of 5 negatives. AUC is the mean of TPR and TNR."""
    targets, scores = np.array([1] * 4 + [0] * 5), np.array([1, 1, 1, 0, 1, 0, 0, 0, 0], dtype=bool)
    expect_curve(roc_curve(targets, scores), [0, 1 / 5, 1], [0, 3 / 4, 1], [np.inf, 1, 0], "the curve of bool scores")
    expect_number(roc_auc(targets, scores), (3 / 4 + 4 / 5) / 2, "the AUC of bool scores", AUC_HINT)
    expect_number(average_precision(targets, scores), 3 / 4 * 3 / 4 + 1 / 4 * 4 / 9, "AP of bool scores", AP_HINT)


def test_minus_zero_is_zero():
    """They compare equal, so they are one threshold."""
    given = np.array([1, 0, 1]), np.array([0.0, -0.0, -0.0])
    expect_number(roc_auc(*given), 0.5, "the AUC of scores 0.0, -0.0, -0.0", TIES)
    expect_number(average_precision(*given), 2 / 3, "AP of scores 0.0, -0.0, -0.0", TIES)


@pytest.mark.parametrize("scores", [[3.0], [2.0, 1.0, 1.0]], ids=str)
def test_without_negatives_average_precision_is_one(scores):
    """Whatever is retrieved is right."""
    targets = np.ones(len(scores), dtype=np.int64)
    expect_number(
        average_precision(targets, np.array(scores)), 1, f"AP of positives only, with scores {scores},", AP_HINT
    )


@TWO_CLASSES
@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("count", [1, 3])
def test_one_class_has_no_curve_and_no_area(function, target, count):
    """0 / 0 is neither 0 nor 1/2, and a NaN spreads through the mean over a thousand users."""
    with expect_raises(what=f"{function.__name__} of {count} samples of class {target}", hint="check P and N first"):
        function(np.full(count, target), np.arange(count) / 2)


@pytest.mark.parametrize("count", [1, 3])
def test_without_positives_there_is_no_average_precision(count):
    """Recall is 0 / 0."""
    with expect_raises(what=f"average_precision of {count} negatives", hint="check P first"):
        average_precision(np.zeros(count, dtype=np.int64), np.arange(count) / 2)


@FUNCTION
def test_no_samples_are_an_error(function):
    """Neither class is there."""
    with expect_raises(what=f"{function.__name__} of empty arrays", hint="no positive and no negative"):
        function(np.zeros(0, dtype=np.int64), np.zeros(0))


@FUNCTION
@pytest.mark.parametrize("place", [0, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_score_that_is_nan_is_an_error(function, place, dtype):
    """A sort puts NaN at one end, without a word, and NaN equals nothing: a diverged model would get an AUC."""
    scores = np.array([4, 3, 2, 1], dtype=dtype)
    scores[place] = np.nan
    with expect_raises(what=f"{function.__name__} of scores {scores.tolist()}", hint="np.isnan(scores).any()"):
        function(np.array([1, 0, 1, 0]), scores)


@FUNCTION
@pytest.mark.parametrize("other", [-1, 2, 0.5, np.nan, np.inf], ids=str)
def test_a_target_that_is_neither_0_nor_1_is_an_error(function, other):
    """-1 and 1, 1 and 2, probabilities: a sum of such targets is no number of positives."""
    targets = np.array([1, 0, other, 1, 0])
    with expect_raises(what=f"{function.__name__} of targets {targets.tolist()}", hint="each must be 0 or 1"):
        function(targets, np.array([5.0, 4.0, 3.0, 2.0, 1.0]))


@FUNCTION
@pytest.mark.parametrize("two", [(-1, 1), (1, 2), (3, 7)], ids=str)
def test_two_other_values_are_no_classes(function, two):
    """Which of them is the positive one? Two distinct values are not enough."""
    low, high = two
    with expect_raises(what=f"{function.__name__} of targets that are {low} or {high}", hint="each must be 0 or 1"):
        function(np.array([high, low, high, low]), np.array([4.0, 3.0, 2.0, 1.0]))


@FUNCTION
@pytest.mark.parametrize(
    "shapes", [(4, 3), (3, 4), (4, 1), ((4, 1), (4,)), ((4,), (4, 1)), ((2, 2), (2, 2)), ((), ())], ids=str
)
def test_other_shapes_are_errors(function, shapes):
    """[n, 1] against [n] broadcasts to n x n pairs, and a batch of users is no single ranking."""
    targets, scores = (np.arange(np.prod(shape, dtype=int)).reshape(shape) for shape in shapes)
    with expect_raises(what=f"{function.__name__} of shapes {shapes}", hint="one dimension each, of one length"):
        function(targets % 2, scores + 0.5)
