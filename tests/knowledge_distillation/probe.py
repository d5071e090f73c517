"""What can be seen of distillation losses: values, words for values that depend on how it is written, gradients, costs."""

import torch

from dojo.testing import randint, randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

DISTIL, COMBINED = "distillation_loss", "combined_loss"
INF, NAN = float("inf"), float("nan")
HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
WRONG_SHAPES = [
    ([3, 5], [1, 5]),
    ([1, 5], [3, 5]),
    ([3, 5], [5]),
    ([3, 5], [3, 1]),
    ([2, 3, 5], [3, 5]),
    ([4, 3], [3, 4]),
]
WRONG_MASKS = [(2,), (4,), (2, 4, 1), (2, 4, 3), (4, 2), (1, 4), (2, 1), ()]
WRONG_TEMPERATURES = [0.0, -1.0, NAN, INF]
WRONG_DIRECTIONS = ["backward", "Forward", "", None]
WRONG_ALPHAS = [-0.1, 1.1, NAN]
WRONG_LABELS = [
    ((3, 5), (3, 1)),
    ((3, 5), (2,)),
    ((3, 5), ()),
    ((3, 5), (3, 5)),
    ((2, 3, 3), (2, 3)),
    ((2, 3, 3), (2,)),
]
MASK = torch.tensor([[1, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0]]).bool()


def cases(rng):
    yield from values(rng)
    yield from numerics(rng)
    yield from combinations(rng)


def case(rng, name, *shape, kind="value", of=DISTIL, dtypes=(DOUBLE, DOUBLE), hide=None, exclude="", **options):
    """`hide` stands where the mask is False. Class 1 is excluded by those whose initials are in `exclude`."""
    given = [(12 * randn(rng, *shape)).round() / 8 for _ in range(2)]  # exact in every dtype
    for logits, who in zip(given, "st", strict=True):
        if hide is not None:
            logits[~options["mask"]] = hide
        if who in exclude:
            logits[:, 1] = -INF
    student, teacher = (logits.to(dtype) for logits, dtype in zip(given, dtypes, strict=True))
    defaults = {"alpha": 0.3} if of == COMBINED else {}
    options = {"temperature": 1.0, **defaults, **options}
    labels = randint(rng, 0, shape[-1], *shape[:-1])
    return Case(f"{of[:7]}: {name}", of=of, kind=kind, given=[student, teacher], labels=labels, options=options)


def values(rng):
    yield case(rng, "rows", 3, 5)
    for temperature in (1.0, 0.5, 3.0):
        yield case(rng, f"one row, T={temperature}", 1, 5, temperature=temperature)
    yield case(rng, "one row, T=1, reverse", 1, 5, direction="reverse")
    yield case(rng, "one row, T=2, reverse", 1, 5, direction="reverse", temperature=2.0)
    yield case(rng, "one position", 6)
    for direction in ("forward", "reverse"):
        yield case(rng, f"tokens, {direction}", 2, 3, 7, direction=direction)
        yield case(rng, f"masked, {direction}", 3, 4, 5, mask=MASK, direction=direction)
    yield case(rng, "full mask", 2, 3, 5, mask=torch.ones(2, 3).bool())
    yield case(rng, "masked rows", 4, 5, mask=MASK[0])
    agree = case(rng, "agreeing", 3, 5)
    agree.given[1] = agree.given[0].clone()
    yield agree
    yield case(rng, "nothing counts", 2, 3, 5, mask=torch.zeros(2, 3).bool())
    yield case(rng, "no rows", 0, 5)
    for shapes in WRONG_SHAPES:
        wrong = case(rng, f"shapes {shapes}", 3, 5)
        wrong.given = [randn(rng, *shape) for shape in shapes]
        yield wrong
    for shape in WRONG_MASKS:
        yield case(rng, f"mask {[*shape]}", 2, 4, 3, mask=torch.ones(shape).bool())
    for temperature in WRONG_TEMPERATURES:
        yield case(rng, f"T={temperature}", 2, 3, temperature=temperature)
    for direction in WRONG_DIRECTIONS:
        yield case(rng, f"direction {direction!r}", 2, 3, direction=direction)


