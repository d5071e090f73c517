"""What can be seen of overlaps and of suppression: numbers, indices, dtypes, refusals, and what they cost."""

import torch

from dojo.testing import randint, randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

FORBIDDEN = ("torchvision.ops",)
HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
WRONG_BOXES = {f"boxes of shape {shape}": torch.zeros(shape) for shape in ((4,), (2, 5), (2, 2), (2, 1, 4), (4, 1))}
WRONG_BOXES |= {f"the box {c}": torch.tensor([(0.0, 0, 4, 4), c]) for c in ((5, 1, 4, 6), (1, 6, 5, 4), (5, 6, 1, 2))}
WRONG_SCORES = WRONG_CLASSES = [(2,), (4,), (3, 1), (1,), (1, 3), ()]
WRONG_THRESHOLDS = [-0.1, 1.5, 50.0, float("nan")]
BOX, PAIR, DOWN = [(0, 0, 8, 8)], [(0, 0, 8, 8), (0, 1, 8, 9)], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
APART = {"along x": [(9, 2, 12, 7)], "along y": [(3, 9, 6, 13)], "along both": [(9, 10, 14, 12), (-9, -8, -6, -4)]}
TOUCHING = {"an edge": [(8, 1, 11, 5)], "an edge below": [(2, 8, 6, 12)], "a corner": [(8, 8, 10, 13)]}
POINTS, LARGE, NEAR = [(2, 2, 2, 2)] * 2, [(0, 0, 300, 300), (0, 9, 300, 309)], [(0, 0, 93, 85), (0, 0, 93, 34)]


def cases(rng):
    yield from (case for part in (overlaps, suppressions, within_classes) for case in part(rng))


def boxes(rows, dtype=SINGLE):
    return torch.tensor(rows, dtype=DOUBLE).reshape(-1, 4).to(dtype)


def heap(rng, n, spread=1.0, dtype=SINGLE):
    """Boxes about one place: their sides are at least 6, and with a spread of 1 all overlap."""
    middle, half = spread * randn(rng, n, 2).clamp(-1.5, 1.5), 2 + 2 * randn(rng, n, 2).sigmoid()
    return torch.cat([middle - half, middle + half], 1).to(dtype)


def row(n):
    return 20 * torch.arange(n)[:, None] + torch.tensor([0.0, 0, 8, 9])


def crowd(rng):
    return row(1).repeat(260, 1) + randint(rng, 0, 2, 260, 4)


def ranks(rng, n):
    return (1 + torch.randperm(n, generator=rng)) / (n + 1)


def overlaps(rng):
    def case(name, a, b, ask="iou"):
        return Case(f"iou: {name}", of="box_iou", ask=ask, given=[a, b], options=[])

    for n, m in ((1, 1), (3, 5), (4, 4), (1, 3), (3, 1), (0, 3), (3, 0), (0, 0)):
        yield case(f"{n} x {m}", heap(rng, n), heap(rng, m))
    for kind in (APART, TOUCHING, {"nested": [(2, 3, 4, 7), (1, 4, 8, 5)], "itself": BOX}):
        yield from (case(name, boxes(BOX), boxes(other)) for name, other in kind.items())
    yield case("points", boxes(POINTS), boxes([*POINTS, (5, 5, 5, 5)]))
    for dtype in (HALF, BRAIN, SINGLE, DOUBLE):
        yield case(f"the dtype of {dtype}", heap(rng, 2, dtype=dtype), heap(rng, 3, dtype=dtype), ask="dtype")
    for dtype in (HALF, BRAIN):
        yield case(f"large, {dtype}", boxes(LARGE, dtype), boxes([(0, 100, 300, 400)], dtype), ask="coarse")
        yield case(f"digits, {dtype}", boxes(NEAR[:1], dtype), boxes(NEAR[1:], dtype), ask="digits")
    wide = boxes([(-49152, -2, 49152, 2)], HALF)
    yield case("wide, float16", wide, boxes([(-49152, 0, 0, 2), (0, -2, 49152, 2)], HALF), ask="coarse")
    fine = 2.0**29 + boxes([(0, 0, 0.5, 1), (0.25, 0, 0.5, 0.5)], DOUBLE)
    yield case("far, float64", fine, fine, ask="digits")
    yield from (case(f"times 2^{p}", heap(rng, 2) * 2.0**p, boxes(BOX) * 2.0**p, "coarse") for p in (-28, 26))
    yield case("arguments", heap(rng, 2), heap(rng, 3), ask="arguments")
    yield case("loop", heap(rng, 150), heap(rng, 3), ask="loop")
    yield from (case(f"a: {name}", wrong, heap(rng, 2)) for name, wrong in WRONG_BOXES.items())
    yield from (case(f"b: {name}", heap(rng, 2), wrong) for name, wrong in [*WRONG_BOXES.items()][1::2])


