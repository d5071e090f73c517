"""What can be seen of distillation losses: values, words for values that depend on how it is written, gradients, costs."""

import torch

from dojo.testing import randint, randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case

DISTIL, COMBINED = "distillation_loss", "combined_loss"
INF, NAN = float("inf"), float("nan")
HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
WRONG_SHAPES = [([3, 5], [1, 5]), ([1, 5], [3, 5]), ([3, 5], [5]), ([2, 3, 5], [3, 5]), ([4, 3], [3, 4])]
WRONG_MASKS = [(2,), (4,), (2, 4, 1), (2, 4, 3), (4, 2), (1, 4), (2, 1), ()]
WRONG_TEMPERATURES = [0.0, -1.0, NAN, INF]
WRONG_DIRECTIONS = ["backward", "Forward", "", None]
WRONG_ALPHAS = [-0.1, 1.1, NAN]
WRONG_LABELS = [((3, 5), (3, 1)), ((3, 5), (2,)), ((3, 5), ()), ((2, 3, 3), (2, 3)), ((2, 3, 3), (2,))]
MASK = torch.tensor([[1, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0]]).bool()
PAIRS = [(HALF, HALF), (BRAIN, BRAIN), (BRAIN, SINGLE), (SINGLE, BRAIN), (SINGLE, DOUBLE), (DOUBLE, SINGLE)]
SINGLES = {"kind": "cost", "dtypes": (SINGLE, SINGLE)}


def case(rng, name, *shape, kind="value", of=DISTIL, dtypes=(DOUBLE, DOUBLE), hide=None, exclude="", **more):
    """`hide` stands where the mask is False. Class 1 is excluded by those whose initials are in `exclude`."""
    given = [(20 if kind == "digits" else 1.5) * randn(rng, *shape) for _ in range(2)]
    for i, logits in enumerate(given):
        if hide is not None:
            logits[~more["mask"]] = hide
        if "st"[i] in exclude:
            logits[:, 1] = -INF
        given[i] = given[0].clone() if name.startswith("agreeing") else logits.to(dtypes[i])
    fields = {"given": given, "labels": [randint(rng, 0, shape[-1], *shape[:-1])] if of == COMBINED else []}
    fields |= {key: more.pop(key) for key in fields if key in more}
    options = {"temperature": 1.0, **({"alpha": 0.3} if of == COMBINED else {}), **more}
    return Case(f"{of[:7]}: {name}", of=of, kind=kind, options=options, **fields)


def cases(rng):
    yield case(rng, "rows", 3, 5)
    yield case(rng, "exact", 3, 5, kind="exact", temperature=3.0)
    yield case(rng, "agreeing", 3, 5)
    yield case(rng, "one position", 6)
    for kind in ("value", "graphs"):
        yield case(rng, f"{kind}, nothing counts", 2, 3, 5, kind=kind, mask=torch.zeros(2, 3).bool())
    yield case(rng, "strided", 3, 4, 5, given=[randn(rng, 4, 3, 5).transpose(0, 1) for _ in range(2)])
    yield case(rng, "cost, masked", 3, 20, 50, mask=torch.ones(3, 20).bool(), **SINGLES)
    for direction, first, second in (("forward", "t", "s"), ("reverse", "s", "t")):
        yield from both_ways(rng, first, second, direction=direction)
    yield from dtypes(rng, PAIRS, of=DISTIL)
    wrong = [{"temperature": t} for t in WRONG_TEMPERATURES] + [{"direction": d} for d in WRONG_DIRECTIONS]
    for options in wrong + [{"mask": torch.ones(shape).bool()} for shape in WRONG_MASKS]:
        name = " ".join(f"{key}={getattr(value, 'shape', value)}" for key, value in options.items())
        yield case(rng, name, 2, 4, 3, kind="wrong", **options)
    for shapes in WRONG_SHAPES:
        yield case(rng, f"shapes {shapes}", 3, 5, kind="wrong", given=[randn(rng, *shape) for shape in shapes])
    yield from combinations(rng)


def both_ways(rng, first, second, **way):
    direction = way["direction"]
    for kind in ("value", "gradient"):
        name = f"{kind}, {direction}"
        yield case(rng, f"one row, {name}", 1, 5, kind=kind, **way)
        yield case(rng, f"one row, T=3, {name}", 1, 5, kind=kind, temperature=3.0, **way)
        yield case(rng, f"tokens, {name}", 2, 3, 5, kind=kind, **way)
        yield case(rng, f"masked, {name}", 3, 4, 5, kind=kind, mask=MASK, **way)
        yield case(rng, f"first excludes, {name}", 3, 4, kind=kind, exclude=first, **way)
        yield case(rng, f"both exclude, {name}", 3, 4, kind=kind, exclude="st", **way)
        for hide in (NAN, -INF):
            yield case(rng, f"{hide} in the padding, {name}", 3, 4, 5, kind=kind, mask=MASK, hide=hide, **way)
    yield case(rng, f"second excludes, {direction}", 3, 4, kind="size", exclude=second, **way)
    for dtype, temperature in ((HALF, 1.0), (HALF, 1 / 16), (SINGLE, 1.0), (DOUBLE, 1.0)):
        name, given = f"huge, T={temperature:g}, {dtype}, {direction}", [[0, 8192.0], [8192.0, 0]]
        given = [torch.tensor(logits).to(dtype) for logits in given]
        yield case(rng, name, 2, kind="size", temperature=temperature, given=given, **way)
    for kind in ("graphs", "touched"):
        yield case(rng, f"{kind}, {direction}", 3, 5, kind=kind, temperature=2.0, **way)
    yield case(rng, f"cost, {direction}", 3, 20, 50, **SINGLES, **way)


