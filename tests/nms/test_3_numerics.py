"""Stage 3. Every floating dtype, huge and tiny coordinates, many classes."""

import pytest
import torch

from dojo.testing import FLOATS, called_for, expect_close, expect_equal, numbers, randint, roundings
from katas.nms import box_iou, nms

from .helpers import boxes, clusters, distinct, expect_kept, kept_by, of_classes, rough, whole

WIDEN = "convert boxes to torch.promote_types(dtype, torch.float32) before the first subtraction"
DIGITS = "stay in float64 where the boxes are float64"
EVERY = pytest.mark.parametrize("dtype", FLOATS, ids=str)


def wide(dtype):
    """The dtype of the results."""
    return torch.promote_types(dtype, torch.float32)


@EVERY
def test_iou_is_float32_at_least(rng, dtype):
    """Corners up to 12 are exact in every dtype, and the quotients are not. Tolerance: 2 roundings of 1."""
    a, b = whole(rng, 5), whole(rng, 4)
    got, what = box_iou(a.to(dtype), b.to(dtype)), f"the IoU of {dtype} boxes"
    expect_equal(getattr(got, "dtype", None), wide(dtype), what=f"the dtype of {what}", hint=WIDEN)
    want = box_iou(a.double(), b.double())
    expect_close(got.double(), want, what=f"{what}, beside float64", hint=WIDEN, **roundings(2, wide(dtype)))


@EVERY
def test_large_boxes_have_an_area(dtype):
    """300 x 300 is above float16's largest number, 65 504, and 200 x 236 has no exact product in bfloat16. The two share
    200 x 300 of 120 000; 36 x 236 of 47 200 + 8496 - 8496."""
    a, b = boxes((0, 0, 300, 300), (8, 8, 208, 244), dtype=dtype), boxes((0, 100, 300, 400), dtype=dtype)
    got = box_iou(a[:1], b)
    close = roundings(2, wide(dtype))
    what = f"the IoU of two boxes of 300 x 300 in {dtype}"
    expect_close(got, torch.tensor([[0.5]], dtype=wide(dtype)), what=what, hint=WIDEN, **close)
    got = box_iou(a[1:], boxes((16, 8, 52, 244), dtype=dtype))
    what = f"the IoU of 200 x 236 and 36 x 236 inside it in {dtype}"
    expect_close(got, torch.tensor([[0.18]], dtype=wide(dtype)), what=what, hint=WIDEN, **close)


@EVERY
def test_sides_may_be_longer_than_the_largest_coordinate(dtype):
    """From -49 152 to 49 152 is 98 304: infinite in float16, although both corners are numbers there."""
    a, b = boxes((-49152, -2, 49152, 2), dtype=dtype), boxes((-49152, 0, 0, 2), (0, -2, 49152, 2), dtype=dtype)
    want = torch.tensor([[0.25, 0.5]], dtype=wide(dtype))
    expect_close(box_iou(a, b), want, what=f"the IoU of long boxes in {dtype}", hint=WIDEN)


@EVERY
def test_differences_are_taken_in_float32(dtype):
    """-130 and 1.0078125 are exact in every dtype, their difference is not in half precision. Tolerance: 2 roundings."""
    got = box_iou(boxes((-130, 0, 1.0078125, 1), dtype=dtype), boxes((-130, 0, 0, 1), dtype=dtype))
    want = torch.tensor([[130 / 131.0078125]], dtype=wide(dtype))
    what = f"the IoU of boxes from -130 to 1.0078125 and to 0 in {dtype}"
    expect_close(got, want, what=what, hint=WIDEN, **roundings(2, wide(dtype)))


@EVERY
def test_suppression_in_every_dtype(rng, dtype):
    """Boxes of 400 x 600 and their scores, rounded to the dtype before: the result is that of the same numbers in float64."""
    given, _ = clusters(rng, 3, 4)
    given = (10 * given).to(dtype)
    scores, classes = distinct(rng, 12).to(dtype), torch.arange(12) % 2
    want = kept_by(given.double(), scores.double(), 0.4)
    with called_for(f"boxes and scores in {dtype}"):
        got = nms(given, scores, 0.4)
    expect_kept(got, want, what=f"nms in {dtype}", hint=WIDEN)
    want = of_classes(given.double(), scores.double(), classes, 0.4).tolist()
    with called_for(f"boxes and scores in {dtype}"):
        got = of_classes(given, scores, classes, 0.4)
    expect_kept(got, want, what=f"batched_nms in {dtype}", hint=WIDEN)
    got = nms(given.float(), scores, 0.4)
    want = kept_by(given.double(), scores.double(), 0.4)
    expect_kept(got, want, what=f"nms of float32 boxes with {dtype} scores", hint="only boxes are converted")


@EVERY
def test_the_threshold_is_met_in_float32(dtype):
    """200 x 236 and 36 x 236 have an IoU of 0.18, and 8 of 20 squares one of 0.4. Areas in half precision miss by more
    than the thresholds beside them do."""
    for given, iou in (
        (boxes((8, 8, 208, 244), (16, 8, 52, 244), dtype=dtype), 0.18),
        (boxes((0, 0, 37, 37), (0, 0, 37, 11), dtype=dtype), 11 / 37),
        (boxes((0, 0, 93, 85), (0, 0, 93, 34), dtype=dtype), 0.4),
    ):
        for near, want in ((iou + 1e-5, [0, 1]), (iou - 1e-5, [0])):
            what = f"nms of boxes of IoU {iou:.4f} at the threshold {near:.5f} in {dtype}"
            expect_kept(nms(given, numbers(0.9, 0.8), near), want, what=what, hint=WIDEN)


