"""What can be seen of masks, advantages, estimates and losses. Each case asks one question, so that two mistakes in one
answer show in different cases."""

import math
from itertools import product

import torch

from dojo.testing import randint, randn
from dojo.testing.cost import measure
from dojo.testing.evidence import copied, gradients, refused, unchanged
from dojo.testing.probes import Case

HALF, BRAIN, SINGLE, DOUBLE, NAN = torch.float16, torch.bfloat16, torch.float32, torch.float64, float("nan")
WRONG_GROUPS = [(4, 1), (3, 1), (6, 4), (5, 2), (3, 6), (4, 0)]
WRONG_SHAPES = [("advantages", shape) for shape in ((3, 1), (1,), (1, 3), (3, 3))]
WRONG_SHAPES += [(name, shape) for name in ("old_log_probs", "mask", "reference") for shape in ((3, 1), (1, 3), (3,))]
WRONG_OPTIONS = [{"beta": -0.1}, {"beta": NAN}, {"beta": 0.1, "reference": None}]
WRONG_OPTIONS += [{"clip_low": wrong} for wrong in (0.0, 1.0, -0.2, NAN)]
WRONG_OPTIONS += [{"clip_high": wrong} for wrong in (0.0, -0.2, NAN)]
WRONG_OPTIONS += [{"reduction": "mean"}, {"reduction": "Token"}, {"reduction": "sum", "max_length": 5}]
WRONG_OPTIONS += [{"reduction": "constant", "max_length": wrong} for wrong in (None, 0, -3)]
REDUCTIONS = [{"reduction": "sequence"}, {"reduction": "token"}, {"reduction": "constant", "max_length": 9}]
# A point is any token, a letter an id of EOS, - and 0 are padding; a space is between two rows.
MASKS = ["..a..", "a...", "...a", "....", "..a. .a.. a...", "..a. ....", "..aaa", "..a--", "..a00", ".a.a.", ". a"]
MASKS += ["..b.", "..c.", ".a.b.", ".b.a."]
TOKENS = {"a": 2, "b": 9, "c": 7, "-": -100, "0": 0}


def given_for(**shapes):
    """Arguments of grpo_loss for 3 rows of 3 tokens, but for these shapes."""
    names = ("log_probs", "old_log_probs", "advantages", "mask", "reference")
    ones = {name: torch.ones(shapes.get(name, (3,) if name == "advantages" else (3, 3))) for name in names}
    return ones | {"mask": ones["mask"].bool()}


def cases(rng):
    for see, rows in [*(("", rows) for rows in MASKS), *((see, ".a..") for see in ("dtype", "after", "cost"))]:
        tokens = torch.tensor([[TOKENS.get(place, 1) for place in row] for row in rows.split(" ")])
        tokens = torch.where(tokens == 1, randint(rng, 10, 50, *tokens.shape), tokens)
        given = [tokens, [2, 9, 7] if {*rows} & {*"bc"} else [2]]
        yield Case(f"mask, {rows} {see}", see=see, of="completion_mask", given=given, options={})
    tokens = torch.where(torch.arange(6) == randint(rng, 0, 6, 8, 1), 2, randint(rng, 10, 50, 8, 6))
    yield Case("mask, EOS anywhere", see="", of="completion_mask", given=[tokens, [2]], options={})
    yield from groups(rng)
    yield from estimates(rng)
    yield from losses(rng)


def groups(rng):
    def case(name, count, size, dtype=DOUBLE, spread=1.0, shift=0.0, see="", **options):
        given = [(spread * randn(rng, count) + shift).to(dtype), size]
        return Case(f"advantages, {name}", see=see or name, of="group_advantages", given=given, options=options)

    yield case("one group", 5, 5, eps=1e-4)
    yield case("three groups", 12, 4, eps=1e-4)
    yield case("large eps", 4, 4, eps=0.5)
    yield case("default eps", 3, 3, spread=1e-4)
    yield case("equal rewards", 4, 4, spread=0.0, shift=2.0, eps=1e-4)
    yield case("unscaled", 5, 5, scale=False, eps=0.5)
    yield case("three groups, unscaled", 12, 4, scale=False)
    for dtype in (HALF, BRAIN, DOUBLE):
        yield case(f"dtype of {dtype}", 4, 4, dtype, see="dtype")
        yield case(f"digits of {dtype}", 5, 5, dtype, eps=1e-4)
    yield case("large float16", 4, 4, HALF, 100.0, 3e4, eps=1e-4)
    yield case("float32 far from 0", 8, 4, SINGLE, shift=4096.0, see="digits")
    for see in ("graph", "after", "cost"):
        yield case(see, 6, 2)
    for count, size in WRONG_GROUPS:
        yield case(f"{count} in groups of {size}", count, size, see="refused")