def dtypes(rng, pairs, **of):
    for pair in pairs:
        for kind, T in (("dtype", 3.0), ("digits", 3.0), ("digits", 2.0)):  # a quotient by 2 is exact
            yield case(rng, f"{kind} of {pair}, T={T}", 3, 5, kind=kind, dtypes=pair, temperature=T, **of)


def combinations(rng):
    for alpha, temperature in ((0.0, 3.0), (1.0, 3.0), (0.3, 1.0), (0.3, 2.0), (0.7, 1.0), (0.7, 3.0)):
        for kind in ("value", "gradient"):
            options = {"alpha": alpha, "temperature": temperature, "kind": kind}
            yield case(rng, str(options), 3, 5, **options, of=COMBINED)
    yield case(rng, "agreeing, T=2", 3, 5, temperature=2.0, of=COMBINED)
    yield case(rng, "graphs", 3, 5, kind="graphs", of=COMBINED)
    yield case(rng, "cost", 60, 50, **SINGLES, of=COMBINED)
    yield from dtypes(rng, [(HALF, HALF), (BRAIN, BRAIN), (SINGLE, DOUBLE)], of=COMBINED)
    for options in [{"temperature": -1.0}, *({"alpha": alpha} for alpha in WRONG_ALPHAS)]:
        yield case(rng, f"wrong {options}", 2, 3, kind="wrong", **options, of=COMBINED)
    for logits, shape in WRONG_LABELS:
        labels = [torch.zeros(shape).long()]
        yield case(rng, f"logits {logits}, labels {shape}", *logits, kind="wrong", labels=labels, of=COMBINED)


def run(kata, case):
    try:
        return look(kata, case)
    except Exception as error:  # of what other kind, and from where, depends on how it is written
        if isinstance(error, NotImplementedError) or (case.kind != "wrong" and not isinstance(error, ValueError)):
            raise
        return {"refused": isinstance(error, ValueError)}


def look(kata, case):
    def loss(student, teacher):
        return getattr(kata, case.of)(student, teacher, *case.labels, **case.options)

    student, teacher = given = [logits.clone() for logits in case.given]
    if case.kind in ("graphs", "touched", "gradient"):
        leaves = [logits.requires_grad_(case.kind != "gradient" or logits is student) for logits in given]
        free = [leaf * 1 for leaf in leaves]  # no leaves, so that changing them is no error
        got = loss(*free)
        if case.kind == "touched":
            changed = [not torch.equal(a, b) for a, b in zip(free, case.given, strict=True)]
            return {"changed": changed, "cut off": [not each.requires_grad for each in free]}
        wanted = leaves if case.kind == "graphs" else leaves[:1]
        slopes = torch.autograd.grad(got, wanted, allow_unused=True) if got.requires_grad else ()
        if case.kind == "gradient":
            return {"gradient": [finite(slope) for slope in slopes]}
        return {"graph": got.requires_grad, "moved": [slope is not None and bool(slope.any()) for slope in slopes]}
    if case.kind == "digits":
        return {"digits": bool((loss(*given) - loss(student.double(), teacher.double())).abs() < 1e-4)}
    if case.kind == "cost":
        with measure() as soft:
            kata.distillation_loss(*given, 1.0)
        with measure() as spent:
            loss(*given)
        most = soft.bytes + 8 * student.nbytes if case.of == COMBINED else 45 * student.nbytes
        return {"lean": spent.bytes <= most, "far more": spent.bytes > 4 * most, "loop": spent.operators > 60}
    got = loss(*given)
    if case.kind == "dtype":
        return {"dtype": str(getattr(got, "dtype", None))}
    if case.kind == "wrong":
        return {"refused": False}
    if case.kind == "size":
        return {"finite": bool(got.isfinite().all()), "large": bool((got > 400).all())}
    return {"loss": "several" if getattr(got, "ndim", 0) else got if case.kind == "exact" else finite(got)}


def finite(value):
    """The value in float32, or a word if it has an infinity or NaN: which of them depends on how it is written."""
    return value if not isinstance(value, torch.Tensor) else value.float() if value.isfinite().all() else "not finite"
