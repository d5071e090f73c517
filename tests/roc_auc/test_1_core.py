"""Stage 1. Scores that all differ."""

import numpy as np
import pytest
import torch

from dojo.testing import expect_equal, expect_own_work
from katas import roc_auc as kata
from katas.roc_auc import average_precision, roc_auc, roc_curve

from .helpers import (
    AP_HINT,
    AUC_HINT,
    CURVE_HINT,
    SCORES,
    TARGETS,
    expect_curve,
    expect_number,
    expect_same,
    points,
    ranked,
)
from .probe import FORBIDDEN

WORKED = f"targets {TARGETS.tolist()} and scores {SCORES.tolist()}"


def test_a_worked_curve():
    """Sorted from high to low the targets are 0 1 1 0 0 1 0: up by 1/3 at a positive, to the right by 1/4 at a negative."""
    fpr, tpr = [0, 1 / 4, 1 / 4, 1 / 4, 2 / 4, 3 / 4, 3 / 4, 1], [0, 0, 1 / 3, 2 / 3, 2 / 3, 2 / 3, 1, 1]
    thresholds = [np.inf, *sorted(SCORES.tolist(), reverse=True)]
    expect_curve(roc_curve(TARGETS, SCORES), fpr, tpr, thresholds, f"the curve of {WORKED}")


def test_a_point_counts_the_scores_at_or_above_its_threshold(rng):
    """A threshold is a decision: of the 6 positives and 9 negatives, those with score >= threshold are alarms."""
    targets, scores, _ = ranked(rng, 6, 9)
    curve = points(roc_curve(targets, scores), "the curve of 15 samples")
    expect_equal(len(curve[2]), 16, what="the number of points for 15 distinct scores", hint="(0, 0) comes on top")
    cuts = curve[2].numpy()
    rates = [[float((scores[targets == kind] >= cut).mean()) for cut in cuts] for kind in (0, 1)]
    hint = "the threshold of a point is the score of the last sample that is counted in it: >=, not >"
    expect_curve(curve, *rates, [np.inf, *sorted(scores.tolist(), reverse=True)], "the curve of 15 samples", hint)


@pytest.mark.parametrize(("positives", "negatives"), [(1, 1), (4, 7), (9, 2)])
def test_the_curve_runs_from_no_alarm_to_all_alarms(rng, positives, negatives):
    """Above the highest score nothing is positive, which is (0, 0) at inf; at the lowest everything is: (1, 1)."""
    fpr, tpr, cuts = points(roc_curve(*ranked(rng, positives, negatives)[:2]), "the curve")
    what = f"point of the curve of {positives} positives and {negatives} negatives"
    for name, place, point in (("first", 0, [0.0, 0.0]), ("last", -1, [1.0, 1.0])):
        expect_equal(
            [fpr[place].item(), tpr[place].item()], point, what=f"(FPR, TPR) of the {name} {what}", hint=CURVE_HINT
        )
    expect_equal(cuts[0].item(), np.inf, what="the first threshold", hint="no score is above inf: not max + 1")


def test_a_worked_area():
    """Of the 3 * 4 pairs of a positive and a negative, 3 + 3 + 1 are in order."""
    expect_number(roc_auc(TARGETS, SCORES), 7 / 12, f"the AUC of {WORKED}", AUC_HINT)


@pytest.mark.parametrize(("positives", "negatives"), [(1, 1), (2, 5), (6, 3)])
def test_a_perfect_ranking_has_area_one_and_the_worst_has_zero(positives, negatives):
    """One half is a guess. Zero is a perfect model with a sign error, and AUC has to say so."""
    targets = np.array([0] * negatives + [1] * positives)
    scores = np.arange(len(targets)) - 3.0
    what = f"the AUC of {positives} positives"
    expect_number(roc_auc(targets, scores), 1, f"{what} above {negatives} negatives", "a higher score is more positive")
    expect_number(roc_auc(targets, -scores), 0, f"{what} below {negatives} negatives", "AUC may be below 1/2")


@pytest.mark.parametrize(("positives", "negatives"), [(5, 8), (9, 4), (1, 6), (7, 1)])
def test_the_area_is_the_share_of_pairs_in_order(rng, positives, negatives):
    """How likely a random positive is to score above a random negative. Counted from the positives' ranks: below the one of
    rank r, which is the k-th positive, stand n - r samples, of which P - k are positives."""
    targets, scores, ranks = ranked(rng, positives, negatives)
    k = torch.arange(1, positives + 1)
    in_order = ((positives + negatives - ranks) - (positives - k)).sum().item()
    what = f"the AUC of {positives} positives and {negatives} negatives, {in_order:.0f} of whose pairs are in order,"
    expect_number(roc_auc(targets, scores), in_order / (positives * negatives), what, AUC_HINT)


