"""What can be seen of an MLP's passes: one part of one result for each case."""

import contextlib
import tracemalloc
from itertools import pairwise

import numpy as np
import torch

from dojo.testing import Wrong, numbers, randint, randn
from dojo.testing.lines import expect_lines
from dojo.testing.probes import Case

FORBIDDEN = ("requires_grad_", "backward", "torch.autograd", "torch.func")
INIT, LOSS, FORWARD = "init_params", "softmax_cross_entropy", "mlp_forward"
BACKWARD, STEP, CHECK = "mlp_backward", "train_step", "gradient_check"
GIVEN = ("logits", "targets", "params", "x", "grad", "slopes", "gradient")
PLACES = {"gradient": 1, "W": 1, "b": 2, "last W": -3, "last b": -2, "x": -1, "first W": 0, "first b": 1}
ASKS = (("after", 5), ("types", 5), ("memory", 300), ("lines", 1500), ("nobody", 0), ("twice", 5), ("between", 5))
INITS = (("shapes", [5, 3, 7]), ("biases", [5, 3]), ("spread", [250, 80]), ("spread", [50, 400]), ("seeds", [6, 5, 5]))
NETS = {"one layer": (3, 4), "square": (3, 3), "two layers": (3, 5, 2), "three layers": (3, 4, 6, 2)}
BAD_LOSSES = [
    ((2, 3), [0, -1]),
    ((2, 3), [0, 3]),
    ((3, 2), [0, 1]),
    ((3, 2), [0, 1, 0, 1]),
    ((3, 2), [1]),
    ((0, 2), []),
]
BAD_LOSSES += [((3, 2), [[0], [1], [0]]), ((3,), [0, 1, 0]), ((2, 2, 2), [0, 1])]
BAD_LAYERS = [
    ([], (2, 3)),
    ([(3, 4), (4,)], (3,)),
    ([(3, 4), (4,)], (2, 4)),
    ([(3, 4), (1,)], (2, 3)),
    ([(3,), ()], (2, 3)),
]
BAD_LAYERS += [([(3, 4), (2, 4)], (2, 3)), ([(3, 4), (1, 4)], (2, 3)), ([(3, 4), (4,), (3, 2), (2,)], (2, 3))]
BAD_LAYERS += [([(3, 4), (4,)], (1, 2, 3)), ([(3, 4), (4,), (4, 2), (1,)], (2, 3))]
LINES = {
    "straight": (2, 2),
    "sign": (2, -2),
    "larger g": (1, 4),
    "larger a": (4, 1),
    "zeros": (0, 0),
    "floor": (0, 1e-9),
}
OTHER_ERRORS = (TypeError, LookupError, ArithmeticError, AttributeError, AssertionError)


def mlp(rng, *sizes):
    return [[randn(rng, n, m), randn(rng, m)] for n, m in pairwise(sizes)]


