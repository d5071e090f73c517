"""What can be seen of targets, conversions, weights and the loss. Of an image function: the weights of its two images, each
alone. Everything else (shapes, dtypes, digits, ends, gradients) is seen apart from the formula: a function is compared with
what it says itself of single rows, or in float64."""

import torch

from dojo.testing import randn
from dojo.testing.probes import Case, Pairs

IMAGES = TARGET, TO_X0, TO_EPS = "prediction_target", "to_x0", "to_eps"
WEIGHT, LOSS, TERMINAL = "loss_weight", "weighted_loss", "zero_terminal_snr"
HALF, BRAIN, SINGLE, DOUBLE = DTYPES = torch.float16, torch.bfloat16, torch.float32, torch.float64
INF, KINDS, OTHER_KINDS = float("inf"), ("v", "eps", "x0"), ("epsilon", "velocity", "V", "e", "")
# What is computed, and at which ends it is defined.
COMPUTED = {
    (TARGET, "v"): [1, 0],
    (TO_X0, "v"): [1, 0],
    (TO_EPS, "v"): [1, 0],
    (TO_X0, "eps"): [1],
    (TO_EPS, "x0"): [0],
}
T = torch.tensor([0, 5, 3, 1, 4, 3])
SHAPES = [(6,), (6, 1), (6, 6), (6, 2, 3), (6, 3, 4, 5)]
WRONG_SHAPES, WRONG_VECTORS = [(4, 1), (1, 3), (3,), (4, 3, 1), (3, 4)], [(1,), (4, 1), (), (4, 3), (3,)]


def numbers(*values):
    return torch.tensor(values, dtype=DOUBLE)


def uniform(rng, low, high, *shape):
    return low + (high - low) * torch.rand(*shape, generator=rng, dtype=DOUBLE)


def cases(rng):
    six = (1 - numbers(0.1, 0.3, 0.2, 0.4, 0.6, 0.5) + uniform(rng, -0.05, 0.05, 6)).cumprod(0)
    for of in IMAGES:
        yield from images(rng, of, six)
    yield from weights(rng)
    yield from losses(rng)
    yield from schedules(rng, six)


def images(rng, of, six):
    def case(see, kind, name="", shape=(6,), abar=six, t=T, dtype=DOUBLE, other=None):
        a, b = (3 * randn(rng, *each).to(dtype) for each in (shape, other or shape))
        return Case(f"{of} {kind}: {see} {name}", of=of, see=see, given=[a, b, t, abar, kind])

    for kind in KINDS:
        yield from (case(see, kind) for see in ("first", "second"))
    for kind in (kind for kind in KINDS if (of, kind) in COMPUTED):
        yield from (case("rows", kind, f"{shape}", shape) for shape in SHAPES)
        yield from (case("dtype", kind, f"{dtype}", dtype=dtype) for dtype in DTYPES)
        fine, t = 1 - 1e-4 * torch.arange(1.0, 4.0).double(), torch.arange(3)
        yield from (case("digits", kind, f"{dtype}", (3,), fine, t, dtype) for dtype in (HALF, BRAIN))
        yield from (case(see, kind, "tiny", (2,), numbers(1e-12, 1 - 2**-20), T[[0, 3]]) for see in ("first", "second"))
        ends = COMPUTED[of, kind]
        yield from (
            case(see, kind, "at the ends", (len(ends),), numbers(*ends), t[: len(ends)]) for see in ("finite", "slope")
        )
        yield case("raises", kind, "where it is not defined", (2,), numbers(0, 1), t[:2])
    yield from (case(see, kind) for kind in KINDS for see in ("slope", "after"))
    for kind in KINDS:
        yield from (case("refusal", kind, f"{other}", (4, 3), t=T[:4], other=other) for other in WRONG_SHAPES)
        yield from (case("refusal", kind, f"t {shape}", (4, 3), t=torch.zeros(shape).long()) for shape in WRONG_VECTORS)
    yield from (case("refusal", kind) for kind in OTHER_KINDS)


def weights(rng):
    def case(see, kind, name, abar, gamma, t=None, dtype=DOUBLE):
        t = torch.arange(len(abar)) if t is None else t
        return Case(
            f"weight of {kind}: {see} {name} {gamma}", of=WEIGHT, see=see, given=[t, abar.to(dtype), kind, gamma]
        )

    mixed = uniform(rng, 0.1, 0.9, 6)
    for kind in ("x0", "v", "eps"):
        yield case("weight", kind, "above", uniform(rng, 0.7, 0.95, 4), 2.0)
        yield case("weight", kind, "below", uniform(rng, 0.1, 0.6, 4), 2.0)
        yield from (case("weight", kind, "", uniform(rng, 0.1, 0.9, 4), gamma) for gamma in (INF, None))
        yield from (case("weight", kind, "in noise", torch.zeros(2).double(), gamma) for gamma in (0.5, 3.0, INF))
        yield from (case("weight", kind, f"at {end}", numbers(end), 5.0) for end in (1e-20, 1 - 2**-20))
        yield case("table", kind, "", mixed, 1.0, T)
        yield from (
            case("dtype", kind, f"{dtype}", mixed, gamma, T, dtype) for dtype in DTYPES for gamma in (1.0, None)
        )
        yield from (case("digits", kind, f"{dtype}", mixed, 1.0, T, dtype) for dtype in (HALF, BRAIN, SINGLE))
        yield case("after", kind, "", mixed, 1.0, T)
        yield from (case("refusal", kind, "", mixed, gamma, T) for gamma in (0.0, -1.0, float("nan")))
    yield from (case("refusal", kind, "", mixed, gamma, T) for kind in OTHER_KINDS for gamma in (None, 5.0))


