"""Everything in float64, where classes can be moved apart by their rank without loss; the best is found anew each time."""

import torch
from torch import Tensor


def _refuse_unless(condition: bool, sentence: str) -> None:
    if not condition:
        raise ValueError(sentence)


def _double(x: Tensor) -> Tensor:
    _refuse_unless(x.dim() == 2 and x.shape[-1] == 4, "[n, 4] expected")
    x = x.to(torch.float64)
    _refuse_unless(bool((x[:, 2:] - x[:, :2] >= 0).all()), "x1 <= x2 and y1 <= y2 expected")
    return x


def _iou(a: Tensor, b: Tensor) -> Tensor:
    low, high = a[:, None].maximum(b)[..., :2], a[:, None].minimum(b)[..., 2:]
    shared = torch.where((high > low).all(-1), (high - low).prod(-1), 0.0)
    sides_a, sides_b = a[:, 2:] - a[:, :2], b[:, 2:] - b[:, :2]
    cover = (sides_a[:, 0] * sides_a[:, 1]).unsqueeze(1) + (sides_b[:, 0] * sides_b[:, 1]).unsqueeze(0) - shared
    return shared / cover.masked_fill(cover == 0, 1.0)


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    result = _iou(_double(a), _double(b))
    return result if a.dtype == torch.float64 else result.to(torch.float32)


def _walk(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    left, kept = torch.arange(len(boxes), device=boxes.device), []
    while left.numel() > 0:
        best = left[scores[left].argmax()]  # the first of equal maxima
        kept.append(best)
        left = left[left != best]
        left = left[~(_iou(boxes[best].unsqueeze(0), boxes[left])[0] > threshold)]
    return torch.stack(kept) if kept else left


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    wide = _double(boxes)
    _refuse_unless(tuple(scores.shape) == (len(wide),), "[n] scores expected")
    _refuse_unless(0.0 <= iou_threshold <= 1.0, "threshold")
    return _walk(wide, scores, iou_threshold)


def batched_nms(boxes: Tensor, scores: Tensor, classes: Tensor, iou_threshold: float) -> Tensor:
    wide = _double(boxes)
    _refuse_unless(tuple(scores.shape) == tuple(classes.shape) == (len(wide),), "[n] scores and classes expected")
    _refuse_unless(0.0 <= iou_threshold <= 1.0, "threshold")
    if len(wide):
        ranks = torch.unique(classes, return_inverse=True)[1].double()
        extent = 2.0 ** torch.ceil(torch.log2(wide.max() - wide.min() + 1))
        wide = wide + (ranks * extent)[:, None]
    return _walk(wide, scores, iou_threshold)
