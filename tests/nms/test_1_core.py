"""Stage 1. The IoU of a pair and of all pairs, suppression, classes."""

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, expect_own_work, numbers, randint
from katas import nms as kata
from katas.nms import box_iou, nms

from .helpers import APART, WALK, boxes, distinct, expect_kept, kept_by, of_classes, rough, squares, whole
from .probe import FORBIDDEN

PAIRS = [
    ((0, 0, 10, 10), (1, 1, 11, 11), 81 / 119),
    ((0, 0, 4, 2), (2, 1, 6, 5), 2 / 22),
    ((0, 2, 6, 4), (2, 0, 4, 6), 4 / 20),
    ((1, 1, 2, 8), (1, 3, 6, 5), 2 / 15),
    ((-5, -6, -1, -2), (-3, -9, 0, -4), 4 / 27),
]
ACROSS = "a[:, None] against b[None, :]: rows are boxes of a, columns boxes of b"
WITHIN = "a box is dropped only by a better one of its own class"


def test_the_answer_is_your_own():
    """torchvision.ops has box_iou, nms and batched_nms. Here they are the question."""
    expect_own_work(kata, FORBIDDEN)
    box_iou(boxes((0, 0, 1, 1)), boxes((0, 0, 1, 1)))


@pytest.mark.parametrize(("a", "b", "want"), PAIRS, ids=str)
def test_a_worked_pair(a, b, want):
    """The shared rectangle's area over the area that the two cover together."""
    got = box_iou(boxes(a), boxes(b))
    what = f"the IoU of {a} and {b}"
    hint = "larger of the lefts, smaller of the rights; widths are x2 - x1, with no + 1; I / (A + B - I)"
    expect_close(got, torch.tensor([[want]]), what=what, hint=hint)


@pytest.mark.parametrize(
    "b", [(7, 1, 9, 3), (1, 7, 3, 9), (7, 8, 9, 11), (-9, -8, -4, -2), (8, -7, 9, -5)], ids=["x", "y", "+", "-", "+-"]
)
def test_boxes_that_are_apart_share_nothing(b):
    """Apart along one axis: one negative side. Apart along both: two, whose product is positive."""
    got = box_iou(boxes((0, 0, 4, 4)), boxes(b))
    expect_close(got, torch.zeros(1, 1), what=f"the IoU of (0, 0, 4, 4) and {b}", hint=APART)


def test_iou_counts_unit_squares(rng):
    """Of boxes with whole corners: the squares that lie in both, over those that lie in either."""
    a, b = whole(rng, 5), whole(rng, 7)
    inside_a, inside_b = squares(a)[:, None], squares(b)
    both, either = (inside.sum((2, 3)) for inside in (inside_a & inside_b, inside_a | inside_b))
    expect_close(box_iou(a, b), both / either, what="the IoU of 5 boxes with 7", hint=ACROSS)


@pytest.mark.parametrize(("n", "m"), [(3, 3), (4, 4), (2, 5), (4, 1), (1, 4)])
def test_rows_are_a_and_columns_are_b(rng, n, m):
    """Each number is that of its pair alone, for as many boxes in a as in b too."""
    a, b = whole(rng, n), whole(rng, m)
    pairs = [torch.cat([box_iou(a[i : i + 1], b[j : j + 1]) for j in range(m)], 1) for i in range(n)]
    what = f"the IoU of {n} boxes with {m}, against each pair alone"
    expect_close(box_iou(a, b), torch.cat(pairs), what=what, hint=ACROSS)


def test_a_box_is_one_with_itself(rng):
    """And no other is more like it."""
    a = whole(rng, 6)
    got = box_iou(a, a)
    expect_close(got.diagonal(), torch.ones(6), what="the IoU of boxes with themselves", hint="I / (A + B - I)")
    expect_close(got, got.T, what="the IoU of boxes with each other, against its transpose", hint=ACROSS)


def test_moving_and_stretching_both_changes_nothing(rng):
    """Only how two boxes lie to each other counts. Factors are powers of two, different along x and y."""
    a, b = whole(rng, 5), whole(rng, 4)
    want = box_iou(a, b)
    for shift, scale in (((-30, 7), (1, 1)), ((0, 0), (4, 0.5)), ((-6, -40), (0.25, 8))):
        move = lambda each: (each + numbers(*shift, *shift).float()) * numbers(*scale, *scale).float()  # noqa: B023, E731
        what = f"the IoU after a move by {shift} and a stretch by {scale}, against before"
        expect_close(box_iou(move(a), move(b)), want, what=what, hint="only differences of coordinates count")


THREE = boxes((0, 0, 10, 10), (0, 1, 10, 11), (20, 0, 30, 10))  # 0 and 1 have IoU 9/11, 2 is apart


@pytest.mark.parametrize(
    ("scores", "want"),
    [([0.9, 0.8, 0.7], [0, 2]), ([0.8, 0.9, 0.7], [1, 2]), ([0.7, 0.8, 0.9], [2, 1]), ([0.8, 0.7, 0.9], [2, 0])],
    ids=str,
)
def test_the_best_of_two_that_overlap_is_kept(scores, want):
    """Two boxes on one object and one on another, in whatever order. The result lists indices, the best score first."""
    expect_kept(nms(THREE, numbers(*scores), 0.5), want, what=f"nms of three boxes with the scores {scores}")


