"""What can be seen of linear models: one part of one result for each case. Where an answer goes wrong in figures that nobody else
would get, the evidence is whether it arrives."""

import tracemalloc

import numpy as np
import torch

from dojo.testing import numbers, randn
from dojo.testing.lines import expect_lines
from dojo.testing.probes import Case

FORBIDDEN = ("sklearn.linear_model", "scipy.optimize", "scipy.linalg", "scipy.special", "scipy.stats")
PROBA, SQUARES, ENTROPY, DESCENT = "predict_proba", "linear_loss", "logistic_loss", "gradient_descent"
LINEAR, LOGISTIC = "fit_linear", "fit_logistic"
NEEDS = {PROBA: "w b x", SQUARES: "w b x y l2", ENTROPY: "w b x y l2", DESCENT: "loss w b"}
NEEDS |= {LINEAR: "x y l2", LOGISTIC: "x y l2"}
OVERSHOOT = numbers(-27, 2, 0, -1, 0, 0, 0, 0, 33, -66, 0, 0, 0, 0).view(7, 2)  # here Newton's whole steps fail
NAN, INF, X = float("nan"), float("inf"), numbers(0, 2, 1, 3, 5, 1, 2, 2).view(4, 2)
GOOD = {"x": X, "y": numbers(0, 1, 1, 0), "w": numbers(0, 0), "b": 0.0, "l2": 0.5, "lr": 0.5, "goal": numbers(1, 2)}
BAD_X, BAD_Y, BAD_W = (X[:, 0], X[None], X[:0]), (X[:, :1], X[:3, 0], X[:1, 0]), (X[:2, :1], X[:3, 0], X[:1, 0])
FITS, LOSSES = (LINEAR, LOGISTIC), (SQUARES, ENTROPY)
REFUSALS = [(of, "x", x) for of in (*LOSSES, *FITS) for x in BAD_X] + [(PROBA, "w", w) for w in BAD_W]
REFUSALS += [(of, "y", y % 2) for of in (*LOSSES, *FITS) for y in BAD_Y] + [
    (of, "w", w) for of in LOSSES for w in BAD_W
]
REFUSALS += [(of, "l2", l2) for of in (*LOSSES, *FITS) for l2 in (-0.5, NAN)] + [
    (LOGISTIC, "l2", 0.0),
    (LOGISTIC, "tol", 0.0),
]
REFUSALS += [
    (of, "y", numbers(*y)) for of in (ENTROPY, LOGISTIC) for y in ((-1, 1, 1, -1), (0, 1, 2, 1), (0.5, 0, 1, 1))
]
REFUSALS += [(LOGISTIC, "y", numbers(*4 * [label])) for label in (0, 1)] + [(LINEAR, "y", numbers(0, 1, INF, NAN))]
REFUSALS += [(of, "x", X * bad) for of in FITS for bad in (NAN, INF)] + [(DESCENT, "lr", lr) for lr in (0.0, -0.5, NAN)]
REFUSALS += [(DESCENT, "steps", -1)]


