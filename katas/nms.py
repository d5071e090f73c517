"""Non-maximum suppression.

A detector finds each object many times over. Write IoU for all pairs of boxes, non-maximum suppression, and its
per-class version. What does it cost, and what goes wrong in float16?

A box is (x1, y1, x2, y2), two corners with x1 <= x2 and y1 <= y2, in continuous coordinates: its width is x2 - x1, with no
+ 1 for pixels. With I the area that two boxes share and A, B their areas,
    IoU = I / (A + B - I)
and 0 where one of them has no area, so a box without area has IoU 0 also with itself. Non-maximum suppression goes
through the boxes from the highest score down: it keeps a box unless its IoU with a box kept before is larger than the
threshold.

Rules: PyTorch and the standard library (no torchvision). No gradients are asked for.

Numbers: coordinates are finite, of any floating dtype, and within 1e9 of 0. A side is 0 or at least 1e-9, so that
normalised boxes of a few millionths count like all others. float16, bfloat16 and float32 boxes are computed in float32,
float64 boxes in float64: the area of 300 x 300 is infinite in float16. Scores are finite numbers of any floating
dtype and of any sign, which are only compared. No argument is modified.

Stage 1: the IoU of a pair and of all pairs, suppression, classes.  Stage 2: boxes that touch, nest or have no area, equal
scores, no boxes, wrong arguments.  Stage 3: every floating dtype, huge and tiny coordinates, many classes.  Stage 4: no
loop over pairs, no n x n matrix, work for the boxes that are kept.

Sources: Felzenszwalb et al., "Object Detection with Discriminatively Trained Part-Based Models" (2010), for greedy
suppression; Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge" (2010), for IoU.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def box_iou(a: Float[Tensor, "n 4"], b: Float[Tensor, "m 4"]) -> Float[Tensor, "n m"]:
    """The IoU of each box of a with each box of b, float64 for float64 boxes and float32 for all narrower ones.

    a and b have one dtype; there may be no boxes in either. The number of operators does not grow with n or m.
    Raises ValueError if a or b is not of shape [any, 4], or if a box has x2 < x1 or y2 < y1.
    """
    raise NotImplementedError("nms.box_iou: write me")


def nms(boxes: Float[Tensor, "n 4"], scores: Float[Tensor, "n"], iou_threshold: float) -> Int64[Tensor, "kept"]:
    """The indices of the boxes that are kept, from the highest score to the lowest.

    Of equal scores the lower index comes first. A box is dropped if its IoU with a box that is kept and comes before it
    is larger than the threshold; one that equals the threshold is kept. Dropped boxes drop nothing. Without boxes the
    result is empty.

    Torch does the work. It takes at most 100 operators for each box that is kept, and 100 more, however many boxes are
    dropped. No tensor that it makes has more than 256 n elements, so the n x n matrix of all pairs is too large.
    Raises ValueError as box_iou does, if scores are not of shape [n], or if iou_threshold is not in [0, 1].
    """
    raise NotImplementedError("nms.nms: write me")


def batched_nms(
    boxes: Float[Tensor, "n 4"], scores: Float[Tensor, "n"], classes: Int64[Tensor, "n"], iou_threshold: float
) -> Int64[Tensor, "kept"]:
    """nms within each class: boxes of different classes never drop each other. The result is ordered as that of nms.

    Classes are any integers: they may be negative, have gaps, or be thousands. The limits of nms hold here as well.
    Raises ValueError as nms does, or if classes are not of shape [n].
    """
    raise NotImplementedError("nms.batched_nms: write me")
