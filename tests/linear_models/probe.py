"""What can be seen of linear models: one part of one result for each case. Where an answer goes wrong in figures that nobody else
would get, the evidence is whether it arrives."""

import numpy as np
import torch

from dojo.testing import numbers, randn
from dojo.testing.evidence import few_lines, finite, peak_bytes, refused, traces
from dojo.testing.probes import Case

FORBIDDEN = ("sklearn.linear_model", "scipy.optimize", "scipy.linalg", "scipy.special", "scipy.stats")
PROBA, DESCENT = "predict_proba", "gradient_descent"
LOSSES, FITS = (SQUARES, ENTROPY), (LINEAR, LOGISTIC) = ("linear_loss", "logistic_loss"), ("fit_linear", "fit_logistic")
TAKES = {PROBA: "w b x", DESCENT: "loss w b"} | dict.fromkeys(LOSSES, "w b x y l2") | dict.fromkeys(FITS, "x y l2")
OPTIONS = {DESCENT: ("lr", "steps"), LOGISTIC: ("tol",)}
NAN, INF, X, Y = float("nan"), float("inf"), numbers(0, 2, 1, 3, 5, 1, 2, 2).view(4, 2), numbers(0, 1, 1, 0)
GOOD = {"x": X, "y": Y, "w": numbers(0, 0), "b": 0.0, "l2": 0.5, "lr": 0.5, "steps": 2, "tol": 1e-3}
REFUSED = [  # by which functions, which argument, which values
    ((*LOSSES, *FITS), "x", (X[:, 0], X[None], X[:0])),
    ((*LOSSES, *FITS), "y", (Y[:, None], Y[:3], Y[:1])),
    ((*LOSSES, *FITS), "l2", (-0.5, NAN)),
    ((PROBA, *LOSSES), "w", (numbers(0, 0)[:, None], numbers(0, 0, 0), numbers(0))),
    ((ENTROPY, LOGISTIC), "y", (2 * Y - 1, 2 * Y, Y / 2)),
    (FITS, "x", (X * NAN, X * INF)),
    ([LOGISTIC], "y", (Y * 0, Y * 0 + 1)),
    ([LOGISTIC], "l2", (0.0,)),
    ([LOGISTIC], "tol", (0.0,)),
    ([DESCENT], "lr", (0.0, -0.5, NAN)),
    ([DESCENT], "steps", (-1,)),
]


def bowl(w, b):
    """A loss in which weights and bias depend on each other, and its derivatives."""
    return float(((w - 1) ** 2).sum() / 2 + b**2 + b * w.sum() / 2), w - 1 + b / 2, float(2 * b + w.sum() / 2)


def cases(rng):
    x, w, b = randn(rng, 5, 2), randn(rng, 2), 1 + abs(float(randn(rng, 1)))
    y, flat, one = numbers(0, 1, 1, 0, 1), x * 0, numbers(1)
    for name, rows, bias in (("plain", x, 0.0), ("bias", flat, b), ("none", x[:0], 0.0)):
        yield Case(f"proba: {name}", of=PROBA, x=rows, w=w, b=bias)
    for score in (800, -800, 20, -20):
        given = {"x": numbers(score)[None], "w": one, "b": 0.0}
        yield Case(f"proba: {score}", of=PROBA, **given)
        for label, part in ((0, 0), (0, 1), (1, 0), (1, 1)):
            yield Case(f"{score}, {label}: {part}", of=ENTROPY, part=part, y=numbers(label), share=abs(score), **given)
    for part in range(3):
        for of in LOSSES:
            yield Case(f"{of} {part}: rows", of=of, part=part, x=x, y=y, w=w, b=0.0)
            yield Case(f"{of} {part}: bias", of=of, part=part, x=flat, y=y, w=w * 0, b=b)
            yield Case(f"{of} {part}: penalty", of=of, part=part, x=flat, y=y, w=w, b=0.0, l2=0.75)
            yield Case(f"{of} {part}: free bias", of=of, part=part, x=flat, y=y, w=w * 0, b=b, l2=0.75)
        for lr, steps in ((0.25, 1), (0.25, 3), (2.5, 3), (0.5, 0)):
            yield Case(f"descent {part}: {steps} of {lr}", of=DESCENT, part=part, w=w, b=b, lr=lr, steps=steps)
    for ask, steps, start in (("calls", 2, w), ("after", 0, w), ("wide", 0, Y[:2].long()), ("wide", 3, Y[:2].long())):
        yield Case(f"descent: {ask}, {steps}", of=DESCENT, ask=ask, w=start, b=0, lr=0.5, steps=steps)
    half, signs = randn(rng, 5, 2), numbers(1, 0, 1, 1, 0)
    even, both = torch.cat([half, -half]) * numbers(1, 3), torch.cat([signs, 1 - signs])  # their bias is 0, or 1/2
    odd, mostly = randn(rng, 7, 2) + 1, numbers(0, 1, 1, 1, 0, 1, 1)
    for part in (0, 1):
        for of, l2 in ((LINEAR, 0.0), (LINEAR, 0.5), (LINEAR, 1.0), (LOGISTIC, 0.5), (LOGISTIC, 1.0)):
            yield Case(f"{of} {part}: even, l2 {l2}", of=of, part=part, x=even, y=both, l2=l2)
            yield Case(f"{of} {part}: odd, l2 {l2}", of=of, part=part, x=odd, y=mostly, l2=l2)
        for of in FITS:
            yield Case(f"{of} {part}: flat", of=of, part=part, x=flat, y=y, l2=1.0)
    a, plane = even[:, :1], randn(rng, 3, 2) @ numbers(1, 0, 1, 1, 0, 1, 1, -1).view(2, 4)
    split = torch.cat([randn(rng, 6, 2).abs() + 1, -randn(rng, 5, 2).abs()])
    measured, steep = randn(rng, 40, 2) * numbers(2, 1e4) + numbers(2e3, 3e4), numbers(36, 0, -117, 66, 1, -2, 0, -1)
    for name, rows, target, more in (
        ("copies", torch.cat([a, a], 1), both, {"across": numbers(1, -1)}),
        ("far copies", torch.cat([a + 9, 2 * a], 1), both, {"across": numbers(2, -1)}),
        ("fewer rows", plane, y[:3], {"across": numbers(1, 1, -1, 0)}),
        ("separable", split, split[:, 0] > 0, {"l2": 1e-7, "tol": 1e-10}),
        ("overshoot", steep.view(4, 2), torch.arange(4) == 2, {"l2": 0.001, "tol": 1e-9}),
        ("measured", measured, numbers(0, 1).repeat(20), {"l2": 1e-4, "tol": 1e-8}),
        ("no tol", measured, numbers(0, 1).repeat(20), {"l2": 1.0, "tol": 1e-300}),
    ):
        of = LINEAR if "across" in more else LOGISTIC
        yield Case(name, of=of, ask="arrives", x=rows, y=target.double(), **more)
    near, far, units = randn(rng, 3, 30, 2)
    near, far, units = near @ numbers(1, 1, 0, 5e-7).view(2, 2), far + 1e6, units * numbers(1e-2, 1e4)
    for name, rows in (("near", near), ("far", far), ("units", units)):
        goal = numbers(2, -1) / rows.std(0)
        yield Case(name, of=LINEAR, ask="arrives", x=rows, y=(rows - rows.mean(0)) @ goal, goal=goal, tol=INF)
    for i, (functions, key, values) in enumerate(REFUSED):
        for of in functions:
            for k, value in enumerate(values):
                yield Case(f"refusal {i}.{k} of {of}: {key}", of=of, ask="refuses", **GOOD | {key: value})
    large = {"x": randn(rng, 600, 5), "y": numbers(0, 1, 0).repeat(200), "w": randn(rng, 5)}
    wide, w9 = even.abs() * 90, w.abs() * 9
    for of in (PROBA, *LOSSES, *FITS):
        for ask in ("after", "memory", "lines"):
            yield Case(f"{of}: {ask}", of=of, ask=ask, **GOOD | large)
        for dtype, kind in ((torch.float16, torch.float16), (torch.float32, torch.bool), (torch.uint8, torch.uint8)):
            target = (both * 9 + 200).to(dtype) if of in (SQUARES, LINEAR) else both.to(kind)
            yield Case(f"{of}: {dtype}", of=of, ask="wide", x=wide.to(dtype), y=target, w=w9.to(dtype), l2=0.5, b=0.5)


