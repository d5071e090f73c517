"""Stage 4. No loop over pairs, no n x n matrix, work for the boxes that are kept."""

import pytest

from dojo.testing import expect, expect_flat_operators, expect_operators, expect_traffic, measure
from katas.nms import batched_nms, box_iou, nms

from .helpers import clusters, distinct, rough


def test_no_loop_over_pairs(rng):
    """A loop launches operators for each pair, and 20 000 x 100 anchors and truths are two million."""
    expect_flat_operators(
        box_iou,
        lambda size: [rough(rng, n) for n in size],
        [(4, 6), (40, 6), (4, 60)],
        what="box_iou of n and m boxes",
        hint="a[:, None] and b[None, :] broadcast to all pairs at once",
        slack=3,
    )


@pytest.mark.parametrize("classes", [0, 2])
def test_the_work_is_for_the_boxes_that_are_kept(rng, classes):
    """1000 boxes on 4 objects. The matrix of all pairs has a million numbers here, and 40 GB for 100 000 boxes; a step
    for each dropped box waits for the device each time."""
    given, group = clusters(rng, 4, 250)
    scores = distinct(rng, 1000)
    name = "batched_nms" if classes else "nms"
    with measure() as spent:
        got = batched_nms(given, scores, group % classes, 0.3) if classes else nms(given, scores, 0.3)
    expect(len(got) == 4, f"{name} should keep 4 boxes of 4 groups, but keeps {len(got)}")
    what = f"{name} of 1000 boxes, of which 4 are kept,"
    hint = "drop in one step all that overlap the box just kept, and take the next that is left"
    expect_operators(spent, 100 * 4 + 100, what=what, hint=hint)
    hint = "compute the overlaps with the box just kept, a row at a time, or those of a few"
    sentence = f"{what} should make no tensor of more than 256 000 elements, but makes one of {spent.largest}"
    expect(spent.largest <= 256 * 1000, sentence, hint=hint)
    expect_traffic(spent, given, 2000, what=what, of="the boxes", hint=hint)
