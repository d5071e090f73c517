"""What can be seen of targets, conversions, weights and the loss. Of an image function: the weights of its two images, each
alone. Everything else (shapes, dtypes, digits, ends, gradients) is seen apart from the formula: a function is compared with
what it says itself of single rows, or in float64."""

import torch

from dojo.testing import randn
from dojo.testing.probes import Case, Pairs
from dojo.testing.sampling import uniform

IMAGES = TARGET, TO_X0, TO_EPS = "prediction_target", "to_x0", "to_eps"
WEIGHT, LOSS, TERMINAL = "loss_weight", "weighted_loss", "zero_terminal_snr"
HALF, BRAIN, _, DOUBLE = DTYPES = torch.float16, torch.bfloat16, torch.float32, torch.float64
INF, KINDS, OTHER_KINDS = float("inf"), ("v", "eps", "x0"), ("epsilon", "velocity", "V", "e", "")
# What is computed, and the abar among 1 and 0 at which it is defined.
COMPUTED = {"prediction_target v": [1, 0], "to_x0 v": [1, 0], "to_eps v": [1, 0], "to_x0 eps": [1], "to_eps x0": [0]}
T = torch.tensor([0, 5, 3, 1, 4, 3])
SHAPES = [(6,), (6, 1), (6, 6), (6, 2, 3), (6, 3, 4, 5), (6, 2, 1, 3, 2)]
WRONG_SHAPES, WRONG_VECTORS = [(4, 1), (1, 3), (3,), (4, 3, 1), (3, 4)], [(1,), (4, 1), (), (4, 3), (3,)]


def numbers(*values):
    return torch.tensor(values, dtype=DOUBLE)


def cases(rng):
    six = (1 - numbers(0.1, 0.3, 0.2, 0.4, 0.6, 0.5) + uniform(rng, -0.05, 0.05, 6)).cumprod(0)
    for each in (*(images(rng, of, six) for of in IMAGES), weights(rng), losses(rng), schedules(rng, six)):
        yield from each


def images(rng, of, six):
    def case(see, kind, name="", shape=(6,), abar=six, t=T, dtype=DOUBLE, other=None):
        a, b = (3 * randn(rng, *each).to(dtype) for each in (shape, other or shape))
        a, b = (a, 0 * b) if see == "first" else (0 * a, b) if see == "second" else (a, b)
        return Case(f"{of} {kind}: {see} {name}", of=of, see=see, given=[a, b, t, abar, kind])

    fine, three, limits = numbers(0.9999, 0.9998, 0.9997), torch.arange(3), numbers(1e-18, 1 - 2**-40)
    for kind in KINDS:
        yield from (case(see, kind) for see in ("first", "second", "slope", "after"))
        yield from (case("refusal", kind, f"{other}", (4, 3), t=T[:4], other=other) for other in WRONG_SHAPES)
        yield from (case("refusal", kind, f"t {shape}", (4, 3), t=torch.zeros(shape).long()) for shape in WRONG_VECTORS)
    for kind, ends in ((kind, COMPUTED[f"{of} {kind}"]) for kind in KINDS if f"{of} {kind}" in COMPUTED):
        yield from (case("rows", kind, f"{shape}", shape) for shape in SHAPES)
        yield from (case("dtype", kind, f"{dtype}", dtype=dtype) for dtype in DTYPES)
        yield from (case("digits", kind, f"{dtype}", (3,), fine, three, dtype) for dtype in (HALF, BRAIN))
        yield from (case(see, kind, "tiny", (2,), limits, three[:2]) for see in ("first", "second"))
        given = (len(ends),), numbers(*ends), three[: len(ends)]
        yield from (case(see, kind, "at the ends", *given) for see in ("finite", "slope"))
        yield case("refusal", kind, "where it is not defined", (2,), numbers(0, 1), three[:2])
    yield from (case("refusal", kind) for kind in OTHER_KINDS)