def numerics(rng):
    for direction in ("forward", "reverse"):
        who = {"direction": direction}
        for kind in ("value", "gradient"):
            yield case(
                rng,
                f"first excludes, {kind}, {direction}",
                3,
                4,
                exclude="ts"[direction == "reverse"],
                kind=kind,
                **who,
            )
            yield case(rng, f"both exclude, {kind}, {direction}", 3, 4, exclude="st", kind=kind, **who)
            for hide in (NAN, -INF):
                name = f"{hide} in the padding, {kind}, {direction}"
                yield case(rng, name, 3, 4, 5, mask=MASK, hide=hide, kind=kind, **who)
        yield case(rng, f"second excludes, {direction}", 3, 4, exclude="st"[direction == "reverse"], kind="word", **who)
        for dtype, temperature in ((HALF, 1.0), (HALF, 1 / 16), (SINGLE, 1.0), (DOUBLE, 1.0)):
            huge = case(
                rng, f"huge, T={temperature:g}, {dtype}, {direction}", 2, 2, kind="word", temperature=temperature, **who
            )
            huge.given = [(8192.0 * torch.eye(2)[order]).to(dtype) for order in ([0, 1], [1, 0])]
            yield huge
        yield case(rng, f"gradient of a row, {direction}", 1, 5, kind="gradient", **who)
        yield case(rng, f"gradient of tokens, T=2, {direction}", 2, 3, 5, kind="gradient", temperature=2.0, **who)
        yield case(rng, f"graphs, {direction}", 3, 5, kind="graphs", **who)
        yield case(rng, f"cost, {direction}", 3, 4, 200, kind="cost", dtypes=(SINGLE, SINGLE), **who)
    yield case(rng, "cost, masked", 3, 4, 200, kind="cost", dtypes=(SINGLE, SINGLE), mask=MASK | True)
    yield case(rng, "graphs, nothing counts", 2, 3, 5, kind="graphs", mask=torch.zeros(2, 3).bool())
    for dtypes in ((HALF, HALF), (BRAIN, BRAIN), (BRAIN, SINGLE), (SINGLE, BRAIN), (SINGLE, DOUBLE), (DOUBLE, SINGLE)):
        for kind in ("dtype", "digits"):
            yield case(rng, f"{kind} of {dtypes}", 3, 5, kind=kind, dtypes=dtypes, temperature=3.0)


def combinations(rng):
    def combined(name, *shape, **more):
        return case(rng, name, *shape, of=COMBINED, **more)

    for alpha, temperature in ((0.0, 1.0), (0.0, 3.0), (1.0, 1.0), (1.0, 3.0), (0.3, 1.0), (0.3, 2.0)):
        yield combined(f"alpha={alpha}, T={temperature}", 3, 5, alpha=alpha, temperature=temperature)
    agree = combined("agreeing, T=2", 3, 5, temperature=2.0)
    agree.given[1] = agree.given[0].clone()
    yield agree
    for alpha in (0.0, 0.4, 1.0):
        yield combined(f"gradient, alpha={alpha}", 3, 5, kind="gradient", alpha=alpha, temperature=2.0)
    yield combined("graphs", 3, 5, kind="graphs")
    for dtypes in ((HALF, HALF), (BRAIN, BRAIN), (SINGLE, DOUBLE)):
        for kind in ("dtype", "digits"):
            yield combined(f"{kind} of {dtypes}", 3, 5, kind=kind, dtypes=dtypes, temperature=3.0)
    yield combined("cost", 9, 200, kind="cost", dtypes=(SINGLE, SINGLE))
    for alpha in WRONG_ALPHAS:
        yield combined(f"wrong alpha {alpha}", 2, 3, alpha=alpha)
    yield combined("wrong T", 2, 3, temperature=-1.0)
    for logits, labels in WRONG_LABELS:
        wrong = combined(f"logits {logits}, labels {labels}", *logits)
        wrong.labels = torch.zeros(labels).long()
        yield wrong


def run(kata, case):
    def loss(student, teacher):
        labels = [case.labels] if case.of == COMBINED else []
        return getattr(kata, case.of)(student, teacher, *labels, **case.options)

    student, teacher = given = [logits.clone() for logits in case.given]
    if case.kind == "dtype":
        return {"dtype": str(getattr(loss(*given), "dtype", None))}
    if case.kind == "digits":
        return {"digits": bool((loss(*given) - loss(student.double(), teacher.double())).abs() < 1e-4)}
    if case.kind == "word":
        got = loss(*given)
        return {"loss": "NaN" if got.isnan() else "inf" if got.isinf() else "large" if got > 400 else "small"}
    if case.kind == "gradient":
        got = loss(student.requires_grad_(), teacher)
        return {"gradient": finite(torch.autograd.grad(got, student)[0]) if got.requires_grad else "none"}
    if case.kind == "graphs":
        leaves = [logits.requires_grad_() for logits in given]
        free = [leaf * 1 for leaf in leaves]  # no leaves, so that changing them is no error
        got = loss(*free)
        after = [Pairs(a.detach(), b) for a, b in zip(free, case.given, strict=True)]
        slopes = torch.autograd.grad(got, leaves, allow_unused=True) if got.requires_grad else (None, None)
        moved = [slope is not None and bool(slope.any()) for slope in slopes]
        return {"graph": got.requires_grad, "moved": moved, "after": after, "kept": free[1].requires_grad}
    if case.kind == "cost":
        with measure() as spent:
            loss(*given)
        return {"lean": spent.bytes <= 30 * student.nbytes, "loop": spent.operators > 40}
    return {"loss": finite(loss(*given))}


def finite(value):
    """The value, or a word if it has an infinity or NaN: which of them, and where, depends on how it is written."""
    return value if not isinstance(value, torch.Tensor) or value.isfinite().all() else "not finite"
