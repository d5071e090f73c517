"""What can be seen of rotary embeddings: frequencies, turned vectors and their dtypes, gradients, reordered rows, bytes."""

import torch

from dojo.testing import measure, randint, randn
from dojo.testing.probes import Case

WRONG = {
    "odd": (7, {}),
    "no pair": (0, {}),
    "base 0": (8, {"base": 0.0}),
    "factor": (8, {"scaling": "linear", "factor": 0.5}),
    "factor without scaling": (8, {"factor": 0.5}),
    "scaling": (8, {"scaling": "yarn", "factor": 2.0}),
}


def speeds(rng, half):
    """Frequencies of no particular order."""
    return 0.1 + torch.rand(half, generator=rng, dtype=torch.float64)


def cases(rng):
    for dim in (2, 6, 16):
        base = 2.0 + 1000 * float(torch.rand(1, generator=rng))
        yield Case(f"frequencies of {dim}", of="inverse_frequencies", dim=dim, options={"base": base})
        for scaling in ("none", "linear", "ntk"):
            options = {"base": base, "scaling": scaling, "factor": 1.0 + float(torch.rand(1, generator=rng))}
            yield Case(f"frequencies of {dim}, {scaling}", of="inverse_frequencies", dim=dim, options=options)
    yield Case("frequencies by default", of="inverse_frequencies", dim=8, options={})
    for name, (dim, options) in WRONG.items():
        yield Case(f"frequencies: {name}", of="inverse_frequencies", dim=dim, options=options)
    for interleaved in (False, True):
        how = "interleaved" if interleaved else "half-split"

        def case(name, shape, half, positions, dtype=torch.float64, how=how, interleaved=interleaved):
            x = randn(rng, *shape, dtype=dtype)
            given = {"x": x, "positions": positions, "frequencies": speeds(rng, half), "interleaved": interleaved}
            return Case(f"{how}: {name}", of="rotate", **given)

        yield case("a prompt", (2, 5, 6), 3, torch.arange(5))
        yield case("one pair", (4, 2), 1, torch.arange(4))
        yield case("at 0", (2, 4), 2, torch.zeros(2, dtype=torch.int64))
        yield case("any positions", (2, 3, 3, 6), 3, randint(rng, 1, 40, 3))
        yield case("rows of their own", (3, 2, 3, 6), 3, randint(rng, 1, 40, 3, 1, 3))
        yield case("tokens of their own", (2, 3, 4), 2, randint(rng, 1, 40, 2, 3))
        yield case("negative", (4, 6), 3, -randint(rng, 1, 40, 4))
        yield case("partial", (2, 3, 8), 2, randint(rng, 1, 40, 3))
        yield case("partial, one pair", (3, 8), 1, randint(rng, 1, 40, 3))
        yield case("too many", (3, 4), 3, torch.arange(3))
        for dtype in (torch.float16, torch.bfloat16, torch.float32):
            yield case(f"{dtype}", (3, 8), 4, randint(rng, 2000, 4000, 3), dtype)
        yield case("partial in bfloat16", (3, 8), 2, randint(rng, 1, 40, 3), torch.bfloat16)
        narrow = case("frequencies in bfloat16", (3, 6), 3, randint(rng, 257, 4000, 3), torch.float32)
        narrow.frequencies = narrow.frequencies.bfloat16()
        yield narrow
        yield case("cost", (2, 16, 64, 32), 16, torch.arange(64), torch.float32)
    for of in ("to_half_split", "to_interleaved"):
        for rows, heads in ((8, 1), (16, 2), (24, 3)):
            yield Case(f"{of}, {rows} rows, {heads} heads", of=of, weight=randn(rng, rows, 2), heads=heads)
        yield Case(f"{of} of a bias", of=of, weight=randn(rng, 12, dtype=torch.bfloat16), heads=2)
        for rows, heads in ((12, 5), (6, 2), (8, 0), (8, -2)):
            yield Case(f"{of}: {rows} rows, {heads} heads", of=of, weight=randn(rng, rows, 2), heads=heads)


def run(kata, case):
    if case.of == "inverse_frequencies":
        found = kata.inverse_frequencies(case.dim, **case.options)
        return {"at 1": found, "at a million": (1e6 * found).cos(), "dtype": str(found.dtype)}
    if case.of != "rotate":
        weight = case.weight.clone()
        return {"weight": getattr(kata, case.of)(weight, case.heads), "weight after": weight}
    x, positions = case.x.clone().requires_grad_(), case.positions.clone()
    with measure() as spent:
        found = kata.rotate(x, positions, case.frequencies, interleaved=case.interleaved)
    if "cost" in case.name:
        return {"few bytes": spent.bytes <= 16 * x.nbytes, "turned": rounded(found)}
    evidence = {"turned": rounded(found), "dtype": str(found.dtype), "x after": x.detach()}
    if found.dtype == torch.float64:
        found.sum().backward()
        evidence["gradient"] = rounded(x.grad)
    return evidence


def rounded(found):
    """float32 angles are as right as float64 ones, and products in a half dtype as in a wider one. The sum keeps numbers
    near zero from being compared more exactly than others."""
    halves = found.element_size() == 2
    return (found.detach().double() + (4 if halves else 1)).to(torch.bfloat16 if halves else torch.float16)
