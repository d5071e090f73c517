"""Stage 2. Boxes that touch, nest or have no area, equal scores, no boxes, other classes, wrong arguments."""

import pytest
import torch

from dojo.testing import (
    called_for,
    expect_close,
    expect_equal,
    expect_raises,
    expect_unchanged,
    numbers,
    randint,
    randn,
)
from katas.nms import batched_nms, box_iou, nms

from .helpers import TIES, WALK, boxes, distinct, expect_kept, kept_by, of_classes, rough
from .probe import WRONG_BOXES, WRONG_CLASSES, WRONG_SCORES, WRONG_THRESHOLDS

EMPTY = "0 / 0 is NaN: where nothing is shared the IoU is 0"
STRICT = "drop where IoU > threshold: one that equals it is kept"
NOTHING, SOME = boxes(), boxes((0, 0, 4, 4), (1, 1, 5, 7), (2, 0, 3, 9))


@pytest.mark.parametrize("b", [(4, 1, 7, 3), (1, 4, 3, 9), (4, 4, 6, 6), (-3, 0, 0, 4), (-2, -5, 0, 0)], ids=str)
def test_boxes_that_touch_share_nothing(b):
    """A common edge, or a corner, has no area. A + 1 for pixels would make one of it."""
    got = box_iou(boxes((0, 0, 4, 4)), boxes(b))
    expect_close(got, torch.zeros(1, 1), what=f"the IoU of (0, 0, 4, 4) and {b}", hint="a width is x2 - x1: no + 1")


def test_a_box_in_a_box_is_the_ratio_of_areas():
    """What is shared is the inner one, and what both cover the outer one."""
    inner = boxes((2, 2, 4, 3), (0, 0, 1, 8), (0, 0, 8, 8))
    got = box_iou(boxes((0, 0, 8, 8)), inner)
    expect_close(got, torch.tensor([[2 / 64, 8 / 64, 1.0]]), what="the IoU of a box with boxes inside it")


def test_boxes_without_area_share_nothing():
    """A point, two lines, and a point elsewhere, with themselves and with a box around them."""
    flat = boxes((2, 2, 2, 2), (1, 2, 5, 2), (2, 1, 2, 5), (7, 7, 7, 7))
    for name, other in (("themselves", flat), ("a box around them", boxes((0, 0, 8, 8)))):
        for a, b, what in ((flat, other, f"with {name}"), (other, flat, f"with {name}, exchanged")):
            got = box_iou(a, b)
            expect_close(got, torch.zeros(len(a), len(b)), what=f"the IoU of boxes without area {what}", hint=EMPTY)


def test_boxes_without_area_are_kept():
    """They overlap nothing, so that nothing drops them, and they drop nothing: also two in one place, and at threshold 0."""
    given = boxes((2, 2, 2, 2), (0, 0, 9, 9), (2, 2, 2, 2), (1, 3, 4, 3), (0, 1, 9, 9))
    for threshold in (0.0, 0.5):
        got = nms(given, numbers(0.9, 0.8, 0.7, 0.6, 0.5), threshold)
        expect_kept(got, [0, 1, 2, 3], what=f"nms at {threshold} with points and a line among the boxes", hint=EMPTY)


@pytest.mark.parametrize("sixteenths", [2, 4, 8, 12])
def test_an_overlap_that_equals_the_threshold_is_kept(sixteenths):
    """A box of 16 squares, and one inside it of 2, 4, 8 or 12: the quotient is exact in every dtype."""
    given, threshold = boxes((0, 0, 16, 1), (0, 0, sixteenths, 1)), sixteenths / 16
    for near, want in ((threshold, [0, 1]), (threshold - 0.01, [0]), (threshold + 0.01, [0, 1])):
        got = nms(given, numbers(0.9, 0.8), near)
        expect_kept(got, want, what=f"nms of two boxes of IoU {threshold} at the threshold {near}", hint=STRICT)