def estimates(rng):
    def case(name, kind, shape=(3,), values=None, dtype=DOUBLE, see="", other=None):
        given = [-2 + randn(rng, *shape), -2 + randn(rng, *(other or shape))]
        given = given if values is None else [torch.full(shape, value) for value in values]
        given = [*(each.to(dtype) for each in given), kind]
        return Case(f"{kind}, {name}", see=see or name, of="kl_estimate", given=given, options={})

    for kind in ("k1", "k2", "k3"):
        yield case("vector", kind)
        yield case("matrix", kind, (2, 3))
        for see in ("gradient of 0", "gradient of 1", "after"):
            yield case(see, kind)
        for dtype in (HALF, BRAIN, DOUBLE):
            yield case(f"dtype of {dtype}", kind, dtype=dtype, see="dtype")
            yield case(f"differences in {dtype}", kind, values=(-8.0, -(2.0**-9)), dtype=dtype)
        yield case("far apart", kind, (1,), (-26.0, -1.0), see="grows")
        for other in ((3, 1), (1,)):
            yield case(f"reference {other}", kind, other=other, see="refused")
    yield case("another kind", "k4", see="refused")


def losses(rng):
    def case(name, shape=(1, 1), lengths=None, ratio=None, A=None, near=None, dtype=DOUBLE, see="", **options):
        old = -2 - torch.rand(shape, generator=rng).double()
        new = old + (0.5 * randn(rng, *shape) if ratio is None else math.log(ratio))
        advantages = randn(rng, shape[0]) if A is None else A * (1 + torch.rand(shape[0], generator=rng).double())
        mask = torch.arange(shape[1]) < torch.tensor(lengths or [shape[1]] * shape[0])[:, None]
        if near is not None:
            options = {"reference": (new + near * (1 + torch.rand(shape, generator=rng))).to(dtype)} | options
        given = [*(each.to(dtype) for each in (new, old, advantages)), mask]
        return Case(f"loss, {name}", see=see or name, of="grpo_loss", given=given, options=options)

    for ratio, A in product((1.5, 1.1, 0.6), (1.0, -1.0)):
        yield case(f"ratio {ratio}, A {A}", ratio=ratio, A=A)
        yield case(f"gradient at ratio {ratio}, A {A}", ratio=ratio, A=A, see="gradient of 0")
    yield case("far apart", ratio=math.exp(25), A=-1.0, see="grows")
    for ratio, A in ((1.3, 1.0), (1.5, 1.0), (0.85, -1.0), (0.5, -1.0)):
        yield case(f"two clips, {ratio}", ratio=ratio, A=A, clip_low=0.1, clip_high=0.4)
    yield case("rows", (3, 2))
    yield case("on policy", (3, 2), ratio=1.0)
    yield case("itself", (3, 2), ratio=1.0)
    for near in (0.6, -0.6):
        yield case(f"k3 of {near}", ratio=1.0, A=1.0, near=near, beta=0.3)
        yield case(f"gradient of k3 of {near}", ratio=1.0, A=0.0, near=near, beta=0.3, see="gradient of 0")
    yield case("k3 of a clipped token", ratio=2.0, A=1.0, near=0.5, beta=0.3)
    yield case("beta 0", ratio=1.0, A=1.0, near=0.5)
    for options in REDUCTIONS:
        name = options["reduction"]
        yield case(f"{name}, lengths", (3, 6), [1, 5, 3], ratio=1.0, **options)
        yield case(f"{name}, k3, lengths", (2, 4), [1, 3], ratio=1.0, A=0.0, near=0.6, beta=0.3, **options)
        yield case(f"{name}, an empty row", (3, 4), [2, 0, 3], ratio=1.0, **options)
        yield case(f"{name}, nothing", (2, 3), [0, 0], ratio=1.0, **options)
        yield case(f"{name}, nothing, graph", (2, 3), [0, 0], ratio=1.0, see="graph", **options)
        yield case(f"{name}, after", (2, 3), [2, 3], near=0.5, beta=0.3, see="after", **options)
    yield case("default reduction", (3, 6), [1, 5, 3], ratio=1.0)
    yield case("token, one token", (2, 3), [0, 1], ratio=1.0, reduction="token")
    holes = case("holes", (2, 5), ratio=1.0)
    holes.given[0] += 0.1 * torch.rand(2, 5, generator=rng)
    holes.given[3][:, 1::2] = False
    yield holes
    for place, number, see in product((0, 1, "reference"), (NAN, -math.inf, 1e4), ("finite", "finite gradient")):
        hidden = case(f"{number} in {place}, {see}", (2, 3), [2, 1], 1.0, near=0.5, beta=0.3, see=see)
        (hidden.options if place == "reference" else hidden.given)[place][~hidden.given[3]] = number
        yield hidden
    for place in (1, 2, "reference"):
        yield case(f"gradient of {place}", (2, 3), [2, 3], near=0.5, beta=0.3)
    for dtype in (HALF, BRAIN, DOUBLE):
        yield case(f"dtype of {dtype}", (2, 3), dtype=dtype, see="dtype")
        half = case(f"differences in {dtype}", A=-1.0, dtype=dtype)
        half.given[0][:], half.given[1][:] = -(2.0**-9), -8.0
        yield half
        half = case(f"float32 advantages beside {dtype}", dtype=dtype)
        half.given[:3] = half.given[1], half.given[1].clone(), torch.full((1,), 1 + 2**-12)
        yield half
    for options in WRONG_OPTIONS:
        yield case(f"with {options}", (3, 3), **({"near": 0.5} | options), see="refused")
    for name, shape in WRONG_SHAPES:
        *given, reference = given_for(**{name: shape}).values()
        options = {"reference": reference, "beta": 0.5}
        yield Case(f"loss, {name} {shape}", see="refused", of="grpo_loss", given=given, options=options)
    yield case("cost", (2, 3))


