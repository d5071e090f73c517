"""In rounds, not box by box: of the 32 best that are left, the fixed point of 'dropped by a kept one' is found by iteration."""

import torch
from torch.nn import functional as F

WIDTH = 32


def box_iou(a, b):
    for boxes in (a, b):
        if boxes.dim() != 2 or boxes.shape[1] != 4:
            raise ValueError(f"{tuple(boxes.shape)} is no [n, 4]")
        if (boxes[:, 2] < boxes[:, 0]).logical_or(boxes[:, 3] < boxes[:, 1]).any():
            raise ValueError("a negative side")
    dtype = torch.promote_types(a.dtype, torch.float32)
    a, b = a.to(dtype).reshape(-1, 1, 2, 2), b.to(dtype).reshape(1, -1, 2, 2)  # corner, axis
    start, stop = torch.maximum(a[:, :, 0], b[:, :, 0]), torch.minimum(a[:, :, 1], b[:, :, 1])
    shared = torch.mul(*F.relu(stop - start).unbind(-1))
    total = a.diff(dim=2).prod(-1).squeeze(-1) + b.diff(dim=2).prod(-1).squeeze(-1)
    return torch.where(shared == 0, torch.zeros_like(shared), shared / (total - shared))


def nms(boxes, scores, iou_threshold):
    box_iou(boxes, boxes[:0])  # refuses wrong boxes
    if scores.dim() != 1 or len(scores) != len(boxes):
        raise ValueError("scores")
    if not 0 <= iou_threshold <= 1:
        raise ValueError("threshold")
    left = torch.sort(scores, dim=0, descending=True, stable=True).indices
    result = left.new_empty(0)
    while len(left):
        head, left = left[:WIDTH], left[WIDTH:]
        hits = torch.triu(box_iou(boxes[head], boxes[head]) > iou_threshold, diagonal=1)  # [i, j]: i would drop j
        kept = torch.ones_like(head, dtype=torch.bool)
        while True:
            now = ~(hits & kept[:, None]).any(dim=0)
            if torch.equal(now, kept):
                break
            kept = now
        head = head[kept]
        result = torch.cat((result, head))
        left = left[(box_iou(boxes[head], boxes[left]) <= iou_threshold).all(dim=0)]
    return result


def batched_nms(boxes, scores, classes, iou_threshold):
    box_iou(boxes, boxes[:0])
    if not scores.shape == classes.shape == boxes.shape[:1]:
        raise ValueError("shapes")
    nms(boxes[:0], scores[:0], iou_threshold)  # refuses a wrong threshold
    groups = classes.argsort(stable=True)
    counts = classes.unique(return_counts=True)[1].tolist()
    kept = [group[nms(boxes[group], scores[group], iou_threshold)] for group in groups.split(counts) if len(group)]
    kept = torch.cat(kept).tolist() if kept else []
    ranks = scores.tolist()
    kept.sort(key=lambda i: (-ranks[i], i))
    return torch.tensor(kept, dtype=torch.int64, device=boxes.device)
