"""The ROC curve, its area, and average precision.

A model scores samples, and a threshold turns scores into decisions. How good is the ranking, whatever the threshold?
Write the ROC curve, the area under it in O(n log n), and average precision. What is AUC as a probability, what do equal
scores do, and when is average precision the better number?

A sample is predicted positive at the threshold t if its score is >= t. Of P positives and N negatives, TP(t) and FP(t)
have such scores. With t_1 > t_2 > ... > t_m the *distinct* scores:

    TPR = TP / P, the recall        FPR = FP / N        precision = TP / (TP + FP)
    AUC = the area under the curve of TPR over FPR, with straight lines between its points
        = the share of all pairs of a positive and a negative in which the positive's score is higher;
          a pair of equal scores counts half
    AP  = the sum over k of (recall(t_k) - recall(t_{k-1})) precision(t_k), where recall(t_0) is 0

Equal scores are one threshold: no result depends on the order of the samples. AP adds up steps, as above: no trapezoids,
no interpolated precision, no fixed recall levels.

Arguments of all three functions: one-dimensional NumPy arrays of one length. Targets are 0 or 1, or False or True, in
any bool, integer or floating dtype. Scores are bool, integers (signed or not) or floats of at most 64 bits, higher means
more positive; they are no probabilities, and may be infinite. They are compared as they are: scores that differ in the
last bit are different, also integers beyond 2**53. No argument is modified; arrays may be read-only, or views.

Each function raises ValueError for arrays that are not one-dimensional or differ in length, for a target other than 0
and 1 (NaN as well), and for a score that is NaN.

Cost of each function: memory of at most 200 bytes a sample at the peak, and no Python loop over samples or thresholds:
at most 200 lines of your file are executed, where each round of a comprehension counts as a line.

Rules: NumPy, as you like it; neither scikit-learn nor scipy.stats.

Stage 1: scores that all differ.  Stage 2: equal scores, one class only, wrong arguments.  Stage 3: every dtype, huge and
tiny scores, infinite ones, many samples.  Stage 4: memory, and no loop.

Sources: Fawcett, "An introduction to ROC analysis" (2006), for the curve and for equal scores; Hanley and McNeil, "The
meaning and use of the area under a receiver operating characteristic (ROC) curve" (1982), for the probability.
"""

import numpy as np
from jaxtyping import Float, Int64, Shaped


# kata: begin
def _counts(
    targets: Shaped[np.ndarray, " n"], scores: Shaped[np.ndarray, " n"]
) -> tuple[Shaped[np.ndarray, " m"], Int64[np.ndarray, " m"], Int64[np.ndarray, " m"]]:
    """The distinct scores from high to low, and how many positives and how many negatives have at least that score."""
    if targets.ndim != 1 or targets.shape != scores.shape:
        raise ValueError(f"targets {targets.shape} and scores {scores.shape} must be vectors of one length")
    positive = targets == 1
    if not (positive | (targets == 0)).all() or not positive.any():
        raise ValueError("targets must be 0 or 1, and one of them 1")
    if np.isnan(scores).any():
        raise ValueError("a score is NaN")
    order = np.argsort(scores)[::-1]  # not argsort(-scores): unsigned integers wrap
    scores, positive = scores[order], positive[order]
    # A run of equal scores is one threshold: only its last sample counts. Infinities rule out a difference here.
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    tp = np.cumsum(positive)[last]
    return scores[last], tp, last + 1 - tp


# kata: end


def roc_curve(
    targets: Shaped[np.ndarray, " n"], scores: Shaped[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """(FPR, TPR, thresholds), a tuple of three float64 arrays of equal length.

    The first point is (0, 0), whose threshold is inf. Then follows one point for each distinct score, from high to low,
    also where it lies on a straight line with its neighbours; its threshold is that score (which float64 rounds if it is
    an integer beyond 2**53). So the last point is (1, 1).
    Raises ValueError, beside the errors above, if there is no positive or no negative: a rate would be 0 / 0.
    """
    # kata: begin
    thresholds, tp, fp = _counts(targets, scores)
    if not fp[-1]:
        raise ValueError("a negative is needed as well")
    fpr, tpr = np.append(0.0, fp / fp[-1]), np.append(0.0, tp / tp[-1])
    return fpr, tpr, np.append(np.inf, thresholds)
    # kata: end


def roc_auc(targets: Shaped[np.ndarray, " n"], scores: Shaped[np.ndarray, " n"]) -> float:
    """The area under the ROC curve, a Python float; within 1e-12.

    Raises ValueError, beside the errors above, if there is no positive or no negative: there is no pair.
    """
    # kata: begin
    fpr, tpr, _ = roc_curve(targets, scores)
    return float((np.diff(fpr) * (tpr[1:] + tpr[:-1])).sum()) / 2
    # kata: end


def average_precision(targets: Shaped[np.ndarray, " n"], scores: Shaped[np.ndarray, " n"]) -> float:
    """AP, a Python float; within 1e-12.

    Raises ValueError, beside the errors above, if there is no positive. No negative is needed: then AP is 1.
    """
    # kata: begin
    _, tp, fp = _counts(targets, scores)
    recall, precision = tp / tp[-1], tp / (tp + fp)
    return float((np.diff(recall, prepend=0.0) * precision).sum())
    # kata: end
