"""Stage 3. Every dtype, huge and tiny scores, infinite ones, many samples."""

import numpy as np
import pytest
import torch

from dojo.testing import called_for, expect, expect_unchanged, randint
from katas.roc_auc import average_precision, roc_auc, roc_curve

from .helpers import expect_curve, expect_number, expect_same, points

SIGNED, UNSIGNED = ["int8", "int16", "int32", "int64"], ["uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "float32", "float64"]
AS_THEY_ARE = "compare scores in their own dtype, with != and argsort(scores)[::-1]: no arithmetic on scores"
MANY = "count in integers: the sum of float16 ones stops at 2048, that of float32 ones at 2**24"


def samples(rng, n, high):
    """Targets, and scores in [0, high) with some ties."""
    targets = torch.cat([torch.ones(2), torch.zeros(2), randint(rng, 0, 2, n - 4)]).numpy().astype(np.int64)
    return targets, randint(rng, 0, high, n).numpy()


@pytest.mark.parametrize("dtype", SIGNED + UNSIGNED + FLOATS)
def test_scores_of_every_dtype(rng, dtype):
    """30 samples with scores from 0 to 19, against float64."""
    targets, scores = samples(rng, 30, 20)
    with called_for(f"scores of dtype {dtype}", hint=AS_THEY_ARE):
        given = targets, scores.astype(np.float64)
        expect_same(given, (targets, scores.astype(dtype)), f"of {dtype} scores, against float64,", AS_THEY_ARE)


@pytest.mark.parametrize("dtype", UNSIGNED)
def test_zero_is_the_lowest_unsigned_score(dtype):
    """-0 is 0 in unsigned arithmetic, but -1 is the largest number: argsort(-scores) puts 0 on top."""
    targets, scores = np.array([0, 1, 1]), np.array([0, 1, 2], dtype=dtype)
    expect_number(roc_auc(targets, scores), 1, f"the AUC of {dtype} scores 0, 1, 2 with targets 0, 1, 1", AS_THEY_ARE)
    expect_number(average_precision(targets, scores), 1, f"AP of {dtype} scores 0, 1, 2", AS_THEY_ARE)
    expect_curve(
        roc_curve(targets, scores),
        [0, 0, 0, 1],
        [0, 0.5, 1, 1],
        [np.inf, 2, 1, 0],
        f"the curve of {dtype}",
        AS_THEY_ARE,
    )


@pytest.mark.parametrize("dtype", SIGNED)
def test_the_lowest_signed_score_is_the_lowest(dtype):
    """-(-128) is -128 again in int8."""
    targets, scores = np.array([0, 1, 1]), np.array([np.iinfo(dtype).min, 0, 5], dtype=dtype)
    expect_number(roc_auc(targets, scores), 1, f"the AUC of {dtype} scores {scores.tolist()}", AS_THEY_ARE)
    expect_number(average_precision(targets, scores), 1, f"AP of {dtype} scores {scores.tolist()}", AS_THEY_ARE)
    cuts = [np.inf, *sorted(scores.tolist(), reverse=True)]
    expect_curve(roc_curve(targets, scores), [0, 0, 0, 1], [0, 0.5, 1, 1], cuts, f"the curve of {dtype}", AS_THEY_ARE)


@pytest.mark.parametrize(
    ("dtype", "low"), [("int64", 2**53), ("uint64", 2**53), ("uint64", 2**64 - 2), ("int64", -(2**63))], ids=str
)
def test_integers_that_float64_cannot_tell_apart_differ(dtype, low):
    """Ids and hashes are scores sometimes: 2**53 and 2**53 + 1 are one float64. A threshold may be rounded, not a
    comparison."""
    targets, scores = np.array([0, 1]), np.array([low, low + 1], dtype=dtype)
    what = f"of {dtype} scores {low} and {low + 1}, targets 0 and 1,"
    expect_number(roc_auc(targets, scores), 1, f"the AUC {what}", AS_THEY_ARE)
    expect_number(average_precision(targets, scores), 1, f"AP {what}", AS_THEY_ARE)
    cuts = [np.inf, float(low + 1), float(low)]
    expect_curve(roc_curve(targets, scores), [0, 0, 1], [0, 1, 1], cuts, f"the curve {what}", AS_THEY_ARE)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("size", ["tiny", "one", "huge"])
def test_scores_that_differ_in_the_last_bit_differ(dtype, size):
    """A difference below 1e-8 is no tie, neither near 1, nor between the smallest numbers, nor between the largest."""
    limits, low = np.finfo(dtype), {"tiny": 0.0, "one": 1.0}
    start = np.array(low.get(size, limits.max), dtype=dtype)
    toward = np.array(0.0 if size == "huge" else 2.0, dtype=dtype)
    pair = sorted([start, np.nextafter(start, toward)])
    targets, scores = np.array([1, 0, 1, 0]), np.array([pair[1], pair[0], pair[1], pair[0]], dtype=dtype)
    what = f"of {dtype} scores {pair[1]!r} (positives) and {pair[0]!r} (negatives)"
    hint = "ties are equal scores, exactly: no isclose, no rounding, no narrower dtype, no sigmoid"
    expect_number(roc_auc(targets, scores), 1, f"the AUC {what}", hint)
    expect_number(average_precision(targets, scores), 1, f"AP {what}", hint)
    expect_curve(
        roc_curve(targets, scores), [0, 0, 1], [0, 1, 1], [np.inf, *map(float, pair[::-1])], f"the curve {what}", hint
    )


@pytest.mark.parametrize("shift", [100.0, -100.0, 1e6])
def test_logits_are_not_squashed(shift):
    """A sigmoid gives 1 for 37 and everything above: logits from 100 to 105 would all be one score."""
    targets, scores = np.array([0, 0, 1, 0, 1, 1]), shift + np.arange(6.0)
    what = f"of scores from {shift:g} to {shift + 5:g}"
    hint = "scores are no probabilities: no sigmoid, no clipping"
    expect_number(roc_auc(targets, scores), 8 / 9, f"the AUC {what}", hint)
    expect_number(average_precision(targets, scores), (1 + 1 + 3 / 4) / 3, f"AP {what}", hint)


def test_infinite_scores_are_scores():
    """Twice inf and twice -inf, which are ties: inf - inf is NaN, so that a difference takes them for distinct."""
    inf = np.inf
    hint = "compare neighbours with !=, not by their difference; the curve begins at (0, 0) also where a score is inf"
    for order in ([0, 1, 2, 3, 4, 5], [1, 5, 0, 4, 3, 2]):
        targets, scores = np.array([1, 0, 1, 0, 1, 0])[order], np.array([inf, inf, 1, 0, -inf, -inf])[order]
        what = f"of targets {targets.tolist()} with scores {scores.tolist()}"
        fpr, tpr = [0, 1 / 3, 1 / 3, 2 / 3, 1], [0, 1 / 3, 2 / 3, 2 / 3, 1]
        expect_number(roc_auc(targets, scores), (1 / 2 + 2 + 2 + 1 / 2 + 0) / 9, f"the AUC {what}", hint)
        expect_number(average_precision(targets, scores), (1 / 2 + 2 / 3 + 3 / 6) / 3, f"AP {what}", hint)
        expect_curve(roc_curve(targets, scores), fpr, tpr, [inf, inf, 1, 0, -inf], f"the curve {what}", hint)


@pytest.mark.parametrize("dtype", ["bool", *SIGNED, "uint8", "uint64", *FLOATS])
def test_targets_of_every_dtype(rng, dtype):
    """2600 samples, of which about 2300 are positive: more than int8 holds, and than float16 can count."""
    targets, scores = (randint(rng, 0, 9, 2600) > 0).long().numpy(), randint(rng, 0, 60, 2600).numpy() / 8
    with called_for(f"targets of dtype {dtype}", hint=MANY):
        given = targets, scores
        expect_same(given, (targets.astype(dtype), scores), f"of {dtype} targets, against int64,", MANY)


def test_many_samples_are_counted_exactly():
    """20 000 samples of three scores. 12 digits of AUC and AP are asked for, of which float32 has seven."""
    counts = ((5000, 1), (1, 9999), (4999, 0))
    blocks = [np.repeat(np.array([1, 0], dtype=np.int8), block) for block in counts]
    scores = np.repeat(np.array([3, 2, 1], dtype=np.float32), [sum(block) for block in counts])
    given = np.concatenate(blocks)[::-1], scores[::-1]
    in_order = 5000 * (9999 + 1 / 2) + 9999 / 2
    what = "of blocks of 5000 + 1, 1 + 9999 and 4999 + 0 positives and negatives"
    expect_number(roc_auc(*given), in_order / 10_000**2, f"the AUC {what}", MANY)
    precisions = 5000**2 / 5001 + 5001 / 15_001 + 4999 / 2
    expect_number(average_precision(*given), precisions / 10_000, f"AP {what}", MANY)


def test_the_types_of_the_results():
    """A curve is of float64, whatever the inputs are, since inf must have a place in it. Numbers are Python floats."""
    for dtype in ("bool", "int64", "uint8", "float16", "float32"):
        given = np.array([1, 0, 1], dtype=dtype), np.array([0, 1, 1], dtype=dtype)
        for name, part in zip(("FPR", "TPR", "thresholds"), roc_curve(*given), strict=True):
            kind = getattr(part, "dtype", type(part).__name__)
            expect(kind == np.float64, f"{name} of {dtype} inputs should be a float64 array, but is {kind}")
        for function in (roc_auc, average_precision):
            kind = type(function(*given))
            sentence = f"{function.__name__} of {dtype} inputs should be a float, but is a {kind.__name__}"
            expect(issubclass(kind, float), sentence, hint="float(...) at the end")


def test_views_give_the_same_and_nothing_is_modified(rng):
    """Every second element backwards, and arrays that cannot be written."""
    targets, scores = samples(rng, 40, 25)
    views = np.repeat(targets, 2)[::-2], np.repeat(scores / 4, 2)[::-2]
    hint = "np.sort returns a copy; scores.sort() and in-place operators change the caller's array"
    tensors = [torch.from_numpy(np.ascontiguousarray(each)) for each in views]
    given = [tensor.numpy() for tensor in tensors]
    with expect_unchanged(*tensors, what="an argument", hint=hint):
        expect_same(views, given, "of contiguous arrays, against views,")
    for each in views:
        each.flags.writeable = False
    with called_for("arrays that are read-only", hint=hint):
        points(roc_curve(*views), "the curve")
        roc_auc(*views)
        average_precision(*views)