def losses(rng):
    def case(see, name, shape, weight, dtype=DOUBLE, scale=3.0, other=None):
        a, b = ((scale * randn(rng, *each)).to(dtype) for each in (shape, other or shape))
        return Case(f"loss: {see} {name}", of=LOSS, see=see, given=[a, b, weight])

    one = torch.ones(4).double()
    yield from (case("loss", f"unweighted {shape}", shape, one[: shape[0]]) for shape in ((1, 1), (1, 4), (3, 4)))
    yield from (case("loss", f"{shape}", shape, uniform(rng, 2, 4, shape[0])) for shape in ((1, 4), (3, 4), (4, 4)))
    yield from (case("rows", f"{shape}", shape, uniform(rng, 0.2, 4, 6)) for shape in SHAPES)
    for dtype in DTYPES:
        yield from (case("dtype", f"{dtype}, {of}", (3, 4), one[:3].to(of), dtype) for of in DTYPES)
        yield case("digits", f"{dtype}", (3, 40), one[:3], dtype)
    yield from (case("digits", f"huge {dtype}", (2, 3), one[:2], dtype, 2e4) for dtype in (HALF, BRAIN))
    close = case("scaled", "of close numbers", (1, 4), one[:1])
    close.given[:2] = 1 + 2.0**-40 * close.given[0], torch.ones(1, 4).double()
    yield close
    yield from (case(see, "", (2, 3), uniform(rng, 0.2, 4, 2)) for see in ("slope", "after"))
    yield from (case("refusal", f"{other}", (4, 3), one, other=other) for other in WRONG_SHAPES)
    yield from (case("refusal", f"weight {shape}", (4, 3), torch.ones(shape).double()) for shape in WRONG_VECTORS)


def schedules(rng, six):
    def case(see, abar, name="", dtype=DOUBLE):
        return Case(f"schedule: {see} {name}", of=TERMINAL, see=see, given=[abar.to(dtype)])

    yield from (case(see, six) for see in ("end", "start", "between", "after", "shared"))
    yield case("schedule", uniform(rng, 0.3, 0.9, 2).sort(descending=True)[0], "of two")
    yield from (case(see, six, f"{dtype}", dtype) for dtype in DTYPES for see in ("dtype", "digits"))
    yield from (case("refusal", six[:steps], f"{steps}") for steps in (0, 1))


def run(kata, case):
    function, given = getattr(kata, case.of), [x.clone() if isinstance(x, torch.Tensor) else x for x in case.given]
    if case.see in SEEN:
        return {case.see: SEEN[case.see](function, given)}
    got = function(*given)
    seen = {
        "dtype": lambda: str(got.dtype),
        "finite": lambda: got.isfinite(),
        "after": lambda: [Pairs(a, b) for a, b in zip(given, case.given, strict=True) if isinstance(a, torch.Tensor)],
        "scaled": lambda: got * 2.0**80,
        "end": lambda: got[-1:],
        "start": lambda: got[:1] / given[0][:1],
        "between": lambda: got[1:-1],
        "shared": lambda: got.untyped_storage().data_ptr() == given[0].untyped_storage().data_ptr(),
        "raises": lambda: False,
        "refusal": lambda: False,
    }
    return {case.see: seen.get(case.see, lambda: got)()}


def rows(function, given):
    """Whether the rows of a batch have what each has alone. A loss is the mean of what its samples have."""
    each = [function(*(x[i : i + 1] if n < 3 else x for n, x in enumerate(given))) for i in range(6)]
    got, right = function(*given), torch.cat(each) if each[0].dim() else torch.stack(each).mean()
    return got.shape == right.shape and torch.allclose(got, right)


def digits(function, given):
    """Whether it is with few digits what it is in float64 for the same numbers. Of images each is tried alone."""
    images = len(given) == 5
    each = [[given[0], 0 * given[1], *given[2:]], [0 * given[0], *given[1:]]] if images else [given]
    wide = [[x.double() if isinstance(x, torch.Tensor) and x.is_floating_point() else x for x in some] for some in each]
    rtol, atol = (3e-2, 1e-9) if images else (1e-4, 1e-9)
    if len(given) == 1:
        rtol, atol = 0.55 * torch.finfo(given[0].dtype).eps, 1e-6
    return [torch.allclose(*(function(*x).double() for x in both), rtol, atol) for both in zip(each, wide, strict=True)]


def slope(function, given):
    """Of images, by which there is a gradient, and whether it is finite. Of the loss, the gradient."""
    leaves = [each.requires_grad_() for each in given[:2]]
    got = function(leaves[0] * 1, leaves[1] * 1, *given[2:])
    if not got.requires_grad:
        return "none"
    slopes = torch.autograd.grad(got.sum(), leaves, allow_unused=True, materialize_grads=True)
    return slopes[0] if len(given) == 3 else [[bool(each.any()), bool(each.isfinite().all())] for each in slopes]


SEEN = {
    "first": lambda function, given: function(given[0], 0 * given[1], *given[2:]),
    "second": lambda function, given: function(0 * given[0], *given[1:]),
    "table": lambda function, given: torch.allclose(function(*given), function(torch.arange(6), *given[1:])[given[0]]),
    "rows": rows,
    "digits": digits,
    "slope": slope,
}
