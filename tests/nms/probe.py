"""What can be seen of overlaps and of suppression: numbers, indices, dtypes, refusals, and what they cost."""

import torch

from dojo.testing import randint, randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

FORBIDDEN = ("torchvision.ops",)
IOU, NMS, BATCHED = "box_iou", "nms", "batched_nms"
HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
WRONG_BOXES = [
    ("boxes [4]", [0.0, 0, 4, 4]),
    ("boxes [2, 5]", [[0.0, 0, 4, 4, 1], [1, 1, 5, 5, 1]]),
    ("boxes [2, 2]", [[0.0, 0], [1, 1]]),
    ("boxes [2, 1, 4]", [[[0.0, 0, 4, 4]], [[1, 1, 5, 5]]]),
    ("x2 < x1", [[0.0, 0, 4, 4], [5, 1, 4, 6]]),
    ("y2 < y1", [[3.0, 4, 5, 1], [0, 0, 4, 4]]),
    ("both exchanged", [[0.0, 0, 4, 4], [5, 6, 1, 2], [1, 1, 2, 2]]),
]
WRONG_SCORES = [(2,), (4,), (3, 1), (1,), (1, 3), ()]
WRONG_CLASSES = [(2,), (4,), (3, 1), (1,), (1, 3), ()]
WRONG_THRESHOLDS = [-0.1, 1.5, 50.0, float("nan")]
APART = {
    "along x": (9, 2, 12, 7),
    "along y": (3, 9, 6, 13),
    "along both": (9, 10, 14, 12),
    "both, before": (-9, -8, -6, -4),
}
TOUCHING = {"an edge": (8, 1, 11, 5), "an edge below": (2, 8, 6, 12), "a corner": (8, 8, 10, 13)}
PAIR, ROW = [(0, 0, 8, 8), (0, 1, 8, 9)], [(x, 0, x + 8, 5) for x in (0, 2, 4, 6)]
NEAR = [(0, 0, 93, 85), (0, 0, 93, 34)]  # IoU 0.4


def cases(rng):
    yield from overlaps(rng)
    yield from suppressions(rng)
    yield from within_classes(rng)


def boxes(rows, dtype=SINGLE):
    return torch.as_tensor(rows, dtype=DOUBLE).reshape(-1, 4).to(dtype)


def heap(rng, n, spread=1.0, dtype=SINGLE):
    """Boxes about one place: their sides are at least 4, and with a spread of 1 all overlap."""
    middle, half = spread * randn(rng, n, 2).clamp(-1.5, 1.5), 2 + 2 * randn(rng, n, 2).sigmoid()
    return torch.cat([middle - half, middle + half], 1).to(dtype)


def row(n, pitch=20.0):
    """Boxes that are apart."""
    return pitch * torch.arange(n)[:, None] + torch.tensor([0.0, 0, 8, 9])


def ranks(rng, n):
    """Different scores in [0, 1], in a random order."""
    return (1 + torch.randperm(n, generator=rng)) / (n + 1)