def test_turned_scores_and_turned_targets_turn_the_area(rng):
    """Each pair that was in order is not any more."""
    targets, scores, _ = ranked(rng, 5, 8)
    area = float(roc_auc(targets, scores))
    expect_number(
        roc_auc(targets, -scores), 1 - area, f"the AUC of -scores, where that of the scores is {area:.6g},", AUC_HINT
    )
    expect_number(
        roc_auc(1 - targets, scores), 1 - area, f"the AUC of 1 - targets, where that of the targets is {area:.6g},"
    )


def test_a_worked_average_precision():
    """Recall rises at the second, third and sixth sample, by 1/3 each. There the precision is 1/2, 2/3 and 3/6."""
    expect_number(average_precision(TARGETS, SCORES), (1 / 2 + 2 / 3 + 3 / 6) / 3, f"AP of {WORKED}", AP_HINT)


@pytest.mark.parametrize(("positives", "negatives"), [(1, 1), (2, 5), (6, 3)])
def test_average_precision_of_the_best_and_of_the_worst_ranking(positives, negatives):
    """The best is 1; below all negatives the k-th positive has a precision of k / (negatives + k)."""
    targets = np.array([0] * negatives + [1] * positives)
    scores = np.arange(len(targets)) - 3.0
    what = f"AP of {positives} positives"
    expect_number(average_precision(targets, scores), 1, f"{what} above {negatives} negatives", AP_HINT)
    worst = sum(k / (negatives + k) for k in range(1, positives + 1)) / positives
    expect_number(average_precision(targets, -scores), worst, f"{what} below {negatives} negatives", AP_HINT)


@pytest.mark.parametrize(("positives", "negatives"), [(5, 8), (9, 4), (1, 6), (7, 1)])
def test_average_precision_is_the_mean_of_the_precisions_at_the_positives(rng, positives, negatives):
    """With distinct scores. The k-th positive, of rank r, has k positives among r samples."""
    targets, scores, ranks = ranked(rng, positives, negatives)
    want = (torch.arange(1, positives + 1) / ranks).mean().item()
    what = f"AP of {positives} positives of ranks {ranks.int().tolist()} among {positives + negatives} samples"
    expect_number(average_precision(targets, scores), want, what, AP_HINT)


def test_negatives_below_every_positive_leave_average_precision_alone(rng):
    """Recall does not rise there. AUC rises, because every new pair is in order: why AP is preferred for rare positives."""
    targets, scores, _ = ranked(rng, 4, 6)
    more = np.append(targets, [0] * 5), np.append(scores, scores.min() - 1 - np.arange(5))
    want = float(average_precision(targets, scores))
    expect_number(average_precision(*more), want, "AP with 5 more negatives below all samples", AP_HINT)
    area = float(roc_auc(targets, scores))
    expect_number(roc_auc(*more), (24 * area + 20) / 44, "the AUC with 5 more negatives below all samples", AUC_HINT)


def test_the_order_of_the_samples_does_not_matter(rng):
    """The worked example, in which no two scores are equal, in ten orders."""
    for _ in range(10):
        order = torch.randperm(7, generator=rng).numpy()
        given = TARGETS[order], SCORES[order]
        expect_same(
            (TARGETS, SCORES), given, f"of targets {given[0].tolist()}, scores {given[1].tolist()}", "sort the scores"
        )


@pytest.mark.parametrize("name", ["3 s + 7", "s - 9", "exp(s)", "s^3"])
def test_only_the_order_of_the_scores_matters(rng, name):
    """Strictly increasing maps change thresholds and nothing else: scores are no probabilities, and 0.5 is no threshold."""
    maps = {"3 s + 7": lambda s: 3 * s + 7, "s - 9": lambda s: s - 9, "exp(s)": np.exp, "s^3": lambda s: s**3}
    targets, scores, _ = ranked(rng, 5, 8)
    hint = "compare scores with each other only: no threshold of 0.5, no sigmoid, no clipping to [0, 1]"
    expect_same((targets, scores), (targets, maps[name](scores)), f"of the scores {name}", hint, thresholds=False)


def test_samples_of_a_ranking_may_be_few():
    """One positive and one negative: one step up and one to the right, or the other way round."""
    targets = np.array([1, 0])
    expect_curve(
        roc_curve(targets, np.array([2.0, 1.0])), [0, 0, 1], [0, 1, 1], [np.inf, 2, 1], "the curve of scores 2, 1"
    )
    expect_curve(
        roc_curve(targets, np.array([1.0, 2.0])), [0, 1, 1], [0, 0, 1], [np.inf, 2, 1], "the curve of scores 1, 2"
    )


def test_the_work_is_your_own():
    """scipy.stats ranks with ties, and has the Mann-Whitney statistic, which is the AUC times P N."""
    roc_auc(TARGETS, SCORES)
    expect_own_work(kata, FORBIDDEN)