def cases(rng):
    for ask, sizes in (*INITS, ("refusal", [3]), ("refusal", [3, 0, 2])):
        seed = randint(rng, 0, 2**40, 1).item()
        yield Case(f"init: {ask} {sizes}", of=INIT, ask=ask, sizes=sizes, seed=seed)

    logits, targets = randn(rng, 5, 3), torch.tensor([0, 2, 1, 2, 2])[torch.randperm(5, generator=rng)]
    kinds = {"plain": logits, "one sample": logits[:1], "high": logits + 1e4, "low": logits - 1e4}
    kinds["levels"] = logits + numbers(1e4, 0, -1e4, 0, 9e3)[:, None]
    for name, rows in kinds.items():
        for part in ("loss", "gradient"):
            yield Case(f"{part}: {name}", of=LOSS, ask="part", part=part, logits=rows, targets=targets[: len(rows)])
    for name, row in {"large": (0, 1e3), "small": (40, 0)}.items():
        yield Case(f"loss: {name}", of=LOSS, ask="bounds", logits=numbers(*row)[None], targets=torch.tensor([0]))
    for ask, n in ASKS[:4]:
        rows = randn(rng, n, 60 if n == 300 else 3)
        yield Case(f"loss: {ask}", of=LOSS, ask=ask, logits=rows, targets=randint(rng, 0, 3, n))
    for dtype in (torch.int8, torch.uint8):
        few = torch.tensor([3, 0, 127, 64]).to(dtype)
        yield Case(f"loss: {dtype} targets", of=LOSS, ask="part", part="loss", logits=randn(rng, 4, 200), targets=few)
    for shape, wrong in BAD_LOSSES:
        given = {"logits": randn(rng, *shape), "targets": torch.tensor(wrong, dtype=torch.int64)}
        yield Case(f"loss: error, {list(shape)} {wrong}", of=LOSS, ask="refusal", **given)

    for name, sizes in NETS.items():
        x, grad = randn(rng, 6, 3), randn(rng, 6, sizes[-1])
        yield Case(f"logits: {name}", of=FORWARD, ask="part", part="logits", params=mlp(rng, *sizes), x=x)
        for part in ("last W", "last b", "x", *(("first W", "first b") if len(sizes) > 2 else ())):
            yield Case(f"{part}: {name}", of=BACKWARD, ask="part", part=part, params=mlp(rng, *sizes), x=x, grad=grad)
    kink = [[numbers(1, 0, 2, 0, 1, -1).view(2, 3), numbers(0, 0, -2)], [randn(rng, 3, 1), numbers(5)]]
    given = {"params": kink, "x": numbers(1, 0)[None], "grad": randn(rng, 1, 1)}
    yield Case("kink", of=BACKWARD, ask="part", part="first b", **given)
    for ask, n in ASKS:
        params = mlp(rng, *((40, 48, 32, 8) if n == 300 else (3, 5, 2)))
        given = {"params": params, "x": randn(rng, n, len(params[0][0]))}
        yield Case(f"forward: {ask}", of=FORWARD, ask=ask, **given)
        yield Case(f"backward: {ask}", of=BACKWARD, ask=ask, grad=randn(rng, n, len(params[-1][1])), **given)
    for shapes, shape in BAD_LAYERS:
        both = [randn(rng, *shape, 1)[..., 0] for shape in shapes]
        given = {"params": [*zip(both[::2], both[1::2], strict=True)], "x": randn(rng, *shape)}
        yield Case(f"forward: error, {shapes} {shape}", of=FORWARD, ask="refusal", **given)
    for shape in ((1, 2), (3, 1), (3,), (2,), (2, 2)):
        given = {"params": mlp(rng, 4, 5, 2), "x": randn(rng, 3, 4), "grad": randn(rng, *shape)}
        yield Case(f"backward: error, {shape}", of=BACKWARD, ask="refusal", **given)

    given = {"params": mlp(rng, 3, 2), "x": randn(rng, 5, 3), "targets": randint(rng, 0, 2, 5)}
    asks = [("part", decay, part) for decay in (0.0, 0.25) for part in ("loss", "W", "b")]
    for ask, decay, part in (*asks, ("after", 0.0, ""), ("types", 0.0, "")):
        options = {"lr": 0.5, "weight_decay": decay}
        yield Case(f"step: {ask} {part}, decay {decay}", of=STEP, ask=ask, part=part, options=options, **given)

    for name, (slope, wrong) in LINES.items():
        yield check(name, numbers(slope), numbers(wrong))
    for eps in (0.5, 0.125):
        yield check(f"cubic, step {eps}", numbers(0), numbers(3), cubic=1.0, x=numbers(1), eps=eps)
    yield check("cubic, no step", numbers(0), numbers(0), cubic=1e10, eps=None)
    slopes = randn(rng, 2, 3).abs() + 1
    for place in (0, 3, 5):
        here = (torch.arange(6) == place).view(2, 3)
        yield check(f"wrong at {place}", slopes, torch.where(here, slopes / 2, slopes))
        yield check(f"NaN at {place}", slopes, torch.where(here, torch.nan, slopes))
    for name, some in {"number": slopes[0, 0], "nothing": slopes[:0], "view": slopes, "types": slopes}.items():
        yield check(name, some, some / 2, ask=name)
    yield check("bits", slopes, slopes, ask="bits", x=randn(rng, 2, 3), eps=0.1)
    for name, wrong, eps in (("shape", slopes[:1], 0.25), ("flat", slopes.flatten(), 0.25), ("0", slopes, 0.0)):
        yield check(f"error, {name}", slopes, wrong, ask="refusal", eps=eps)
    yield check("error, negative", slopes, slopes, ask="refusal", eps=-0.5)


def check(name, slopes, gradient, *, ask="part", cubic=0.0, x=None, eps=0.25):
    """The loss is the sum of slopes * x + cubic * x^3."""
    given = {"slopes": slopes, "gradient": gradient, "x": torch.zeros_like(slopes) if x is None else x}
    return Case(f"check: {name}", of=CHECK, ask=ask, part="error", cubic=cubic, eps=eps, **given)