def overlaps(rng):
    def case(name, a, b, ask="iou", **more):
        return Case(f"iou: {name}", of=IOU, ask=ask, a=a, b=b, **more)

    yield case("overlapping", heap(rng, 1), heap(rng, 1))
    yield case("nested", boxes([(0, 0, 9, 9)]) + randn(rng, 1, 1), boxes([(3, 2, 5, 7), (4, 4, 8, 5)]))
    for kind in (APART, TOUCHING):
        for name, other in kind.items():
            yield case(name, boxes([(0, 0, 8, 8)]), boxes([other]))
    for n, m in ((3, 5), (4, 4), (1, 3), (3, 1)):
        yield case(f"{n} x {m}", heap(rng, n), heap(rng, m))
    same = heap(rng, 4)
    yield case("itself", same, same)
    yield case("far", heap(rng, 2) + 1000, heap(rng, 3) + 1000)
    yield case("points", boxes([(2, 2, 2, 2)] * 2), boxes([(2, 2, 2, 2), (5, 5, 5, 5)]))
    yield case("a line, a point, a box", boxes([(1, 3, 7, 3), (2, 2, 2, 2)]), boxes([(0, 0, 8, 8)]))
    for n, m in ((0, 3), (3, 0), (0, 0)):
        yield case(f"{n} x {m}", heap(rng, n), heap(rng, m))
    for dtype in (HALF, BRAIN, SINGLE, DOUBLE):
        yield case(f"the dtype of {dtype}", heap(rng, 2, dtype=dtype), heap(rng, 3, dtype=dtype), ask="dtype")
    large = boxes([(0, 0, 300, 300), (0, 100, 300, 400)])
    for dtype in (HALF, BRAIN):
        yield case(f"large, {dtype}", large.to(dtype), (large + randint(rng, 0, 3, 1, 1)).to(dtype), ask="coarse")
    wide = boxes([(-49152, -2, 49152, 2)], HALF)
    yield case("wide, float16", wide, boxes([(-49152, 0, 0, 2), (0, -2, 49152, 2)], HALF), ask="coarse")
    for dtype in (HALF, BRAIN):
        yield case(f"digits, {dtype}", boxes([NEAR[0]], dtype), boxes([NEAR[1]], dtype), ask="digits")
    fine = 2.0**29 + boxes([(0, 0, 0.5, 1), (0.25, 0, 0.5, 0.5)], DOUBLE)
    yield case("far, float64", fine, fine, ask="digits")
    for power in (-28, -10, 26):
        for dtype in (SINGLE, DOUBLE):
            yield case(
                f"times 2^{power}, {dtype}", *(heap(rng, n, dtype=dtype) * 2.0**power for n in (2, 3)), ask="digits"
            )
    yield case("arguments", boxes(PAIR), boxes(ROW), ask="arguments")
    yield case("cost", heap(rng, 30), heap(rng, 40), ask="cost")
    for name, wrong in WRONG_BOXES:
        yield case(f"a: {name}", torch.tensor(wrong), heap(rng, 2))
        yield case(f"b: {name}", heap(rng, 2), torch.tensor(wrong))