def suppressions(rng):
    def case(name, given, scores, threshold=0.5, ask="kept"):
        return Case(f"nms: {name}", of="nms", ask=ask, given=[given, torch.as_tensor(scores)], options=[threshold])

    four, apart = boxes([(x, 0, x + 8, 5) for x in range(0, 8, 2)]), row(5)
    yield from (case(f"scores {s}", boxes(PAIR), s) for s in ([0.9, 0.8], [0.8, 0.9], [-3.0, -2.0]))
    yield case("a large overlap is allowed", boxes(PAIR), [0.8, 0.9], 0.9)
    yield from (case(f"apart, from {low}", apart, ranks(rng, 5) - low) for low in (0, 2, 0.5))
    yield case("a row", four, DOWN[:4])
    yield case("a row, backwards", four, DOWN[3::-1])
    yield from (case(f"random at {t}", heap(rng, 12, 2.0), ranks(rng, 12), t) for t in (0.1, 0.3))
    yield from (case(f"equal to {t}", boxes([(0, 0, 4, 1), (0, 0, 4 * t, 1)]), DOWN[:2], t) for t in (0.25, 0.5, 0.75))
    yield case("0: touching", boxes(BOX + TOUCHING["an edge"]), DOWN[:2], 0.0)
    yield case("0: overlapping", boxes([*BOX, (7, 7, 20, 20)]), DOWN[:2], 0)
    yield from (case(f"equal boxes at {t}", boxes(BOX * 3), [0.8, 0.9, 0.7], t) for t in (0.5, 1))
    yield case("equal scores", apart, [0.5] * 5)
    yield case("many equal scores", row(24), randint(rng, 0, 3, 24).float())
    yield from (case(f"{n} boxes", row(n), ranks(rng, n)) for n in (0, 1))
    yield case("110 boxes", row(110), ranks(rng, 110))
    yield from (case(f"a point and a box at {t}", boxes([*POINTS[:1], *BOX]), DOWN[:2], t) for t in (0.5, 0.0))
    for dtype in (HALF, BRAIN, SINGLE):
        yield case(f"large, {dtype}", boxes(LARGE, dtype), DOWN[:2])
        yield case(f"{dtype} scores", apart, ((1 + torch.randperm(5, generator=rng)) / 8).to(dtype))
        yield from (case(f"0.4 at {t}, {dtype}", boxes(NEAR, dtype), DOWN[:2], t) for t in (0.39999, 0.40001))
    yield case("fine, float64", boxes([(0, 0, 1, 1), (0, 0, 0.5 + 2**-40, 1)], DOUBLE), DOWN[:2])
    yield case("fine scores", row(2), torch.tensor([0.5, 0.5 + 2**-40], dtype=DOUBLE))
    yield from (case(f"times 2^{power}", boxes(PAIR) * 2.0**power, DOWN[:2]) for power in (-28, 26))
    yield case("arguments", heap(rng, 6), ranks(rng, 6), 0.3, ask="arguments")
    yield from (case(ask, crowd(rng), ranks(rng, 260), 0.2, ask) for ask in ("loop", "pairs"))
    yield from (case(name, wrong, torch.zeros(len(wrong))) for name, wrong in [*WRONG_BOXES.items()][1::2])
    yield from (case(f"scores {shape}", row(3), torch.zeros(shape)) for shape in WRONG_SCORES)
    yield from (case(f"threshold {t}", row(3), torch.zeros(3), t) for t in WRONG_THRESHOLDS)
    yield case("threshold 1.5 of none", row(0), torch.zeros(0), 1.5)


