"""One walk for all: nms is batched_nms with a single class. Scores are pushed below all others when their box is done."""

import torch


def check(condition, message):
    if not condition:
        raise ValueError(message)


def prepare(boxes):
    check(boxes.dim() == 2 and boxes.shape[1] == 4, "shape of boxes")
    check(torch.all(boxes[:, 0] <= boxes[:, 2]) and torch.all(boxes[:, 1] <= boxes[:, 3]), "corners")
    return boxes.to(torch.float64 if boxes.dtype is torch.float64 else torch.float32)


def area(sides):
    return sides.select(-1, 0) * sides.select(-1, 1)


def box_iou(a, b):
    a, b = prepare(a), prepare(b)
    n, m = len(a), len(b)
    first, second = a.unsqueeze(1).expand(n, m, 4), b.unsqueeze(0).expand(n, m, 4)
    corners = torch.stack([first, second])
    inner = corners[..., 2:].amin(0) - corners[..., :2].amax(0)
    shared = area(inner.clip(0))
    union = area(first[..., 2:] - first[..., :2]) + area(second[..., 2:] - second[..., :2]) - shared
    return shared / torch.where(union > 0, union, torch.ones_like(union))


def nms(boxes, scores, iou_threshold):
    return batched_nms(boxes, scores, torch.zeros(scores.shape, dtype=torch.int64, device=boxes.device), iou_threshold)


def batched_nms(boxes, scores, classes, iou_threshold):
    boxes = prepare(boxes)
    check(scores.shape == classes.shape == boxes.shape[:-1], "shapes")
    check(0 <= iou_threshold <= 1, "threshold")
    position = torch.empty(len(boxes), dtype=torch.int64, device=boxes.device)
    order = scores.sort(descending=True, stable=True).indices
    position[order] = torch.arange(len(boxes), device=boxes.device)
    done, kept = len(boxes), []
    while len(boxes):
        place, best = position.min(0)
        if place >= done:
            break
        kept.append(best.item())
        drops = (box_iou(boxes[best][None], boxes)[0] > iou_threshold) & (classes == classes[best])
        position = torch.where(drops, done, position)
        position[best] = done
    return torch.tensor(kept, dtype=torch.int64, device=boxes.device)
