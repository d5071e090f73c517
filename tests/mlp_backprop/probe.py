"""What can be seen of an MLP's passes: one part of one result for each case."""

from functools import partial
from itertools import pairwise, product

import numpy as np
import torch

from dojo.testing import numbers, randint, randn
from dojo.testing.evidence import few_lines, finite, peak_bytes, refused
from dojo.testing.probes import Case

FORBIDDEN = ("requires_grad_", "backward", "torch.autograd", "torch.func")
INIT, LOSS, FORWARD = "init_params", "softmax_cross_entropy", "mlp_forward"
BACKWARD, STEP, CHECK = "mlp_backward", "train_step", "gradient_check"
PLACES = {"gradient": 1, "W": 1, "b": 2, "last W": -3, "last b": -2, "x": -1, "first W": 0, "first b": 1}
SITUATIONS = {"after": 5, "types": 5, "memory": 70, "lines": 400, "twice": 5, "between": 5, "nobody": 0}
NETS = {"one layer": (3, 4), "square": (3, 3), "two layers": (3, 5, 2), "three layers": (3, 4, 6, 2)}
BAD_LOSSES = ((2, 3), [0, -1]), ((2, 3), [0, 3]), ((3, 2), [0, 1]), ((3, 2), [1]), ((0, 2), [])
BAD_LOSSES += ((3, 2), [[0], [1], [0]]), ((3,), [0, 1, 0])
X, W = (2, 3), (3, 4)
BAD_LAYERS = (X,), (X, W, (1,)), (X, W, (2, 4)), (X, W, (1, 4)), ((3,), W, (4,)), ((1, *X), W, (4,))
BAD_LAYERS += (X, (2, 4), (4,)), (X, W, (4,), (4, 2), (1,))


def mlp(rng, *sizes):
    return [[randn(rng, n, m), randn(rng, m)] for n, m in pairwise(sizes)]


def cases(rng):
    some = int(randint(rng, 40, 60, 1))
    for name, sizes in {"wide": [250, 80], "deep": [50, some, 7], "one size": [3], "a size of 0": [3, 0, 2]}.items():
        yield Case(f"init: {name}", of=INIT, ask="refusal" if "size" in name else "init", sizes=sizes, seed=some)
    logits, targets = randn(rng, 5, 3), torch.tensor([0, 2, 1, 2, 2])[torch.randperm(5, generator=rng)]
    offsets = {"plain": 0, "high": 1e4, "low": -1e4, "levels": numbers(1e4, 0, -1e4, 0, 9e3)[:, None]}
    for name, offset in offsets.items():
        for part in ("loss", "gradient"):
            yield Case(f"{part}: {name}", of=LOSS, ask="part", part=part, logits=logits + offset, targets=targets)
    for row in ((0, 1e3), (40, 0)):
        yield Case(f"loss of {row}", of=LOSS, ask="bounds", logits=numbers(*row)[None], targets=torch.tensor([0]))
    for shape, wrong in BAD_LOSSES:
        bad = {"logits": randn(rng, *shape), "targets": torch.tensor(wrong, dtype=torch.int64)}
        yield Case(f"loss: error, {shape} {wrong}", of=LOSS, ask="refusal", **bad)
    for name, sizes in NETS.items():
        given = {"params": mlp(rng, *sizes), "x": randn(rng, 6, 3)}
        yield Case(f"logits: {name}", of=FORWARD, ask="part", part="logits", **given)
        for part in ("last W", "last b", "x", "first W", "first b")[: 5 if len(sizes) > 2 else 3]:
            yield Case(f"{part}: {name}", of=BACKWARD, ask="part", part=part, grad=randn(rng, 6, sizes[-1]), **given)
    kink = [[numbers(1, 0, 2, 0, 1, -1).view(2, 3), numbers(0, 0, -2)], [randn(rng, 3, 1), numbers(5)]]
    given = {"params": kink, "x": numbers(1, 0)[None], "grad": randn(rng, 1, 1)}
    yield Case("kink", of=BACKWARD, ask="part", part="first b", **given)
    for ask, n in SITUATIONS.items():
        sizes = (24, 30, 16, 4) if n == 70 else (3, 5, 2)
        given = {"params": mlp(rng, *sizes), "x": randn(rng, n, sizes[0])}
        yield Case(f"backward: {ask}", of=BACKWARD, ask=ask, grad=randn(rng, n, sizes[-1]), **given)
        if ask in ("after", "types", "memory", "lines"):
            rows = randn(rng, n, 40 if n == 70 else 3)
            yield Case(f"loss: {ask}", of=LOSS, ask=ask, logits=rows, targets=randint(rng, 0, 3, n))
            yield Case(f"forward: {ask}", of=FORWARD, ask=ask, **given)
    for x, *shapes in BAD_LAYERS:
        both = [randn(rng, *shape, 1)[..., 0] for shape in shapes]
        bad = {"params": [*zip(both[::2], both[1::2], strict=True)], "x": randn(rng, *x)}
        yield Case(f"forward: error, {x} {shapes}", of=FORWARD, ask="refusal", **bad)
    for shape in ((1, 2), (3, 1), (3,), (2,), (2, 2)):
        bad = {"params": mlp(rng, 4, 5, 2), "x": randn(rng, 3, 4), "grad": randn(rng, *shape)}
        yield Case(f"backward: error, {shape}", of=BACKWARD, ask="refusal", **bad)
    given = {"params": mlp(rng, 3, 4, 2), "x": randn(rng, 5, 3), "targets": randint(rng, 0, 2, 5)}
    for part, decay in [*product(("loss", "W", "b"), (0.0, 0.25)), ("after", 0.25), ("types", 0.25)]:
        ask, options = part if part in SITUATIONS else "part", {"lr": 0.375, "weight_decay": decay}
        yield Case(f"step: {part}, decay {decay}", of=STEP, ask=ask, part=part, options=options, **given)
    slopes = randn(rng, 2, 3).abs() + 1
    for slope, wrong in ((2, 2), (2, -2), (1, 4), (4, 1), (-4, -3), (0, 0), (0, 1e-9)):
        yield check(f"{wrong} for {slope}", numbers(slope), numbers(wrong))
    for eps, (cubic, x) in {None: (1e10, 0), 0.5: (1.0, 1), 0.125: (1.0, 1)}.items():
        yield check(f"cubic, {eps}", numbers(0), numbers(3), cubic=cubic, x=numbers(x), eps=eps)
    yield check("random", slopes, randn(rng, 2, 3))
    for place in (0, 3, 5):
        here = (torch.arange(6) == place).view(2, 3)
        yield check(f"wrong at {place}", slopes, torch.where(here, slopes / 2, slopes))
        yield check(f"NaN at {place}", slopes, torch.where(here, torch.nan, slopes))
    for name, some in {"number": slopes[0, 0], "nothing": slopes[:0], "view": slopes, "types": slopes}.items():
        yield check(name, some, some / 2, ask=name)
    yield check("after", slopes, slopes, ask="after", x=randn(rng, 2, 3), eps=0.1)
    for wrong, eps in ((slopes[:1], 0.25), (slopes.flatten(), 0.25), (slopes, 0.0), (slopes, -0.5)):
        yield check(f"error, {list(wrong.shape)} {eps}", slopes, wrong, ask="refusal", eps=eps)


