"""What can be seen of activations and their gradients: values, tails, limits, roundings, and what they do to arguments."""

import math

import torch

from dojo.testing import randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

FORBIDDEN = (
    "relu", "relu_", "relu6", "sigmoid", "sigmoid_", "silu", "silu_", "gelu", "gelu_", "softplus", "logsigmoid",
    "log_sigmoid", "log_sigmoid_forward", "threshold", "threshold_", "leaky_relu", "leaky_relu_", "prelu", "rrelu",
    "elu", "celu", "selu", "glu", "mish", "hardtanh", "hardtanh_", "expit", "special_expit", "threshold_backward",
    "sigmoid_backward", "silu_backward", "gelu_backward", "softplus_backward", "torch.nn", "torch.autograd", "torch.func",
)  # fmt: skip
WRONG_SHAPES = [
    ((3,), (1,)),
    ((1,), (3,)),
    ((3,), (3, 1)),
    ((2, 3), (3,)),
    ((2, 3), (3, 2)),
    ((6,), (2, 3)),
    ((), (1,)),
]
WRONG_OPTIONS = ["Tanh", "erf", "", None, True]
HALF, BRAIN, SINGLE, DOUBLE, INF = torch.float16, torch.bfloat16, torch.float32, torch.float64, math.inf
KEEP_OUT, KEEP_X, GATED = ("relu", "sigmoid", "softplus"), ("silu", "gelu", "tanh gelu"), ("swiglu", "swiglu_backward")
LEFT = {"gelu": (6.0, 7.0, 8.5, 10.0), "tanh gelu": (5.25, 6.0, 7.0, 8.0)}  # how far the left tail is, and for others:
OTHERS = (25.0, 35.0, 50.0, 65.0)
EIGHTHS = torch.cat([torch.arange(-32, -15), torch.arange(1, 65)]).double() / 8  # away from where slopes cross zero


def cases(rng):
    for name in (*KEEP_OUT, *KEEP_X):
        yield from forward(name, rng)
        yield from backward(name, rng)
    for name in GATED:
        yield from gated(name, rng)


def case(name, kind, *given, look="values", **options):
    """`given` are the tensors of one call; `look` says what of its results is evidence."""
    options = {"approximate": "tanh"} if name.startswith("tanh") else options
    return Case(f"{name}: {kind}", of=name.removeprefix("tanh "), given=[*given], look=look, options=options)


def numbers(*values, dtype=DOUBLE):
    return torch.tensor(values, dtype=dtype)


def some(rng, *shape):
    return 2 * randn(rng, 1, *shape)[0]


def tail(name, rng, dtype):
    return -(numbers(*LEFT.get(name, OTHERS)) + torch.rand(4, generator=rng) / 8).to(dtype)


def forward(name, rng):
    yield case(name, "values", some(rng, 6))
    yield case(name, "large", 7 + some(rng, 3).abs())
    yield case(name, "zero", numbers(0, -0.0), look="size")
    for dtype in (SINGLE, DOUBLE):
        if name != "relu":
            yield case(name, f"left, {dtype}", tail(name, rng, dtype), look="logs")
        for sign in (1, -1):
            yield case(name, f"huge, {sign}, {dtype}", sign * numbers(200, 1e4, 1e38, dtype=dtype), look="size")
    for value in (INF, -INF, math.nan):
        yield case(name, str(value), numbers(value), look="size")
    if name == "softplus":
        yield case(name, "far right", 20.5 + torch.rand(3, generator=rng).double(), look="beyond")
    yield from shared(name, rng, lambda *shape: [some(rng, *shape)], [EIGHTHS])


def backward(name, rng):
    def kept(*shape):
        """A result, or x. No function is used that the kata forbids."""
        x = some(rng, *shape)
        return {"relu": x.clamp(min=0), "sigmoid": 1 / (1 + x.exp()), "softplus": x.exp().log1p()}.get(name, x)

    of, three = name + "_backward", torch.full((4,), 3.0).double()
    yield case(of, "values", some(rng, 6), kept(6))
    yield case(of, "ones", three / 3, kept(4))
    yield case(of, "negative", -some(rng, 5).abs(), 0.1 + kept(5).abs() % 0.8)
    yield case(of, "zero", three[:2], numbers(0, -0.0))
    for dtype in (SINGLE, DOUBLE):
        left = tail(name, rng, dtype)
        yield case(of, f"left, {dtype}", three.to(dtype), left.exp() if name in KEEP_OUT else left, look="logs")
        huge = (0.0, 1.0, 1.0) if name == "sigmoid" else (200.0, 1e4, 1e38)
        for sign in (1, -1) if name in KEEP_X else (1,):
            yield case(of, f"huge, {sign}, {dtype}", three[:3].to(dtype), sign * numbers(*huge, dtype=dtype))
    for value in {"relu": (INF,), "sigmoid": (0, 1), "softplus": (INF,)}.get(name, (INF, -INF)):
        yield case(of, f"at {value}", three[:1], numbers(float(value)))
    for one, other in WRONG_SHAPES[:5]:
        yield case(of, f"grad {list(one)}, kept {list(other)}", some(rng, *one), kept(*other))
    x = {"relu": EIGHTHS.clamp(min=0), "sigmoid": EIGHTHS.abs() / 9, "softplus": EIGHTHS.abs()}.get(name, EIGHTHS)
    yield from shared(of, rng, lambda *shape: [some(rng, *shape), kept(*shape)], [randn(rng, len(x)), x])