def within_classes(rng):
    def case(name, given, scores, classes, threshold=0.5, ask="kept"):
        given = [given, torch.as_tensor(scores), torch.as_tensor(classes, dtype=torch.int64)]
        return Case(f"batched: {name}", of="batched_nms", ask=ask, given=given, options=[threshold])

    yield from (case(f"a pair of {two}", boxes(PAIR), [0.8, 0.9], two) for two in ([0, 1], [1, 1], [1, 0]))
    yield case("a row", boxes([(x, 0, x + 8, 5) for x in range(0, 8, 2)]), DOWN[:4], [0] * 4)
    yield from (case(f"apart, from {low}", row(6), ranks(rng, 6) - low, [1, 0, 1, 0, 2, 2]) for low in (0, 3))
    yield case("random", heap(rng, 14), ranks(rng, 14), randint(rng, 0, 2, 14), 0.3)
    yield case("equal scores", row(6), [0.5] * 6, [2, 1, 0, 2, 1, 0])
    yield from (case(f"{n} boxes", row(n), ranks(rng, n), [7] * n) for n in (0, 1))
    for labels in ([-1, -1, 0, 0], [3, 900, 3, 900], [3, 1, 0, 2]):
        yield case(f"the classes {labels}", boxes(BOX * 4), DOWN[:4], labels)
    for low in (-100, -1000, 0):
        corners = torch.tensor([low, low + 60, 19])[:, None] + torch.tensor([0.0, 0, 40, 40])
        yield case(f"boxes from {low}", corners, DOWN[:3], [1, 0, 0])
    for label, at, unit, dtype in ((1200, 4000, 1 / 32, SINGLE), (39, 240, 1 / 8, HALF), (2, 40, 1 / 32, SINGLE)):
        small = at + unit * torch.tensor([1.0, 1, 2, 3])  # two equal boxes
        given = torch.stack([torch.tensor([0.0, 0, 9, 9]), small, small]).to(dtype)
        yield case(f"class {label} at {at}, {dtype}", given, DOWN[:3], [0, label, label])
    huge = boxes([(0, 0, 1, 1), (0, 0, 1, 0.9375), (0.5, 0, 1, 1), (0, 0, 2.0**28, 2.0**28)])
    yield case("a huge box of a lower class", huge, DOWN[:4], [1, 1, 1, 0], 0.625)
    yield case("110 boxes", row(110), ranks(rng, 110), [3] * 110)
    yield case("arguments", heap(rng, 6), ranks(rng, 6), [4, 6, 4, 6, 6, 6], 0.3, ask="arguments")
    yield from (case(t, crowd(rng), ranks(rng, 260), [3] * 260, 0.2, t) for t in ("loop", "pairs"))
    yield from (case(n, x, [0.0] * len(x), [0] * len(x)) for n, x in [*WRONG_BOXES.items()][1::2])
    yield from (case(f"scores {shape}", row(3), torch.zeros(shape), [0] * 3) for shape in WRONG_SCORES[:3])
    yield from (case(f"classes {shape}", row(3), torch.zeros(3), torch.zeros(shape)) for shape in WRONG_CLASSES)
    yield from (case(f"threshold {t}", row(3), [0.0] * 3, [0] * 3, t) for t in WRONG_THRESHOLDS)
    yield case("threshold 1.5 of none", row(0), [], [], 1.5)


def run(kata, case):
    given, function = [each.clone() for each in case.given], getattr(kata, case.of)
    got = function(*given, *case.options)
    if case.ask == "arguments":
        return {"after": [Pairs(new, old) for new, old in zip(given, case.given, strict=True)]}
    loop = case.ask == "loop"  # whether it takes steps for pairs or dropped boxes; "pairs": whether it holds all pairs
    if loop or case.ask == "pairs":
        most = 100 * len(got) + 100 if case.options else 100
        with measure() as spent:
            _ = most < 500 and function(*given, *case.options)
        return {"length": len(got), "over": spent.operators > most if loop else spent.largest > 256 * 260}
    if case.ask == "dtype":
        return {"dtype": str(got.dtype)}
    return {"result": got.half() if case.ask == "coarse" else got.float() if case.ask == "digits" else got}
