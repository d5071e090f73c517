"""What can be seen of activations and their gradients: values, tails, limits, roundings, and what they do to arguments."""

import math

import torch

from dojo.testing import randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

FORBIDDEN = (
    "relu", "relu_", "relu6", "sigmoid", "sigmoid_", "silu", "silu_", "gelu", "gelu_", "softplus", "logsigmoid", "mish",
    "log_sigmoid", "log_sigmoid_forward", "threshold", "threshold_", "leaky_relu", "prelu", "rrelu", "expit", "special_expit",
    "threshold_backward", "sigmoid_backward", "silu_backward", "gelu_backward", "softplus_backward", "log_sigmoid_backward",
    "torch.nn", "torch.autograd", "torch.func",
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
OTHERS, CUT = (40.0, 45.0, 50.0, 65.0), (200.0, 1e4, 1e38)
HALF, BRAIN, SINGLE, DOUBLE, INF = torch.float16, torch.bfloat16, torch.float32, torch.float64, math.inf
KEEP_OUT, KEEP_X = ("relu", "sigmoid", "softplus"), ("silu", "gelu", "tanh gelu")
LEFT = {"gelu": (8.75, 9.25, 9.75, 10.25), "tanh gelu": (7.25, 7.5, 7.75, 8.0)}  # how far out; all others:
EIGHTHS = torch.cat([torch.arange(-32, -15), torch.arange(1, 65)]).double() / 8  # away from where slopes cross zero


def cases(rng):
    for name in (*KEEP_OUT, *KEEP_X):
        yield from (*forward(name, rng), *backward(name, rng))
    yield from (*gated("swiglu", 0, rng), *gated("swiglu_backward", 1, rng))


def case(name, kind, *given, look="values", **options):
    options = {"approximate": "tanh"} if name.startswith("tanh") else options
    return Case(f"{name}: {kind}", of=name.removeprefix("tanh "), given=[*given], look=look, options=options)


def numbers(*values, dtype=DOUBLE):
    return torch.tensor(values, dtype=dtype)


def some(rng, *shape):
    return 2 * randn(rng, 1, *shape)[0]


def forward(name, rng):
    yield case(name, "values", some(rng, 6))
    for dtype in (SINGLE, DOUBLE):
        yield case(name, f"huge, {dtype}", numbers(*CUT, dtype=dtype), look="size")
        yield case(name, f"huge, negative, {dtype}", -numbers(*CUT, dtype=dtype), look="size")
        left = (-numbers(*LEFT.get(name, OTHERS)) - torch.rand(4, generator=rng) / 8).to(dtype)
        yield case(name, f"left, {dtype}", left, look="size" if name == "relu" else "logs")
    for value in (INF, -INF, math.nan, 0.0):
        yield case(name, str(value), numbers(value), look="size")
    right = 20.5 + torch.rand(3, generator=rng).double()
    yield case(name, "right", right, look="beyond" if name == "softplus" else "values")
    yield from shared(name, rng, lambda *shape: [some(rng, *shape)], [EIGHTHS])


def backward(name, rng):
    def kept(*shape):
        x = some(rng, *shape)  # or a result, without the functions that the kata forbids
        return {"relu": x.clamp(min=0), "sigmoid": 1 / (1 + x.exp()), "softplus": x.exp().log1p()}.get(name, x)

    of, three, is_out = name + "_backward", numbers(3, 3, 3, 3), name in KEEP_OUT
    yield case(of, "values", some(rng, 6), kept(6))
    for dtype in (SINGLE, DOUBLE):
        left = -numbers(*LEFT.get(name, OTHERS)) - torch.rand(4, generator=rng) / 8
        yield case(of, f"left, {dtype}", three.to(dtype), (left.exp() if is_out else left).to(dtype), look="logs")
        for sign in (1,) if is_out else (1, -1):
            huge = sign * numbers(*(CUT if name != "sigmoid" else (0.0, 1.0, 1.0)), dtype=dtype)
            yield case(of, f"huge, {sign}, {dtype}", three[:3].to(dtype), huge)
    for value in (0.0, 1.0) if name == "sigmoid" else (0.0, INF) if is_out else (0.0, INF, -INF):
        yield case(of, f"at {value}", three[:1], numbers(value))
    for one, other in WRONG_SHAPES[:5]:
        yield case(of, f"grad {list(one)}, kept {list(other)}", some(rng, *one), kept(*other))
    x = {"relu": EIGHTHS.clamp(min=0), "sigmoid": EIGHTHS.abs() / 9, "softplus": EIGHTHS.abs()}.get(name, EIGHTHS)
    yield from shared(of, rng, lambda *shape: [some(rng, *shape), kept(*shape)], [randn(rng, len(x)), x])


def gated(name, place, rng):
    def given(*shape, gate=None):  # which is at `place`
        each = [some(rng, *shape) for _ in range(place + 2)]
        return [*each[:place], each[place] if gate is None else gate, *each[place + 1 :]]

    yield case(name, "values", *given(6))
    for dtype in (SINGLE, DOUBLE):
        for kind, gate in (("zero", (0.0, 0.0)), ("huge", (1e4, -1e4)), ("left", (-25.5, -40.0))):
            each, look = given(2, gate=numbers(*gate)), "logs" if kind == "left" else "values"
            yield case(name, f"{kind}, {dtype}", *(t.to(dtype) for t in each), look=look)
    large = [numbers(2048, dtype=HALF) for _ in range(place + 2)]
    yield case(name, "large times small", *large[:place], numbers(-16, dtype=HALF), *large[place + 1 :], look="logs")
    for one, other in WRONG_SHAPES[:4]:
        for at in range(place + 2):
            each = [some(rng, *(other if at == index else one)) for index in range(place + 2)]
            yield case(name, f"shapes {list(one)}, at {at} {list(other)}", *each)
    yield from shared(name, rng, given, given(len(EIGHTHS), gate=EIGHTHS))


def shared(name, rng, inputs, halves):
    yield case(name, "nothing", *inputs(0, 3))
    yield case(name, "transposed", *(each.T for each in inputs(2, 3)))
    for sign in (1, -1):
        yield case(name, f"arguments, {sign}", *(sign * (1 + each.abs()) for each in inputs(3)), look="arguments")
    for dtype in (HALF, BRAIN):
        yield case(name, f"in {dtype}", *(each.to(dtype) for each in halves), look="rounded")
        yield case(name, f"a number in {dtype}", *(each.to(dtype) for each in inputs()), look="dtype")
    yield case(name, "cost", *(each.float() for each in inputs(40, 4)), look="cost")
    for option in ("none", *WRONG_OPTIONS) if name in ("gelu", "gelu_backward") else ():
        yield case(name, f"approximate={option!r}", *inputs(3), approximate=option)


def run(kata, case):
    given = [each.clone() for each in case.given]

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
        mine = [each.untyped_storage().data_ptr() in {t.untyped_storage().data_ptr() for t in given} for each in got]
        return {"after": [Pairs(a, b) for a, b in zip(given, case.given, strict=True)], "mine": mine}
    if case.look == "rounded":
        pairs = zip(got, call(*(each.double() for each in case.given)), strict=True)
        return {"results": got, "once": [bool((units(*pair) <= 0.6).all()) for pair in pairs]}
    looks = {"size": torch.abs, "dtype": lambda y: str(y.dtype), "beyond": lambda y: 1e6 * (y - case.given[0])}
    looks["logs"] = lambda y: torch.stack(
        [y.double().abs().log(), y.sign().double()]
    ).float()  # a small number's digits
    return {"results": [looks.get(case.look, torch.clone)(y) for y in got]}


def units(y, exact):  # how far they are apart, in units in the last place of y's dtype
    unit = torch.exp2(exact.frexp().exponent - 1.0).clamp(min=torch.finfo(y.dtype).smallest_normal)
    return (y.double() - exact).abs() / unit / torch.finfo(y.dtype).eps