def test_the_thresholds_zero_and_one():
    """At 0 any overlap drops, and a common edge is none. At 1 nothing is larger, so that equal boxes stay."""
    given = boxes((0, 0, 8, 8), (7, 7, 20, 20), (8, 0, 9, 7), (0, 0, 8, 8), (30, 30, 31, 31))
    scores = numbers(0.9, 0.8, 0.7, 0.6, 0.5)
    expect_kept(nms(given, scores, 0), [0, 2, 4], what="nms at the threshold 0", hint=STRICT)
    expect_kept(nms(given, scores, 1), [0, 1, 2, 3, 4], what="nms at the threshold 1", hint=STRICT)
    got = batched_nms(given, scores, torch.tensor([1, 0, 1, 1, 0]), 1.0)
    expect_kept(got, [0, 1, 2, 3, 4], what="batched_nms at the threshold 1", hint=STRICT)


def test_of_equal_scores_the_lower_index_comes_first():
    """It is listed first, and it drops the others. Half precision makes many scores equal."""
    given = boxes((0, 0, 9, 9), (40, 0, 49, 9), (0, 1, 9, 9), (20, 0, 29, 9), (40, 0, 49, 8), (0, 0, 9, 8))
    for scores, want in (
        ([0.5] * 6, [0, 1, 3]),
        ([0.5, 0.5, 0.75, 0.5, 0.5, 0.75], [2, 1, 3]),
        ([0.25, 0.75, 0.25, 0.75, 0.75, 0.25], [1, 3, 0]),
    ):
        expect_kept(nms(given, numbers(*scores), 0.5), want, what=f"nms with the scores {scores}", hint=TIES)


def test_many_equal_scores(rng):
    """40 boxes that are apart, with 3 different scores: some sorts keep short lists in order, and long ones not."""
    corner = 10.0 * torch.arange(40)[:, None]
    given = corner + torch.tensor([0.0, 0, 8, 8])
    scores = randint(rng, 0, 3, 40).double()
    want = sorted(range(40), key=lambda i: -scores[i].item())
    expect_kept(nms(given, scores, 0.5), want, what="nms of 40 boxes with 3 different scores", hint=TIES)
    got = of_classes(given, scores, randint(rng, 0, 4, 40), 0.5)
    expect_kept(got, want, what="batched_nms of 40 boxes with 3 different scores", hint=TIES)


def test_no_box_is_one_too_many():
    """400 boxes that are apart: detectors cut the list to the best 100 or 300, nms does not."""
    corner = 10.0 * torch.arange(400)[:, None]
    given, scores = corner + torch.tensor([0.0, 0, 8, 8]), torch.arange(400).flip(0).double()
    hint = "nothing limits how many boxes are kept"
    expect_kept(nms(given, scores, 0.5), range(400), what="nms of 400 boxes that are apart", hint=hint)
    got = of_classes(given, scores, [3] * 400, 0.5)
    expect_kept(got, range(400), what="batched_nms of 400 boxes that are apart", hint=hint)


def test_equal_scores_of_other_classes():
    """Boxes that are joined class by class come in the order of the classes; equal scores must not stay so."""
    apart = boxes(*((20 * i, 0, 20 * i + 9, 9) for i in range(5)))
    for classes in ([1, 0, 1, 0, 2], [2, 2, 1, 1, 0], [0, 0, 1, 1, 1]):
        got = of_classes(apart, [0.5] * 5, classes, 0.5)
        what = f"batched_nms of boxes that are apart, with equal scores and the classes {classes}"
        expect_kept(got, range(5), what=what, hint="of equal scores the lower index, of whatever class")


def test_no_boxes_at_all():
    """A picture without detections. The result has no rows, or no columns, and no index."""
    for a, b in ((NOTHING, SOME), (SOME, NOTHING), (NOTHING, NOTHING)):
        what = f"box_iou of {len(a)} boxes and {len(b)}"
        with called_for(what):
            got = box_iou(a, b)
        expect_equal(got, torch.zeros(len(a), len(b)), what=what)
    hint = "torch.cat and torch.stack refuse an empty list; say dtype=torch.int64 where you make the empty result"
    with called_for("nms of no boxes", hint=hint):
        got = nms(NOTHING, torch.zeros(0), 0.5)
    expect_kept(got, [], what="nms of no boxes", hint=hint)
    with called_for("batched_nms of no boxes", hint=hint):
        got = batched_nms(NOTHING, torch.zeros(0), torch.zeros(0, dtype=torch.int64), 0.5)
    expect_kept(got, [], what="batched_nms of no boxes", hint=hint)