def cases(rng):
    x, w, goal, b = randn(rng, 5, 2), randn(rng, 2), randn(rng, 2), 1 + abs(float(randn(rng, 1)))
    y, zero, flat, one = numbers(0, 1, 1, 0, 1), w * 0, x * 0, numbers(1)
    for name, rows, bias in (("plain", x, 0.0), ("bias", flat, b), ("none", x[:0], 0.0)):
        yield Case(f"proba: {name}", of=PROBA, x=rows, w=w, b=bias)
    for score in (800, -800):
        yield Case(f"proba: {score}", of=PROBA, x=numbers(score)[None], w=one, b=0.0)
        for label in (0, 1):
            for part, size in ((0, 1), (1, 1), (0, 40)):
                given = {"part": part, "x": numbers(score / size)[None], "y": numbers(label), "w": one, "b": 0.0}
                yield Case(f"score {score / size}, {label}, {part}", of=ENTROPY, ask="score", **given)
    for of in LOSSES:
        for part in range(3):
            yield Case(f"{of} {part}: one row", of=of, part=part, x=x[:1], y=y[1:2], w=w, b=0.0)
            yield Case(f"{of} {part}: rows", of=of, part=part, x=x, y=y, w=w, b=0.0)
            yield Case(f"{of} {part}: bias", of=of, part=part, x=flat, y=y, w=zero, b=b)
            yield Case(f"{of} {part}: penalty", of=of, part=part, x=flat, y=y, w=w, b=0.0, l2=0.75)
            yield Case(f"{of} {part}: free bias", of=of, part=part, x=flat, y=y, w=zero, b=b, l2=0.75)
    for name, lr, steps in (
        ("one", 0.25, 1),
        ("three", 0.25, 3),
        ("far", 2.5, 3),
        ("none", 0.5, 0),
        ("valley", 0.125, 1),
    ):
        for part in range(3):
            given = {"of": DESCENT, "part": part, "goal": goal, "lr": lr, "steps": steps}
            yield Case(f"descent {part}: {name}", w=w, b=b, **given)
            yield Case(f"integers {part}: {name}", w=torch.tensor([2, -3]), b=0, **given)
    yield Case("calls", of=DESCENT, ask="calls", **GOOD, steps=3)
    yield Case("after no step", of=DESCENT, ask="after", **GOOD, steps=0)
    half, signs = randn(rng, 5, 2), numbers(1, 0, 1, 1, 0)
    even, both = torch.cat([half, -half]), torch.cat([signs, 1 - signs])  # their bias is 0, or 1/2
    odd, mostly = randn(rng, 9, 2) + numbers(1, -2), numbers(1, 1, 0, 1, 1, 0, 1, 1, 1)
    for of in FITS:
        for name, rows, l2 in (("even", even, 1.0), ("half", even, 0.5), ("scales", even * numbers(1, 3), 1.0)):
            yield Case(f"{of}: {name}", of=of, x=rows, y=both, l2=l2)
        for part in (0, 1):
            yield Case(f"{of} {part}: odd", of=of, part=part, x=odd, y=mostly, l2=1.0)
    yield Case("plane: even", of=LINEAR, x=even, y=both)
    for part in (0, 1):
        yield Case(f"plane {part}: odd", of=LINEAR, part=part, x=odd, y=mostly)
    a = torch.cat([half[:, :1], -half[:, :1]])
    yield Case("copies", of=LINEAR, ask="across", x=torch.cat([a, a], 1), y=both, across=numbers(1, -1))
    yield Case("far copies", of=LINEAR, ask="across", x=torch.cat([a + 9, 2 * a], 1), y=both, across=numbers(2, -1))
    plane = randn(rng, 3, 2) @ numbers(1, 0, 1, 1, 0, 1, 1, -1).view(2, 4)
    yield Case("wide", of=LINEAR, ask="across", x=plane, y=y[:3], across=numbers(1, 1, -1, 0))
    four = randn(rng, 4, 30, 2)
    four = four - four.mean(1, keepdim=True)
    near = four @ numbers(1, 1, 0, 1e-6).view(2, 2)
    for name, rows in (("near", near), ("far", four + 1e6), ("units", four * numbers(1e-2, 1e4))):
        yield Case(name, of=LINEAR, ask="recovers", x=rows, w=numbers(2, -1) / rows[0].std(0))
    split = torch.cat([randn(rng, 6, 2).abs() + 1, -randn(rng, 5, 2).abs()])
    for name, rows, target, l2, tol in (
        ("separable", split, split[:, 0] > 0, 1e-7, 1e-10),
        ("overshoot", OVERSHOOT, torch.arange(7) // 2 == 1, 0.005, 1e-9),
        ("fine", odd, mostly, 1.0, 1e-12),
        ("measured", randn(rng, 40, 2) * numbers(2, 1e4) + numbers(2e3, 3e4), torch.arange(40) % 3 == 1, 1e-4, 1e-8),
        ("more columns", randn(rng, 5, 8), y, 0.1, 1e-10),
    ):
        yield Case(f"logistic: {name}", of=LOGISTIC, ask="arrives", x=rows, y=target.double(), l2=l2, tol=tol)
    noise = {"x": randn(rng, 30, 8), "y": numbers(0, 0, 1).repeat(10), "l2": 0.1}
    yield Case("refusal: tol=1e-300", of=LOGISTIC, ask="refusal", **noise, tol=1e-300)
    for i, (of, key, bad) in enumerate(REFUSALS):
        yield Case(f"refusal {i}: {of}", of=of, ask="refusal", **{"steps": 0, **GOOD, key: bad})
    large = {"x": randn(rng, 600, 5), "y": numbers(0, 1, 0).repeat(200), "w": randn(rng, 5), "l2": 0.5, "tol": 1e-3}
    wide = {"x": even.abs() * 90, "y": both, "w": w.abs() * 9, "l2": 0.5, "goal": goal, "lr": 0.5, "steps": 2, "b": 0.5}
    for of in NEEDS:
        yield Case(f"{of}: after", of=of, ask="after", **GOOD, steps=2)
        for ask in () if of == DESCENT else ("memory", "lines"):
            yield Case(f"{of}: {ask}", of=of, ask=ask, b=0.5, **large)
        for dtype in (torch.float16, torch.float32, torch.uint8):
            target = (both * 9 + 200).to(dtype) if of in (SQUARES, LINEAR) else both.to(dtype)
            narrow = {"x": wide["x"].to(dtype), "w": wide["w"].to(dtype), "y": target}
            yield Case(f"{of}: {dtype}", of=of, ask="wide", **wide | narrow)
    for of in (ENTROPY, LOGISTIC):
        yield Case(f"{of}: bool", of=of, ask="wide", **wide | {"y": both.bool()})


def call(kata, case, given):
    """All results in a list."""

    def loss(weights, bias):
        case.calls = getattr(case, "calls", 0) + 1
        if case.name.endswith("valley"):
            total = weights.sum() + 2 * bias
            return float(total**2) / 2, np.full(2, total), 2 * float(total)
        return float(((weights - given["goal"]) ** 2).sum() + bias**2) / 2, weights - given["goal"], float(bias)

    given = {"loss": loss, "l2": 0.0} | given
    options = {k: given[k] for k in {DESCENT: ("lr", "steps"), LOGISTIC: ("tol",)}.get(case.of, ()) if k in given}
    results = getattr(kata, case.of)(*(given[name] for name in NEEDS[case.of].split()), **options)
    return [results] if case.of == PROBA else [*results]


def run(kata, case):
    given = {k: v.numpy().copy() if isinstance(v, torch.Tensor) else v for k, v in vars(case).items()}
    if hasattr(case, "ask"):
        return {case.ask: answered(kata, case, given)}
    value = np.array(call(kata, case, given)[getattr(case, "part", 0)])
    good = value.dtype.kind in "fiub" and np.isfinite(value).all()
    return {"result": torch.from_numpy(value.astype(np.float64)).float() if good else "not finite"}


def answered(kata, case, given):
    """What the case asks for. An error is no answer, whatever it is, but for a refusal."""
    try:
        answer = ASKS[case.ask](kata, case, given)
    except NotImplementedError:
        raise
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError, AssertionError) as error:
        wanted = RuntimeError if "tol=1e-300" in case.name else ValueError
        return "refused" if case.ask == "refusal" and isinstance(error, wanted) else "nothing"
    return "no refusal" if case.ask == "refusal" else [float(each) for each in np.ravel(answer)]


