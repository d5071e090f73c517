"""Overlaps of anchors with truths, and suppression where few of many boxes are kept. The floors read what is given once."""

from functools import partial

import torch

from dojo.testing.bench import work


def clusters(bench, kept, each):
    """`kept` groups of `each` boxes: those of a group overlap by more than 0.8, groups are apart."""
    group = torch.arange(kept * each, device=bench.device) % kept
    base = 200.0 * group[:, None] + torch.tensor([0.0, 0, 40, 60], device=bench.device)
    return base + bench.randint(3, kept * each, 4).float()


def row_by_row(a, b):
    """The overlaps of one box of a at a time."""
    low, high = b[:, :2], b[:, 2:]
    areas = (high - low).prod(-1)
    rows = []
    for box in a:
        shared = (torch.minimum(box[2:], high) - torch.maximum(box[:2], low)).clamp(min=0).prod(-1)
        rows.append(shared / ((box[2:] - box[:2]).prod() + areas - shared))
    return torch.stack(rows)


def with_the_matrix(kata, boxes, scores, threshold):
    """nms on the overlaps of all pairs."""
    order = scores.argsort(descending=True, stable=True)
    drops = kata.box_iou(boxes[order], boxes[order]) > threshold
    alive = torch.ones_like(order, dtype=torch.bool)
    for i in range(len(order)):
        if alive[i]:
            alive[i + 1 :] &= ~drops[i, i + 1 :]
    return order[alive]


@work(n=4000, m=100, sweep={"n": (1000, 2000), "m": (25, 50)}, grows={"n": 1, "m": 1}, tiny={"n": 200, "m": 40})
def overlaps(bench, n, m):
    """box_iou of n anchors with m truths."""
    a, b = clusters(bench, n // 4, 4), clusters(bench, m // 4, 4)
    bench.katas(lambda kata: partial(kata.box_iou, a, b))
    bench.adapted("transformers", lambda kata: partial(kata.box_iou, a, b))
    bench.way("a row at a time", partial(row_by_row, a, b))
    bench.same()
    bench.floor(bytes=a.nbytes + b.nbytes + 4 * n * m)


@work(kept=20, each=200, sweep={"each": (50, 100)}, grows={"each": 1}, tiny={"kept": 4, "each": 50})
def suppression(bench, kept, each):
    """nms of kept x each boxes, of which one in each group is kept."""
    boxes = clusters(bench, kept, each)
    scores = torch.randperm(kept * each, generator=bench.rng).to(boxes) / (kept * each)
    bench.katas(lambda kata: partial(kata.nms, boxes, scores, 0.5))
    bench.way("naive: all pairs, a step for each box", partial(with_the_matrix, bench.reference, boxes, scores, 0.5))
    bench.same()
    bench.floor(bytes=boxes.nbytes + scores.nbytes)
