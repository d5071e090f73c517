"""Blocks of 64 boxes, as a GPU's kernel has them: a block is settled in Python, then it drops from all that come after."""

import torch

SIZE = 64


def checked(boxes, scores=None, threshold=0):
    wrong = boxes.dim() != 2 or boxes.shape[1] != 4 or bool((boxes[:, :2] > boxes[:, 2:]).any())
    if (
        wrong
        or (scores is not None and list(scores.shape) != [boxes.shape[0]])
        or threshold != min(max(threshold, 0), 1)
    ):
        raise ValueError("boxes are [n, 4] with x1 <= x2 and y1 <= y2, scores are [n], the threshold is in [0, 1]")
    return boxes.double() if boxes.dtype == torch.float64 else boxes.float()


def box_iou(a, b):
    a, b = checked(a).T, checked(b).T  # [4, n] and [4, m]
    shared = 1
    for low, high in ((0, 2), (1, 3)):
        side = torch.minimum(a[high][:, None], b[high][None]) - torch.maximum(a[low][:, None], b[low][None])
        shared = shared * side.clamp_min(0)
    area_a, area_b = ((x[2] - x[0]) * (x[3] - x[1]) for x in (a, b))
    total = torch.add(area_a.view(-1, 1), area_b.view(1, -1)) - shared
    result = torch.zeros_like(shared)
    some = shared > 0
    result[some] = shared[some] / total[some]
    return result


def suppressed(boxes, labels, order, threshold):
    """The indices of `order` that are kept; boxes of other labels have no influence."""
    order, kept = order.clone(), []
    while order.numel():
        block, order = order[:SIZE], order[SIZE:]
        hits = (box_iou(boxes[block], boxes[block]) > threshold) & (labels[block][:, None] == labels[block])
        winners = []
        for i, row in enumerate(hits.tolist()):
            if not any(row[j] for j in winners):
                winners.append(i)
        chosen = block[torch.tensor(winners, device=block.device)]
        kept.append(chosen)
        if order.numel():
            hits = (box_iou(boxes[chosen], boxes[order]) > threshold) & (labels[chosen][:, None] == labels[order])
            order = order[~hits.any(0)]
    return torch.cat(kept) if kept else order


def nms(boxes, scores, iou_threshold):
    boxes = checked(boxes, scores, iou_threshold)
    order = torch.argsort(-scores, stable=True)
    return suppressed(boxes, torch.zeros_like(order), order, iou_threshold)


def batched_nms(boxes, scores, classes, iou_threshold):
    boxes = checked(boxes, scores, iou_threshold)
    if list(classes.shape) != [len(boxes)]:
        raise ValueError("classes are [n]")
    return suppressed(boxes, classes, torch.argsort(-scores, stable=True), iou_threshold)