def check(name, slopes, gradient, *, ask="part", cubic=0.0, x=None, eps=0.25):
    """The loss is the sum of slopes * x + cubic * x^3."""
    given = {"slopes": slopes, "gradient": gradient, "x": torch.zeros_like(slopes) if x is None else x}
    return Case(f"check: {name}", of=CHECK, ask=ask, part="error", cubic=cubic, eps=eps, **given)


def arrays(value, narrow):
    if isinstance(value, torch.Tensor):
        return value.to(torch.float32 if narrow and value.is_floating_point() else value.dtype, copy=True).numpy()
    return [tuple(arrays(each, narrow) for each in pair) for pair in value]


def flat(value):
    return [leaf for each in value for leaf in flat(each)] if isinstance(value, list | tuple) else [value]


def call(kata, case, logits=None, targets=None, params=None, x=None, grad=None, slopes=None, gradient=None):
    """All results in one list, without the cache."""
    if case.of == INIT:
        one, other = (np.random.default_rng(case.seed) for _ in range(2))
        first, later, again = (flat(kata.init_params(case.sizes, rng=rng)) for rng in (one, one, other))
        w, shapes = first[0], [size for each in first for size in each.shape]
        spread = round(2 * np.log2((w**2).mean() * len(w) / 2)), round(w.mean() / w.std())  # equal for all draws
        same = [[*map(np.array_equal, first, each)] for each in (later, again)]
        return [shapes, *first[1::2], spread, same, [len(np.unique(each)) == each.size for each in first[::2]]]
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
    inputs = {name: value for name, value in vars(case).items() if name == "params" or isinstance(value, torch.Tensor)}
    given = {name: arrays(value, case.ask == "types") for name, value in inputs.items()}
    if case.ask == "view":
        given["x"] = np.zeros(given["x"].shape[::-1]).T
    act, inputs = partial(call, kata, case, **given), flat([*given.values()])
    before = [each.copy() for each in inputs]
    if case.ask == "refusal":
        return {"refusal": refused(act)}
    if case.ask in ("lines", "memory"):
        return {case.ask: few_lines(act, kata, 300) if case.ask == "lines" else peak_bytes(act) <= 2**18}
    results = act()
    if case.ask == "after":
        shared = any(isinstance(b, np.ndarray) and np.shares_memory(a, b) for a in inputs for b in results)
        same = all(a.tobytes() == b.tobytes() for a, b in zip(inputs, before, strict=True))
        return {"same": same, "close": all(map(np.allclose, inputs, before)), "shared": shared}
    if case.ask == "types":
        return {"types": [isinstance(each, float) or str(getattr(each, "dtype", "")) for each in results]}
    if case.ask == "bounds":
        return {"bounds": [bool(results[0] < 0), bool(results[0] > 100), bool(results[0] < np.inf)]}
    some = [results[PLACES.get(case.part, 0)]] if case.ask == "part" else results
    return {"results": [finite(torch.from_numpy(np.array(each))) for each in some]}