def gated(name, rng):
    where = len(name) // 15  # of the gate: behind grad
    count = 2 + where

    def given(gate, *shape, dtype=DOUBLE):
        each = [(some(rng, *shape) if shape else 1.5 + torch.rand(2, generator=rng)).to(dtype) for _ in range(count)]
        return [*each[:where], each[where] if gate is None else gate.to(dtype), *each[where + 1 :]]

    yield case(name, "values", *given(None, 6))
    for dtype in (SINGLE, DOUBLE):
        yield case(name, f"zero, {dtype}", *given(numbers(0, 0), dtype=dtype))
        yield case(name, f"huge, {dtype}", *given(numbers(1e4, -1e4), dtype=dtype))
        yield case(name, f"left, {dtype}", *given(numbers(-25.5, -40), dtype=dtype), look="logs")
    large = [numbers(-12 if where else -20) if place == where else numbers(2048) for place in range(count)]
    yield case(name, "small times large", *(each.to(HALF) for each in large), look="logs")
    for one, other in WRONG_SHAPES[:4]:
        for at in range(count):
            each = [some(rng, *(other if place == at else one)) for place in range(count)]
            yield case(name, f"shapes {list(one)}, at {at} {list(other)}", *each)
    yield from shared(name, rng, lambda *shape: given(None, *shape), given(EIGHTHS, len(EIGHTHS)))


def shared(name, rng, inputs, halves):
    """What is asked of every function alike."""
    yield case(name, "a number", *(each[0] for each in inputs(1)))
    yield case(name, "nothing", *inputs(0, 3))
    yield case(name, "transposed", *(each.T for each in inputs(2, 3)))
    yield case(name, "arguments", *(each.abs() + 0.1 for each in inputs(3)), look="arguments")
    for dtype in (HALF, BRAIN):
        yield case(name, f"in {dtype}", *(each.to(dtype) for each in halves), look="rounded")
        yield case(name, f"a number in {dtype}", *(each[0].to(dtype) for each in inputs(1)), look="dtype")
    yield case(name, "cost", *(each.float() for each in inputs(40, 4)), look="cost")
    for option in ("none", *WRONG_OPTIONS) if name in ("gelu", "gelu_backward") else ():
        yield case(name, f"approximate={option!r}", *inputs(3), approximate=option)


def run(kata, case):
    given, looks = (
        [each.clone() for each in case.given],
        {"logs": logs, "size": torch.abs, "dtype": lambda y: str(y.dtype)},
    )

    def call(*given):
        with torch.inference_mode():
            got = getattr(kata, case.of)(*given, **case.options)
        return [*got] if isinstance(got, tuple | list) else [got]

    if case.look == "cost":
        with measure() as few:
            call(*(each[:3] for each in given))
        with measure() as spent:
            call(*given)
        return {"loop": spent.operators > few.operators, "large": spent.largest > 2 * given[0].numel()}
    got = call(*given)
    if case.look == "arguments":
        memory = {each.untyped_storage().data_ptr() for each in given}
        mine = [each.untyped_storage().data_ptr() in memory for each in got]
        return {"after": [Pairs(a, b) for a, b in zip(given, case.given, strict=True)], "mine": mine}
    if case.look == "rounded":
        wide = call(*(each.double() for each in case.given))
        return {
            "results": got,
            "rounded once": [bool((units(y, z) <= 0.75).all()) for y, z in zip(got, wide, strict=True)],
        }
    if case.look == "beyond":
        return {"results": [1e6 * (y - case.given[0]) for y in got]}
    return {"results": [looks.get(case.look, torch.clone)(y) for y in got]}


def logs(y):
    """The size of numbers that are small, so that a digit of each counts, and the signs."""
    return torch.stack([y.double().abs().log(), y.sign().double()]).float()


def units(y, wide):
    """How far y is from the result in float64, in units in the last place of its dtype."""
    about = torch.finfo(y.dtype)
    return (y.double() - wide).abs() / (
        torch.exp2(wide.frexp().exponent - 1.0).clamp(min=about.smallest_normal) * about.eps
    )