def call(kata, case, given):
    """All results in a list."""
    given = {"loss": bowl, "l2": 0.0} | given
    options = {name: given[name] for name in OPTIONS.get(case.of, ()) if name in given}
    results = getattr(kata, case.of)(*(given[name] for name in TAKES[case.of].split()), **options)
    return [results] if case.of == PROBA else [*results]


def run(kata, case):
    given = {k: v.numpy().copy() if isinstance(v, torch.Tensor) else v for k, v in vars(case).items()}
    if not hasattr(case, "ask"):
        value = torch.from_numpy(np.array(call(kata, case, given)[getattr(case, "part", 0)]).astype(np.float64))
        return {"result": finite((value / case.share).round(decimals=1) if hasattr(case, "share") else value.float())}
    try:
        return {case.ask: np.ravel(ASKS[case.ask](kata, case, given)).tolist()}
    except NotImplementedError:
        raise
    except Exception as error:  # of what kind it is depends on how an answer is written, but where one is asked for
        return {case.ask: "gives up" if case.name == "no tol" and isinstance(error, RuntimeError) else "error"}


def arrives(kata, case, given):
    """Whether the derivatives are 0 within tol, whether the weights have a part that no row has, and whether they are the goal."""
    w, b = call(kata, case, given)
    z = torch.from_numpy(given["x"] @ w + b)
    rest = (z if case.of == LINEAR else torch.sigmoid(z)).numpy() - given["y"]
    slopes = rest @ given["x"] / len(rest) + given.get("l2", 0.0) * w
    small, none = max(abs(rest.mean()), *abs(slopes)), abs(w @ given.get("across", w * 0))
    return [small < 2 * given.get("tol", 1e-7), none < 1e-6, np.allclose(w, given.get("goal", w), rtol=1e-5)]


def wide(kata, case, given):
    """Whether the results are float64, and those of float64 copies."""
    copies = {k: v.astype(np.float64) if isinstance(v, np.ndarray) else v for k, v in given.items()}
    pairs = [*zip(call(kata, case, given), call(kata, case, copies), strict=True)]
    kinds = [isinstance(one, float | list) or one.dtype == np.float64 for one, _ in pairs]
    return all(kinds) and all(np.allclose(*pair, rtol=1e-6, atol=1e-7) for pair in pairs)


def calls(kata, case, given):
    """How often the loss is called."""
    seen = []
    call(kata, case, given | {"loss": lambda w, b: seen.append(b) or bowl(w, b)})
    return len(seen)


ASKS = {"arrives": arrives, "wide": wide, "calls": calls}
ASKS["refuses"] = lambda *given: refused(lambda: call(*given))
ASKS["after"] = lambda kata, case, given: traces(lambda: call(kata, case, given), given.values())
ASKS["memory"] = lambda *given: peak_bytes(lambda: call(*given)) <= 8 * 10 * 605 * 6  # 10 (n + d) (d + 1) numbers
ASKS["lines"] = lambda kata, *given: few_lines(lambda: call(kata, *given), kata, 590)  # of 600 rows