def suppressions(rng):
    def case(name, given, scores, threshold=0.5, ask="kept"):
        return Case(f"nms: {name}", of=NMS, ask=ask, given=[given, torch.as_tensor(scores)], threshold=threshold)

    down, six, apart = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], boxes([(x, 0, x + 8, 5) for x in range(0, 12, 2)]), row(5)
    yield case("the first is better", boxes(PAIR), [0.9, 0.8])
    yield case("the second is better", boxes(PAIR), [0.8, 0.9])
    yield case("two of three", boxes([*PAIR, (30, 0, 38, 8)]), [0.7, 0.9, 0.8])
    yield case("a large overlap is allowed", boxes(PAIR), [0.8, 0.9], 0.9)
    yield case("apart", row(8), ranks(rng, 8))
    yield case("apart along both", boxes([(0, 0, 4, 4), (9, 9, 30, 30)]), [0.8, 0.9], 0.3)
    yield case("a row", six[:4], down[:4])
    yield case("a row, backwards", six[:4], down[3::-1])
    yield case("six in a row", six, down, 0.3)
    yield case("random", heap(rng, 30, 3.0), ranks(rng, 30), 0.3)
    yield case("random, lower", heap(rng, 30, 3.0), ranks(rng, 30), 0.1)
    yield case("negative scores", apart, ranks(rng, 5) - 2)
    yield case("the second is better, below 0", boxes(PAIR), [-3.0, -2.0])
    yield case("scores about 0", apart, torch.randperm(5, generator=rng) - 2.0)
    for quarter in (1, 2, 3):
        yield case(f"equal to {quarter}/4", boxes([(0, 0, 4, 1), (0, 0, quarter, 1)]), down[:2], quarter / 4)
    yield case("0: touching", boxes([(0, 0, 8, 8), (8, 0, 12, 9), (8, 8, 10, 10)]), down[:3], 0.0)
    yield case("0: overlapping", boxes([(0, 0, 8, 8), (7, 7, 20, 20)]), down[:2], 0)
    yield case("1: equal boxes", boxes(PAIR[:1] * 3), [0.8, 0.9, 0.7], 1)
    yield case("equal boxes", boxes(PAIR[:1] * 4), ranks(rng, 4))
    yield case("equal scores", apart, [0.5] * 5)
    yield case("equal scores, overlapping", boxes(PAIR), [0.5] * 2)
    yield case("many equal scores", row(100), randint(rng, 0, 3, 100).float())
    yield case("none", row(0), torch.zeros(0))
    yield case("one", row(1), ranks(rng, 1))
    yield case("points", boxes([(2, 2, 2, 2)] * 2), down[:2])
    yield case("points at 0", boxes([(2, 2, 2, 2), (0, 0, 8, 8), (2, 2, 2, 2)]), down[:3], 0.0)
    for dtype in (HALF, BRAIN, SINGLE):
        yield case(f"large, {dtype}", boxes([(0, 0, 300, 300), (0, 9, 300, 309)], dtype), down[:2])
        yield case(f"{dtype} scores", apart, ((1 + torch.randperm(5, generator=rng)) / 8).to(dtype))
        yield case(f"below 0.4, {dtype}", boxes(NEAR, dtype), down[:2], 0.4 - 1e-5)
        yield case(f"above 0.4, {dtype}", boxes(NEAR, dtype), down[:2], 0.4 + 1e-5)
    yield case("fine, float64", boxes([(0, 0, 1, 1), (0, 0, 0.5 + 2**-40, 1)], DOUBLE), down[:2])
    yield case("fine scores", row(2), torch.tensor([0.5, 0.5 + 2**-40], dtype=DOUBLE))
    for power in (-28, -10, 26):
        yield case(f"times 2^{power}", boxes(PAIR) * 2.0**power, down[:2])
    yield case("arguments", heap(rng, 6), ranks(rng, 6), 0.3, ask="arguments")
    yield case("cost", row(2).repeat(300, 1) + randint(rng, 0, 2, 600, 4), ranks(rng, 600), 0.2, ask="cost")
    yield from (case(name, torch.tensor(wrong), torch.zeros(len(wrong))) for name, wrong in WRONG_BOXES)
    yield from (case(f"scores {shape}", row(3), torch.zeros(shape)) for shape in WRONG_SCORES)
    yield from (case(f"threshold {t} of {n}", row(n), torch.zeros(n), t) for t in WRONG_THRESHOLDS for n in (3, 0))