def test_float64_keeps_its_digits():
    """A side of 0.5 + 2^-40 is 0.5 in float32, and 2^30 + 1/4 is 2^30."""
    above = 0.5 + 2**-40
    given = boxes((0, 0, 1, 1), (0, 0, above, 1), dtype=torch.float64)
    pair = "a box with 0.5 + 2^-40 of it in float64"
    iou = box_iou(given[:1], given[1:])
    expect_close(iou, numbers(above)[None], what=f"the IoU of {pair}", hint=DIGITS, rtol=0, atol=0)
    expect_kept(nms(given, numbers(0.9, 0.8), 0.5), [0], what=f"nms at 0.5 of {pair}", hint=DIGITS)
    far = 2.0**29 + boxes((0, 0, 0.5, 1), (0.25, 0, 0.5, 0.5), dtype=torch.float64)
    want = torch.tensor([[1.0, 0.25], [0.25, 1.0]]).double()
    expect_close(box_iou(far, far), want, what="the IoU of boxes 2^29 from the origin", hint=DIGITS)
    got = of_classes(far, [0.5, 0.5 + 2**-40], [1, 1], 0.2)
    expect_kept(got, [1], what="batched_nms with the scores 0.5 and 0.5 + 2^-40", hint="compare scores as they are")


@pytest.mark.parametrize("dtype", FLOATS[2:], ids=str)
@pytest.mark.parametrize("power", [-28, -14, 26])
def test_tiny_and_huge_boxes_are_like_all_others(rng, dtype, power):
    """Sides of 1e-8 have areas of 1e-16: an epsilon beside the area, or below it, would decide in their place. Factors of
    2 are exact."""
    a, b = whole(rng, 6).to(dtype), whole(rng, 5).to(dtype)
    factor, want = 2.0**power, box_iou(a, b)
    hint = "no epsilon in the denominator: ask where the shared area is 0"
    expect_close(box_iou(a * factor, b * factor), want, what=f"the IoU of boxes times 2^{power} in {dtype}", hint=hint)
    scores, classes = distinct(rng, 6), torch.arange(6) % 2
    for threshold in (0.05, 0.3):
        want = kept_by(a, scores, threshold)
        got = nms(a * factor, scores, threshold)
        expect_kept(got, want, what=f"nms at {threshold} of boxes times 2^{power} in {dtype}", hint=hint)
        want = of_classes(a, scores, classes, threshold).tolist()
        got = of_classes(a * factor, scores, classes, threshold)
        expect_kept(got, want, what=f"batched_nms at {threshold} of boxes times 2^{power} in {dtype}", hint=hint)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_many_classes_do_not_move_boxes(rng, dtype):
    """Two boxes of an object in each of 12 classes, of 1203. Class times the picture's width is 4.8 million: float32 has
    steps of half a pixel there, float16 ends before, and the overlaps would be others."""
    extent, unit = (240, 1 / 8) if dtype in FLOATS[:2] else (4000, 1 / 32)  # what half precision still has
    first = randint(rng, 0, extent, 12, 1) + unit * numbers(8, 8, 12, 16)
    given = torch.stack([first, first + unit * numbers(1, 0, 1, 0)], 1).reshape(24, 4).to(dtype)
    classes, scores = (1 + torch.randperm(12, generator=rng)).repeat_interleave(2) * 100, distinct(rng, 24)
    hint = "compare within a class, where the boxes are; an offset of class x width has lost the fractions of a pixel"
    for threshold in (0.5, 0.7):
        want = []
        for i in range(0, 24, 2):
            want += [i + place for place in kept_by(given[i : i + 2], scores[i : i + 2], threshold)]
        want.sort(key=lambda i: -scores[i].item())
        got = of_classes(given, scores, classes, threshold)
        expect_kept(got, want, what=f"batched_nms of 12 classes at {threshold} in {dtype}", hint=hint)


def test_a_huge_box_of_another_class_changes_nothing():
    """Small boxes of one class beside a box of 2^28 of another: moved by that much, float32 has no fractions left."""
    small = boxes((0, 0, 1, 1), (0, 0, 1, 0.9375), (0.5, 0, 1, 1), (0, 0, 2.0**28, 2.0**28))
    hint = "compare within a class, where the boxes are; an offset has lost the fractions of a pixel"
    for classes in ([0, 0, 0, 1], [1, 1, 1, 0]):
        got = of_classes(small, [0.9, 0.8, 0.7, 0.6], classes, 0.625)
        what = f"batched_nms of small boxes and a huge one with the classes {classes}"
        expect_kept(got, [0, 2, 3], what=what, hint=hint)


def test_boxes_far_from_each_other_and_from_the_origin(rng):
    """Up to 1e9 on both sides, in one call."""
    given = rough(rng, 12, spread=1.0).round()
    far = torch.cat([given + 5e8, given - 5e8])
    scores = torch.cat([distinct(rng, 12), distinct(rng, 12) - 2])
    want = kept_by(given, scores[:12], 0.3)
    want += [12 + i for i in kept_by(given, scores[12:], 0.3)]
    expect_kept(nms(far, scores, 0.3), want, what="nms of two groups 1e9 apart", hint=DIGITS)