def run(kata, case):
    function, given, names = getattr(kata, case.of), copied(case.given), [*case.options]
    more = copied([*case.options.values()])

    def call(first=given[0]):
        return function(first, *given[1:], **dict(zip(names, more, strict=True)))

    if case.see == "refused":
        return {"refused": refused(call)}
    if case.see == "cost":
        return costs(function, given)
    if case.see.startswith(("gradient", "graph", "finite", "itself")):
        given[1] = given[0] if case.see == "itself" else given[1]
        leaves = {name: each for name, each in [*enumerate(given), *zip(names, more, strict=True)] if is_float(each)}
        for leaf in leaves.values():
            leaf.requires_grad_()
    got, (kind, _, place) = call(), case.see.partition(" of ")
    if kind in ("gradient", "finite gradient", "itself"):
        slope = gradients(got, [leaves[int(place or 0) if place != "reference" else place]])
        if kind == "finite gradient":
            return {"finite": slope == "no graph" or bool(slope[0].isfinite().all())}
        if place in ("", "0"):
            return {"gradient": slope if slope == "no graph" else tidy(slope[0])}
        return {"gradient": slope != "no graph" and bool(slope[0].any())}
    if kind == "after":
        return {"after": unchanged([*given, *more], [*case.given, *case.options.values()]), "value": tidy(got)}
    if kind == "grows":
        return {"grows": bool((call(given[0] + (1 if case.of == "grpo_loss" else -1)).abs() > got.abs()).all())}
    if kind == "digits":
        return {"near": torch.allclose(got.double(), call(given[0].double()), rtol=0, atol=1e-2)}
    seen = {"dtype": lambda: str(got.dtype), "graph": lambda: got.requires_grad, "finite": lambda: bool(got.isfinite())}
    return {kind: seen.get(kind, lambda: tidy(got))()}


def is_float(value):
    return torch.is_tensor(value) and value.is_floating_point()


def tidy(value):
    """What is seen of a result in every case: a dtype, and which numbers are not finite, show in cases of their own."""
    if not torch.is_tensor(value):
        return "no tensor"
    if not value.is_floating_point():
        return value.bool()
    if value.dtype in (HALF, BRAIN):
        return "narrow"
    return value.float() if value.isfinite().all() else "not finite"


def costs(function, given):
    """Whether operators grow with the size, and whether bytes grow with its square."""
    with measure() as few:
        function(*given)
    large = [each.repeat(*[5, 300][: each.dim()]) if torch.is_tensor(each) else each for each in given]
    with measure() as spent:
        function(*large)
    return {"loop": spent.operators > few.operators + 3, "square": spent.bytes > 150 * large[0].nbytes}