def within_classes(rng):
    def case(name, given, scores, classes, threshold=0.5, ask="kept"):
        given = [given, torch.as_tensor(scores), torch.as_tensor(classes, dtype=torch.int64)]
        return Case(f"batched: {name}", of=BATCHED, ask=ask, given=given, threshold=threshold)

    twins, apart = boxes(PAIR[:1] * 4), row(6)
    yield case("other classes", boxes(PAIR), [0.8, 0.9], [0, 1])
    yield case("one class", boxes(PAIR), [0.8, 0.9], [1, 1])
    yield case("one of two", twins[:3], [0.7, 0.9, 0.8], [0, 1, 0])
    yield case("a row", boxes(ROW), [0.9, 0.8, 0.7, 0.6], [0, 0, 0, 0])
    yield case("joined by score", apart, ranks(rng, 6), [1, 0, 1, 0, 2, 2])
    yield case("negative scores", apart, ranks(rng, 6) - 3, [1, 0, 1, 0, 2, 2])
    yield case("random", heap(rng, 30, 2.0), ranks(rng, 30), randint(rng, 0, 3, 30), 0.3)
    yield case("equal scores", apart, [0.5] * 6, [2, 1, 0, 2, 1, 0])
    yield case("equal scores of one class", twins, [0.5] * 4, [0] * 4)
    yield case("none", row(0), torch.zeros(0), [])
    yield case("one", row(1), ranks(rng, 1), [7])
    yield case("the threshold 1", twins, [0.9, 0.8, 0.7, 0.6], [0, 0, 1, 1], 1)
    for name, labels in (
        ("negative", [-1, -1, 0, 0]),
        ("with gaps", [3, 900, 3, 900]),
        ("all different", [3, 1, 0, 2]),
    ):
        yield case(f"classes {name}", twins, [0.9, 0.8, 0.7, 0.6], labels)
    for name, low in (("below 0", -100), ("far below 0", -1000), ("above 0", 0)):
        corners = low + torch.tensor([0.0, 101, 0, 101])[:, None]
        yield case(f"boxes {name}", corners + torch.tensor([0, 0, 40, 40]), [0.9, 0.8, 0.7, 0.6], [1, 1, 0, 0])
    for dtype, step, low in ((SINGLE, 30, 4000), (HALF, 30, 240), (BRAIN, 30, 240), (SINGLE, 1, 40)):
        side = low + torch.tensor([(0, 0, 5.25, 5.25), (1, 0.75, 6.25, 6)]).repeat(40, 1) * (
            1 if dtype == SINGLE else 8
        )
        labels = step * torch.arange(40).repeat_interleave(2)
        yield case(f"40 classes {step} apart, {dtype}", side.to(dtype), ranks(rng, 80), labels, 0.54)
    yield case("arguments", heap(rng, 6), ranks(rng, 6), [0, 1, 0, 1, 1, 1], 0.3, ask="arguments")
    labels = torch.arange(600) % 2
    yield case("cost", row(2).repeat(300, 1) + randint(rng, 0, 2, 600, 4), ranks(rng, 600), labels, 0.2, ask="cost")
    yield from (case(n, torch.tensor(wrong), torch.zeros(len(wrong)), [0] * len(wrong)) for n, wrong in WRONG_BOXES)
    yield from (case(f"scores {shape}", row(3), torch.zeros(shape), [0] * 3) for shape in WRONG_SCORES)
    yield from (case(f"classes {shape}", row(3), torch.zeros(3), torch.zeros(shape)) for shape in WRONG_CLASSES)
    yield from (case(f"threshold {t} of {n}", row(n), [0.0] * n, [0] * n, t) for t in WRONG_THRESHOLDS for n in (3, 0))


def run(kata, case):
    given = [each.clone() for each in ((case.a, case.b) if case.of == IOU else case.given)]
    function = getattr(kata, case.of)
    options = () if case.of == IOU else (case.threshold,)
    if case.ask == "cost":
        return cost(function, given, options)
    got = function(*given, *options)
    if case.ask == "arguments":
        before = (case.a, case.b) if case.of == IOU else case.given
        return {"after": [Pairs(new, old) for new, old in zip(given, before, strict=True)]}
    if case.of != IOU:
        return {"kept": got}
    if case.ask == "dtype":
        return {"dtype": str(got.dtype), "coarse": got.half()}
    return {"iou": got.half() if case.ask == "coarse" else got.float() if case.ask == "digits" else got}


def cost(function, given, options):
    """Whether it loops where it should not, and whether it holds all pairs."""
    with measure() as few:
        function(*(each[:4] for each in given), *options)
    with measure() as spent:
        got = function(*given, *options)
    if not options:
        return {"loop": spent.operators > few.operators + 3, "shape": list(got.shape)}
    return {
        "loop": spent.operators > 100 * len(got) + 100,
        "pairs": spent.largest > 256 * len(given[0]),
        "kept": len(got),
    }