def score(kata, case, given):
    """Whether a row costs its score, and pulls with it, or costs nothing, within a thousandth."""
    got, size = np.ravel(call(kata, case, given)[case.part])[0], abs(float(case.x))
    return [np.isfinite(got), abs(got) < 1e-3, abs(abs(got) - size) < 1e-3, got < -1e-3]


def across(kata, case, given):
    """Whether the fit is one of the best, and whether the weights have a part that no row has."""
    w, b = call(kata, case, given)
    errors = given["x"] @ w + b - given["y"]
    best = abs((given["x"] - given["x"].mean(0)).T @ errors).max() < 1e-6 and abs(errors.mean()) < 1e-6
    return [best, abs(w @ given["across"]) < 1e-6]


def recovers(kata, case, given):
    """Whether weights come back from the scores that they give."""
    fits = [call(kata, case, {"x": x, "y": (x - x.mean(0)) @ given["w"]})[0] for x in given["x"]]
    return all(np.allclose(w, given["w"], rtol=1e-4) for w in fits)


def arrives(kata, case, given):
    """Whether the derivatives are below tol."""
    w, b = call(kata, case, given)
    rest = torch.sigmoid(torch.from_numpy(given["x"] @ w + b)).numpy() - given["y"]
    return max(abs(rest.mean()), *abs(rest @ given["x"] / len(rest) + case.l2 * w)) < 2 * case.tol


def wide(kata, case, given):
    """Whether the results are float64, and those of float64 copies."""
    copies = {k: v.astype(np.float64) if isinstance(v, np.ndarray) else v for k, v in given.items()}
    pairs = [*zip(call(kata, case, given), call(kata, case, copies), strict=True)]
    kinds = [isinstance(one, float | list) or str(getattr(one, "dtype", "")) == "float64" for one, _ in pairs]
    return all(kinds) and all(np.allclose(*pair, rtol=1e-6, atol=1e-7) for pair in pairs)


def after(kata, case, given):
    """Whether arguments are as before, and whether results share memory with one."""
    arrays = [v for v in given.values() if isinstance(v, np.ndarray)]
    before, results = [v.copy() for v in arrays], call(kata, case, given)
    shared = any(np.shares_memory(a, r) for a in arrays for r in results if isinstance(r, np.ndarray))
    return [all(map(np.array_equal, arrays, before)), shared]


def memory(kata, case, given):
    """Whether all memory is below 10 (n + d) (d + 1) numbers."""
    tracemalloc.start()
    try:
        call(kata, case, given)
        return tracemalloc.get_traced_memory()[1] <= 8 * 10 * 605 * 6
    finally:
        tracemalloc.stop()


def lines(kata, case, given):
    """Whether there are fewer lines than rows, which are 600."""
    expect_lines(lambda: call(kata, case, given), kata, 590, what="it")
    return True


def calls(kata, case, given):
    """How often the loss is called."""
    call(kata, case, given)
    return case.calls


ASKS = {"score": score, "across": across, "recovers": recovers, "arrives": arrives, "wide": wide, "after": after}
ASKS |= {"memory": memory, "lines": lines, "calls": calls, "refusal": call}
