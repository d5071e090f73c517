"""The overlaps written out coordinate by coordinate; a mask over the sorted boxes says who is still left."""

import torch


def _wide(x):
    return x if x.dtype == torch.float64 else x.float()


def _validate(x):
    if x.ndim != 2 or x.size(1) != 4:
        raise ValueError("boxes are [n, 4]")
    if bool((x[:, 0] > x[:, 2]).any()) or bool((x[:, 1] > x[:, 3]).any()):
        raise ValueError("corners are exchanged")


def box_iou(a, b):
    _validate(a)
    _validate(b)
    ax1, ay1, ax2, ay2 = _wide(a)[:, :, None].unbind(1)
    bx1, by1, bx2, by2 = _wide(b).unbind(1)
    width = torch.relu(torch.min(ax2, bx2) - torch.max(ax1, bx1))
    height = torch.relu(torch.min(ay2, by2) - torch.max(ay1, by1))
    both = width * height
    either = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - both
    return torch.nan_to_num(both / either, nan=0.0)


def nms(boxes, scores, iou_threshold):
    _validate(boxes)
    if scores.shape != (boxes.size(0),):
        raise ValueError("one score for each box")
    if not (iou_threshold >= 0 and iou_threshold <= 1):
        raise ValueError("the threshold is in [0, 1]")
    _, order = torch.sort(scores, descending=True, stable=True)
    ranked = boxes[order]
    alive = torch.ones(len(order), dtype=torch.bool, device=boxes.device)
    keep = torch.zeros_like(alive)
    while bool(alive.any()):
        first = int(alive.int().argmax())
        keep[first] = True
        alive[first] = False
        alive &= ~(box_iou(ranked[first : first + 1], ranked).squeeze(0) > iou_threshold)
    return order[keep]


def batched_nms(boxes, scores, classes, iou_threshold):
    if classes.shape != scores.shape:
        raise ValueError("one class for each box")
    if len(classes) == 0:
        return nms(boxes, scores, iou_threshold)
    parts = []
    for label in sorted(set(classes.tolist())):
        members = torch.where(classes == label)[0]
        parts.append(members.index_select(0, nms(boxes[members], scores[members], iou_threshold)))
    joined = torch.cat(parts).sort()[0]
    return joined[torch.sort(scores[joined], descending=True, stable=True)[1]]