def test_one_box_and_many_that_are_equal(rng):
    """One is kept as it is. Of many equal ones, the best."""
    for n in (1, 2, 9):
        scores = distinct(rng, n)
        got = nms(boxes((1, 2, 5, 4)).expand(n, 4), scores, 0.7)
        expect_kept(got, [scores.argmax().item()], what=f"nms of {n} equal boxes")


def test_nothing_overlaps(rng):
    """Then all are kept, by score."""
    scores = distinct(rng, 30)
    corner = 10.0 * torch.arange(30)[:, None]
    got = nms(corner + torch.tensor([0.0, 0, 8, 8]), scores, 0.1)
    want = sorted(range(30), key=lambda i: -scores[i].item())
    expect_kept(got, want, what="nms of 30 boxes that are apart")


def test_the_order_of_boxes_has_no_influence(rng):
    """Shuffled boxes have the same list of other indices."""
    given, scores, classes = rough(rng, 20), distinct(rng, 20), randint(rng, 0, 2, 20)
    order = torch.randperm(20, generator=rng)
    kept = kept_by(given, scores, 0.3)
    got = order[kept_by(given[order], scores[order], 0.3)]
    expect_kept(got, kept, what="nms of shuffled boxes, as indices before the shuffle")
    got = order[of_classes(given[order], scores[order], classes[order], 0.3)]
    want = of_classes(given, scores, classes, 0.3)
    expect_kept(got, want.tolist(), what="batched_nms of shuffled boxes, as indices before the shuffle")


def test_what_was_dropped_is_not_missed(rng):
    """Without the dropped boxes, nothing is dropped, and all stay in their order."""
    given, scores = rough(rng, 25, spread=2.0), distinct(rng, 25)
    kept = kept_by(given, scores, 0.35)
    got = nms(given[kept], scores[kept], 0.35)
    expect_kept(got, range(len(kept)), what="nms of the boxes that it kept", hint=WALK)


@pytest.mark.parametrize("low", [-100, -1000, 0])
def test_classes_stay_apart_wherever_boxes_lie(low):
    """Boxes that reach from -100 to 100 cannot be told apart by an offset of 101 for each class, nor by one of 100."""
    given = boxes((low, low, low + 40, low + 40), (low + 101, low + 101, low + 141, low + 141))
    given = torch.cat([given, given, boxes((low + 140, low, low + 200, low + 40))])
    hint = "compare within a class; if boxes are moved apart, then by more than their whole extent"
    for classes, want in (
        ([0, 0, 1, 1, 1], range(5)),
        ([1, 1, 0, 0, 0], range(5)),
        ([2, 0, 0, 1, 1], range(5)),
        ([1, 0, 1, 0, 0], [0, 1, 4]),
    ):
        got = of_classes(given, [0.9, 0.8, 0.7, 0.6, 0.5], classes, 0.5)
        expect_kept(got, want, what=f"batched_nms from {low} on with the classes {classes}", hint=hint)


@pytest.mark.parametrize("labels", [(-1, 0), (-3, -2), (7, 4000), (-5, 5), (0, 1)], ids=str)
def test_classes_are_any_integers(rng, labels):
    """-1 for 'ignore', or ids with gaps. The names of two classes make no difference."""
    given, scores, second = rough(rng, 20, spread=1.5), distinct(rng, 20), randint(rng, 0, 2, 20)
    want = of_classes(given, scores, second, 0.4)
    classes = torch.tensor(labels)[second]
    with called_for(f"the classes {labels}"):
        got = of_classes(given, scores, classes, 0.4)
    hint = "go through classes.unique(), not through range(classes.max() + 1)"
    expect_kept(got, want.tolist(), what=f"batched_nms with the classes {labels} in place of (0, 1)", hint=hint)


def test_one_class_and_a_class_for_each(rng):
    """With one class it is nms. With as many classes as boxes, nothing is dropped."""
    given, scores = rough(rng, 15, spread=1.0), distinct(rng, 15)
    got = of_classes(given, scores, [3] * 15, 0.3)
    expect_kept(got, kept_by(given, scores, 0.3), what="batched_nms with one class, against nms")
    want = scores.argsort(descending=True).tolist()
    got = of_classes(given, scores, torch.randperm(15, generator=rng), 0.3)
    expect_kept(got, want, what="batched_nms with a class for each box")