def weights(rng):
    def case(see, kind, name, abar, gamma, t=None, dtype=DOUBLE):
        t = torch.arange(len(abar)) if t is None else t
        name, given = f"weight of {kind}: {see} {name} {gamma}", [t, abar.to(dtype), kind, gamma]
        return Case(name, of=WEIGHT, see=see, given=given)

    mixed = uniform(rng, 0.1, 0.9, 6)
    for kind in ("x0", "v", "eps"):
        for low, high, gamma in ((0.7, 0.9, 2.0), (0.1, 0.6, 2.0), (0.1, 0.9, INF), (0.85, 0.95, None)):
            yield case("weight", kind, f"to {high}", uniform(rng, low, high, 4), gamma)
        yield from (case("weight", kind, "in noise", torch.zeros(2).double(), gamma) for gamma in (0.5, 3.0, INF))
        yield from (case("weight", kind, f"at {end}", numbers(end), 5.0) for end in (1e-20, 1 - 2**-20))
        for dtype in DTYPES:
            yield from (case("dtype", kind, f"{dtype}", mixed, gamma, T, dtype) for gamma in (1.0, None))
            yield case("digits", kind, f"{dtype}", mixed, 1.0, T, dtype)
        yield from (case(see, kind, "", mixed, 1.0, T) for see in ("rows", "after"))
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
    close = 1 + 2.0**-40 * uniform(rng, 1, 2, 1)
    yield Case("loss: of close numbers", of=LOSS, see="scaled", given=[close, one[:1], one[:1]])
    yield from (case(see, "", (2, 3), uniform(rng, 0.2, 4, 2)) for see in ("slope", "after"))
    yield from (case("refusal", f"{other}", (4, 3), one, other=other) for other in WRONG_SHAPES)
    yield from (case("refusal", f"weight {shape}", (4, 3), torch.ones(shape).double()) for shape in WRONG_VECTORS)


def schedules(rng, six):
    given = [(see, six) for see in ("ends in 0", "start", "between", "after", "shared")]
    given += [(see, six.to(dtype)) for dtype in DTYPES for see in ("dtype", "digits")]
    given += [("refusal", six[:0]), ("refusal", six[:1]), ("schedule", six[1::3])]
    given += [("scaled", torch.cat([six, six[-1:] * 0.9999]))]  # near the end float32 has few digits left
    yield from (Case(f"{see}, {len(x)}, {x.dtype}", of=TERMINAL, see=see, given=[x]) for see, x in given)


def run(kata, case):
    function, given = getattr(kata, case.of), [x.clone() if isinstance(x, torch.Tensor) else x for x in case.given]
    if case.see in ("rows", "digits", "slope"):
        return {case.see: globals()[case.see](function, given)}
    got, pairs = function(*given), [x for x in zip(given, case.given, strict=True) if isinstance(x[0], torch.Tensor)]
    looks = {
        "dtype": lambda: str(got.dtype),
        "finite": lambda: got.isfinite(),
        "after": lambda: [Pairs(*pair) for pair in pairs],
        "scaled": lambda: got * 2.0**80,
        "ends in 0": lambda: bool(got[-1] == 0),
        "start": lambda: got[:1] / given[0][:1],
        "between": lambda: got[1:-1],
        "shared": lambda: got.untyped_storage().data_ptr() == given[0].untyped_storage().data_ptr(),
        "refusal": lambda: False,
    }
    return {case.see: looks.get(case.see, lambda: got)()}


def rows(function, given):
    """Whether the rows of a batch have what each has alone. A loss is the mean of what its samples have."""
    own = 1 if len(given) == 4 else 3
    each = [function(*(x[i : i + 1] for x in given[:own]), *given[own:]) for i in range(6)]
    got, right = function(*given), torch.cat(each) if each[0].dim() else torch.stack(each).mean()
    return got.shape == right.shape and torch.allclose(got, right)


def digits(function, given):
    """Whether it is with few digits what it is in float64 for the same numbers. Of images each is tried alone."""
    alone = [[given[0], 0 * given[1], *given[2:]], [0 * given[0], *given[1:]]] if len(given) == 5 else [given]
    wide = [[x.double() if torch.is_tensor(x) and x.is_floating_point() else x for x in each] for each in alone]
    rtol = {5: 3e-2, 1: 0.55 * torch.finfo(given[1 % len(given)].dtype).eps}.get(len(given), 1e-4)
    pairs = [[function(*few).double(), function(*many).double()] for few, many in zip(alone, wide, strict=True)]
    return [torch.allclose(*pair, rtol, atol=1e-6 if len(given) == 1 else 1e-9) for pair in pairs]


def slope(function, given):
    """Of images, by which there is a gradient, and whether it is finite. Of the loss, the gradient."""
    leaves = [each.requires_grad_() for each in given[:2]]
    got = function(leaves[0] * 1, leaves[1] * 1, *given[2:])
    total = got.sum() if got.requires_grad else sum(leaves).sum() * 0
    slopes = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
    return slopes[0] if len(given) == 3 else [[bool(each.any()), bool(each.isfinite().all())] for each in slopes]