def test_the_threshold_decides():
    """9/11 is 0.818."""
    for threshold, want in ((0.3, [1, 2]), (0.8, [1, 2]), (0.85, [1, 0, 2]), (0.95, [1, 0, 2])):
        got = nms(THREE, numbers(0.8, 0.9, 0.7), threshold)
        expect_kept(got, want, what=f"nms of boxes with IoU 0.818 at the threshold {threshold}")


def test_a_dropped_box_drops_nothing():
    """A row of four, each overlapping the next by 0.6 and the one after that by 1/3. The first drops the second, so that
    nothing is left to drop the third."""
    row = boxes(*((x, 0, x + 8, 5) for x in (0, 2, 4, 6)))
    hint = "compare with the boxes that are kept, not with all better ones"
    for scores, want in (
        ([0.9, 0.8, 0.7, 0.6], [0, 2]),
        ([0.6, 0.8, 0.9, 0.7], [2, 0]),
        ([0.6, 0.7, 0.8, 0.9], [3, 1]),
    ):
        expect_kept(nms(row, numbers(*scores), 0.5), want, what=f"nms of a row with the scores {scores}", hint=hint)


@pytest.mark.parametrize("threshold", [0.15, 0.45, 0.7])
def test_what_is_kept_and_what_is_dropped(rng, threshold):
    """Three properties that only one list has: scores descend, no two kept boxes overlap too much, and each dropped one
    overlaps a kept one of a higher score too much."""
    given, scores = rough(rng, 40, spread=2.0), distinct(rng, 40)
    kept = kept_by(given, scores, threshold, what=f"nms of 40 boxes at {threshold}")
    expect_equal(len(set(kept)), len(kept), what="the number of different indices that nms returns", hint=WALK)
    order = scores[kept].tolist()
    expect_equal(order, sorted(order, reverse=True), what="the scores of the kept boxes", hint="the best comes first")
    overlap = box_iou(given, given)
    for i in range(40):
        better = [j for j in kept if j != i and scores[j] > scores[i]]
        dropped_by = [j for j in better if overlap[i, j] > threshold]
        if i in kept:
            sentence = f"box {i} should be dropped, because of box {dropped_by}, but is kept"
            expect(not dropped_by, sentence, hint=WALK)
        else:
            sentence = f"box {i} should be kept: no better box that is kept has an IoU with it above {threshold}"
            expect(dropped_by, sentence, hint=WALK)


def test_scores_are_only_compared(rng):
    """Probabilities, logits or ranks: what has the same order has the same result. Logits are often negative."""
    given, scores = rough(rng, 15), distinct(rng, 15)
    want = kept_by(given, scores, 0.4)
    for name, other in (("logarithms", scores.log()), ("hundreds", 9000 * scores - 100), ("minus 3", scores - 3)):
        got = nms(given, other, 0.4)
        hint = "a score says who comes first, nothing else: 0 is no floor, and -1 no mark"
        expect_kept(got, want, what=f"nms with {name} of the scores", hint=hint)


def test_classes_do_not_drop_each_other():
    """A rider and a horse in one place are both there. Of two horses the better is kept."""
    for classes, want in (
        ([0, 0, 0], [1, 2]),
        ([0, 1, 0], [1, 0, 2]),
        ([0, 1, 1], [1, 0, 2]),
        ([1, 1, 0], [1, 2]),
        ([5, 3, 5], [1, 0, 2]),
    ):
        got = of_classes(THREE, [0.8, 0.9, 0.7], classes, 0.5)
        expect_kept(got, want, what=f"batched_nms of three boxes with the classes {classes}", hint=WITHIN)


def test_classes_are_joined_by_score():
    """The best box of all comes first, of whatever class."""
    apart = boxes(*((20 * i, 0, 20 * i + 9, 9) for i in range(5)))
    got = of_classes(apart, [0.3, 0.9, 0.5, 0.7, 0.1], [1, 0, 1, 1, 0], 0.5)
    hint = "sort what is kept of all classes once more, by score"
    expect_kept(got, [1, 3, 2, 0, 4], what="batched_nms of boxes that are apart", hint=hint)


def test_each_class_is_a_call_of_its_own(rng):
    """30 boxes in 3 classes: what is kept of each is what nms keeps of it alone."""
    given, scores, classes = rough(rng, 30, spread=1.5), distinct(rng, 30), randint(rng, 0, 3, 30)
    got = of_classes(given, scores, classes, 0.4)
    want = []
    for label in range(3):
        members = (classes == label).nonzero()[:, 0]
        want += members[kept_by(given[members], scores[members], 0.4)].tolist()
    want.sort(key=lambda i: -scores[i].item())
    expect_kept(got, want, what="batched_nms of 30 boxes in 3 classes", hint=WITHIN)