def test_arguments_are_not_modified(rng):
    """The boxes are drawn afterwards, and the scores printed beside them."""
    given, scores, classes = rough(rng, 12), distinct(rng, 12), randint(rng, 4, 7, 12)
    for name, call in (
        ("box_iou", lambda: box_iou(given, given[:5])),
        ("nms", lambda: nms(given, scores, 0.3)),
        ("batched_nms", lambda: batched_nms(given, scores, classes, 0.3)),
    ):
        with expect_unchanged(given, scores, classes, what=f"an argument of {name}"):
            call()


def test_other_memory_layouts_give_the_same(rng):
    """Columns of a larger tensor of detections: views are no obstacle, and a second call is as the first."""
    table = torch.cat([rough(rng, 12), distinct(rng, 12)[:, None], randn(rng, 12, 2)], 1)
    given, scores, classes = table[:, :4], table[:, 4], randint(rng, 0, 2, 12)
    strided = classes.repeat_interleave(2)[::2]
    for _ in range(2):
        want = box_iou(given.contiguous(), given.contiguous()[2:7])
        expect_close(box_iou(given, given[2:7]), want, what="the IoU of strided boxes")
        want = kept_by(given.contiguous(), scores.contiguous(), 0.3)
        expect_kept(nms(given, scores, 0.3), want, what="nms of strided boxes and scores")
        want = of_classes(given.contiguous(), scores.contiguous(), classes, 0.3).tolist()
        expect_kept(of_classes(given, scores, strided, 0.3), want, what="batched_nms of strided arguments")


@pytest.mark.parametrize("name", WRONG_BOXES)
def test_wrong_boxes_are_errors(name):
    """A list of one box is [1, 4], not [4]. Corners that are exchanged have a negative width, or a centre and a size."""
    wrong, n = WRONG_BOXES[name], len(WRONG_BOXES[name])
    hint = "if boxes.dim() != 2 or boxes.shape[1] != 4: raise ValueError; likewise if any x2 < x1 or y2 < y1"
    right, scores = SOME, torch.arange(n).float()
    for what, call in (
        (f"box_iou with a: {name}", lambda: box_iou(wrong, right)),
        (f"box_iou with b: {name}", lambda: box_iou(right, wrong)),
        (f"nms with {name}", lambda: nms(wrong, scores, 0.5)),
        (f"batched_nms with {name}", lambda: batched_nms(wrong, scores, torch.arange(n), 0.5)),
    ):
        with expect_raises(ValueError, what=what, hint=hint):
            call()


@pytest.mark.parametrize("shape", WRONG_SCORES, ids=str)
def test_scores_of_other_shapes_are_errors(shape):
    """One score for each box."""
    scores = torch.zeros(shape)
    with expect_raises(ValueError, what=f"nms of 3 boxes with scores {list(shape)}"):
        nms(SOME, scores, 0.5)
    with expect_raises(ValueError, what=f"batched_nms of 3 boxes with scores {list(shape)}"):
        batched_nms(SOME, scores, torch.zeros(3, dtype=torch.int64), 0.5)


@pytest.mark.parametrize("shape", WRONG_CLASSES, ids=str)
def test_classes_of_other_shapes_are_errors(shape):
    """One class for each box: a single one would be broadcast."""
    with expect_raises(ValueError, what=f"batched_nms of 3 boxes with classes {list(shape)}"):
        batched_nms(SOME, torch.zeros(3), torch.zeros(shape, dtype=torch.int64), 0.5)


@pytest.mark.parametrize("threshold", WRONG_THRESHOLDS)
def test_thresholds_outside_0_and_1_are_errors(threshold):
    """An IoU is in [0, 1]: 50 is a percentage. A comparison with NaN is False either way."""
    hint = "if not 0 <= iou_threshold <= 1: raise ValueError"
    for n in (3, 0):
        given, scores, classes = SOME[:n], torch.zeros(n), torch.zeros(n, dtype=torch.int64)
        with expect_raises(ValueError, what=f"nms of {n} boxes with the threshold {threshold}", hint=hint):
            nms(given, scores, threshold)
        with expect_raises(ValueError, what=f"batched_nms of {n} boxes with the threshold {threshold}", hint=hint):
            batched_nms(given, scores, classes, threshold)
