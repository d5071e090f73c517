"""transformers' box_iou, the matrix and each row of the suppression, which transformers leaves to torchvision. It is 0 / 0 where
neither box has an area, and takes sides of boxes that are handed to it in float16 in float16."""

import torch
from transformers.loss.loss_for_object_detection import box_iou as theirs


def widened(boxes):
    if boxes.ndim != 2 or boxes.shape[1] != 4 or (boxes[:, 2:] < boxes[:, :2]).any():
        raise ValueError("boxes")
    return boxes.to(torch.promote_types(boxes.dtype, torch.float32))


def iou(a, b):
    # In float64, because the area of a side of 1e-38 is 0 in float32.
    return theirs(a.double(), b.double())[0].nan_to_num(0.0).to(a.dtype)


def box_iou(a, b):
    return iou(widened(a), widened(b))


def nms(boxes, scores, iou_threshold):
    return batched_nms(boxes, scores, torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device), iou_threshold)


def batched_nms(boxes, scores, classes, iou_threshold):
    boxes = widened(boxes)
    if scores.shape != boxes.shape[:1] or classes.shape != scores.shape or not 0 <= iou_threshold <= 1:
        raise ValueError("scores, classes or threshold")
    left, kept = scores.sort(descending=True, stable=True).indices, []
    while len(left):
        first, left = left[:1], left[1:]
        kept.append(first)
        dropped = (iou(boxes[first], boxes[left])[0] > iou_threshold) & (classes[left] == classes[first])
        left = left[~dropped]
    return torch.cat(kept) if kept else left