def arrays(value, dtype):
    if isinstance(value, torch.Tensor):
        return value.to(dtype if value.is_floating_point() else value.dtype, copy=True).numpy()
    return [tuple(arrays(each, dtype) for each in pair) for pair in value]


def flat(value):
    return [leaf for each in value for leaf in flat(each)] if isinstance(value, list | tuple) else [value]


def plain(value):
    return torch.from_numpy(np.array(value)) if np.ndim(value) else float(value)


def call(kata, case, logits=None, targets=None, params=None, x=None, grad=None, slopes=None, gradient=None):
    """All results in one list, without the cache."""
    if case.of == INIT:
        numbers = np.random.default_rng(case.seed)
        return flat([kata.init_params(case.sizes, rng=numbers) for _ in range(2)])
    if case.of == LOSS:
        return flat(kata.softmax_cross_entropy(logits, targets))
    if case.of == STEP:
        return flat(kata.train_step(params, x, targets, **case.options))
    if case.of == CHECK:
        step = () if case.eps is None else (case.eps,)
        return [kata.gradient_check(lambda: float((slopes * x + case.cubic * x**3).sum()), x, gradient, *step)]
    logits, cache = kata.mlp_forward(params, x)
    if case.of == FORWARD:
        return [logits]
    if case.ask == "between":
        kata.mlp_forward(params, x[::-1] + 1)
    first = flat(kata.mlp_backward(params, cache, grad))
    return flat(kata.mlp_backward(params, cache, grad)) if case.ask == "twice" else first


def run(kata, case):
    dtype = torch.float32 if case.ask == "types" else torch.float64
    given = {name: arrays(value, dtype) for name, value in vars(case).items() if name in GIVEN}
    if case.ask == "view":
        given["x"] = np.zeros(given["x"].shape[::-1]).T
    inputs = flat(list(given.values()))
    before = [each.copy() for each in inputs]
    if case.ask in ("refusal", "memory", "lines"):
        return {case.ask: fails_or_costs(lambda: call(kata, case, **given), kata, case, sum(map(np.size, inputs)))}
    results = call(kata, case, **given)
    if case.ask in ("after", "bits"):
        shared = [isinstance(b, np.ndarray) and np.shares_memory(a, b) for a in inputs for b in results]
        return {
            "same": [a.tobytes() == b.tobytes() for a, b in zip(before, inputs, strict=True)],
            "shared": any(shared),
        }
    if case.ask == "types":
        return {"types": [str(getattr(each, "dtype", type(each).__name__)) for each in results]}
    if case.ask == "bounds":
        return {"negative": bool(results[0] < 0), "large": bool(100 < results[0] < 1e6)}
    if case.ask == "spread":
        w = results[0]  # in steps that two draws of one distribution share
        return {"log variance": round(2 * np.log2((w**2).mean() * len(w) / 2)), "mean": round(w.mean() / w.std())}
    if case.ask == "shapes":
        return {"shapes": [list(each.shape) for each in results]}
    if case.ask == "seeds":
        half = len(results) // 2
        equal = [np.array_equal(a, b) for a, b in zip(results, call(kata, case), strict=True)]
        again = [np.array_equal(a, b) for a, b in zip(results[:half], results[half:], strict=True)]
        return {
            "equal": equal,
            "again": again,
            "distinct": [len(np.unique(each)) == each.size for each in results[::2]],
        }
    if case.of == INIT:
        return {"biases": [plain(each) for each in results[1::2]]}
    if case.ask in ("twice", "between", "nobody"):
        return {"results": [plain(each) for each in results]}
    return {case.part: plain(results[PLACES.get(case.part, 0)])}


def fails_or_costs(act, kata, case, size):
    """Whether there is a ValueError; whether memory or lines are within their limits."""
    try:
        if case.ask == "lines":
            expect_lines(act, kata, 300, what=case.of)
        tracemalloc.start()
        with contextlib.suppress(*OTHER_ERRORS) if case.ask == "refusal" else contextlib.nullcontext():
            act()
        return case.ask != "refusal" and tracemalloc.get_traced_memory()[1] <= 8 * 8 * 4 * size
    except Wrong:
        return False
    except ValueError:
        return case.ask == "refusal"
    finally:
        tracemalloc.stop()
