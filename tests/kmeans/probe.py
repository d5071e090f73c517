"""What can be seen of k-means: one question for each case, labels apart from inertia, and inertia around one centre.

Where noise decides (far from the origin, in narrow dtypes), the evidence is whether the results are those of the same code
on the points near the origin, or on their float64 copies.
"""

import tracemalloc

import numpy as np
import torch

from dojo.testing import randint, randn
from dojo.testing.probes import Case, Draws, Pairs

PP, ASSIGN, UPDATE, KMEANS = "kmeans_plus_plus", "assign", "update", "kmeans"
FAR = 2.0**27
LARGE = {"float16": 300.0, "float32": 1e25, "uint8": 60.0, "int64": 2.0**35}
PARTS = ("centers", "labels", "inertia", "iterations")


def grid(rng, *shape):
    """Multiples of 1/64, which keep all their digits far from the origin."""
    return (randn(rng, *shape) * 64).round() / 64


def narrow(rng, dtype, n):
    x = (randn(rng, n, 2) * LARGE[dtype]).clamp(-4 * LARGE[dtype], 4 * LARGE[dtype])
    return (x.abs() if dtype == "uint8" else x).to(getattr(torch, dtype))


def line(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)[:, None]


def chain(n):
    """n points on a line, with the sum 0: the border of two clusters that begin with the first two goes on by one point in
    each iteration, to the end. Each point stands a little before the middle of the means of those before it and those after."""
    numbers = [-1.0]
    for i in range(1, n - 1):
        before = sum(numbers)
        middle = (before / i - before / (n - i)) / 2
        numbers.append(0.8 * middle + 0.2 * numbers[-1])
    return line(*numbers, -sum(numbers))


def cases(rng):
    seed, shift, x = randint(rng, 0, 2**40, 1).item(), float(randint(rng, -9, 9, 1)), grid(rng, 6, 2)
    four, bad = line(0, 1, 3, 7) + shift, {name: torch.full((6, 2), float(name)).double() for name in ("nan", "inf")}
    row = line(*range(20), 68) + shift  # after another, the last has 0.31 by distance and 0.73 by its square
    for ask, points, k in (("first", four, 1), ("second", row, 2), ("third", four, 3), ("all", x, 6)):
        yield Case(f"draws: {ask}", of=PP, ask=ask, x=points, k=k, seed=seed)
    yield Case("draws: repeated", of=PP, ask="repeated", x=four[[0, 0, 0, 1]], k=4, seed=seed)
    yield Case("draws: far", of=PP, ask="all", x=grid(rng, 8, 2).repeat_interleave(3, 0) + FAR, k=8, seed=seed)
    for dtype in LARGE:
        yield Case(f"draws: {dtype}", of=PP, ask="wide", x=narrow(rng, dtype, 40), k=4, seed=seed)
    for ask in ("streams", "types", "memory", "arguments"):
        yield Case(f"draws: {ask}", of=PP, ask=ask, x=randn(rng, 800, 32).float(), k=16, seed=seed)
    for name, points, k in (("k=0", x, 0), ("k=n+1", x, 7), ("NaN", bad["nan"], 1), ("inf", bad["inf"], 1)):
        yield Case(f"draws: {name}", of=PP, ask="refusal", x=points, k=k, seed=seed)

    near, starts, twins = randn(rng, 99, 2), randn(rng, 5, 2), grid(rng, 2, 1)
    large = {"x": randn(rng, 800, 32), "labels": torch.arange(800) % 32, "centers": randn(rng, 32, 32)}
    yield Case("labels: plain", of=ASSIGN, ask="labels", x=near, centers=starts)
    yield Case("inertia: plain", of=ASSIGN, ask="inertia", x=near, centers=starts[:1])
    yield Case("labels: ties", of=ASSIGN, ask="labels", x=line(0, 1, 2, 1) + shift, centers=line(2, 0) + shift)
    yield Case("labels: twins", of=ASSIGN, ask="labels", x=twins[[0, 1, 1, 0]], centers=twins[[0, 0, 1, 1]])
    yield Case("labels: none", of=ASSIGN, ask="labels", x=near[:0], centers=starts)
    yield Case("inertia: none", of=ASSIGN, ask="inertia", x=near[:0], centers=starts[:1])
    for part, n in (("labels", 3), ("inertia", 1)):
        yield Case(f"{part}: far", of=ASSIGN, ask="far", part=part, x=grid(rng, 12, 2), centers=grid(rng, n, 2))
        for dtype in LARGE:
            given = {"x": narrow(rng, dtype, 12), "centers": narrow(rng, dtype, n)}
            yield Case(f"{part}: {dtype}", of=ASSIGN, ask="wide", part=part, **given)
    yield Case("labels: stray", of=ASSIGN, ask="stray", x=grid(rng, 99, 2) + FAR, centers=grid(rng, 3, 2) + FAR)
    yield Case("assign: types", of=ASSIGN, ask="types", x=near.float(), centers=starts.float())
    yield Case("assign: memory", of=ASSIGN, ask="memory", **large)

    nine, centers, labels = randn(rng, 9, 2), randn(rng, 4, 2), torch.tensor([1, 0, 2, 3, 1, 2, 3, 0, 3])
    yield Case("means: plain", of=UPDATE, ask="centers", x=nine, labels=labels, centers=centers)
    for name, several in (("first", labels.clamp(min=1)), ("last", labels.clamp(max=1))):
        yield Case(f"means: {name} empty", of=UPDATE, ask="moved", x=nine, labels=several, centers=centers)
    yield Case("means: none", of=UPDATE, ask="centers", x=nine[:0], labels=labels[:0], centers=centers)
    yield Case("means: far", of=UPDATE, ask="far", x=grid(rng, 9, 2), labels=labels, centers=centers)
    for dtype in LARGE:
        given = {"x": narrow(rng, dtype, 36), "labels": labels.repeat(4), "centers": narrow(rng, dtype, 4)}
        yield Case(f"means: {dtype}", of=UPDATE, ask="wide", **given)
    yield Case("update: types", of=UPDATE, ask="types", x=nine.float(), labels=labels, centers=centers.float())
    yield Case("update: arguments", of=UPDATE, ask="arguments", x=nine, labels=labels, centers=centers)
    yield Case("update: memory", of=UPDATE, ask="memory", **large)

    two, lonely = line(0, 1, 2, 10, 11, 12) + shift, line(2, 6, 14, 17, 20) + shift
    flat = torch.tensor([[0, 0], [0, 1], [9, 0], [9, 1], [4, 1]]).double()
    for ask in PARTS:
        for most in (1, 2, 9):
            yield Case(f"{ask}: {most}", of=KMEANS, ask=ask, x=two, k=2, init=two[:2], options={"max_iter": most})
        yield Case(f"{ask}: empty", of=KMEANS, ask=ask, x=lonely, k=3, init=line(20, 21, 22) + shift)
    yield Case("labels: k=n", of=KMEANS, ask="labels", x=x, k=6, init=x.flip(0))
    yield Case("labels: flat", of=KMEANS, ask="labels", x=flat, k=2, init=flat[[3, 0]])
    yield Case("iterations: most", of=KMEANS, ask="iterations", x=LONG, k=2, init=LONG[:2])
    row = (0.1 * randn(rng, 60, 1) + torch.arange(60.0)[:, None]) / 100
    slow, pair = torch.cat([row, line(9e3, 11e3)]), torch.cat([row[:4], line(1e4)])
    for name, scale in (("plain", 1), ("small", 2.0**-40)):
        yield Case(f"rest: {name}", of=KMEANS, ask="rest", x=slow * scale, k=5, init=pair * scale)
    yield Case("kmeans: far", of=KMEANS, ask="far", part="labels", x=grid(rng, 30, 2), k=3, init=grid(rng, 3, 2))
    for dtype in LARGE:
        given = {"x": narrow(rng, dtype, 20), "init": narrow(rng, dtype, 3)}
        yield Case(f"kmeans: {dtype}", of=KMEANS, ask="wide", part="labels", k=3, **given)
    for ask in ("start", "streams"):
        yield Case(f"kmeans: {ask}", of=KMEANS, ask=ask, x=randn(rng, 300, 2), k=4, seed=seed, options={"max_iter": 1})
    for ask in ("rng", "arguments", "types"):
        points = near.float() if ask == "types" else near
        yield Case(
            f"kmeans: {ask}", of=KMEANS, ask=ask, x=points, k=3, init=points[:3] + 99 * (ask == "arguments"), seed=seed
        )
    points = large["x"]
    yield Case("kmeans: memory", of=KMEANS, ask="memory", x=points, k=32, init=points[:32], options={"max_iter": 2})
    for name, points, k, options in (
        ("k=0", x, 0, {"init": x[:0]}),
        ("k=n+1", x, 7, {"init": randn(rng, 7, 2)}),
        ("NaN", bad["nan"], 2, {"init": x[:2]}),
        ("inf", bad["inf"], 2, {"init": x[:2]}),
        ("NaN in init", x, 2, {"init": bad["nan"][:2]}),
        ("rows of init", x, 3, {"init": x[:2]}),
        ("columns of init", x, 3, {"init": x[:3, :1]}),
        ("max_iter=0", x, 2, {"init": x[:2], "options": {"max_iter": 0}}),
        ("no start", x, 6, {}),
    ):
        yield Case(f"kmeans: {name}", of=KMEANS, ask="refusal", x=points, k=k, **options)


LONG = chain(310) + 5  # needs 309 iterations


def results(kata, case, rng=None, **arrays):
    """What the case's function returns for these arrays, by the names of the parts."""
    x = arrays["x"]
    if case.of == PP:
        return {"centers": kata.kmeans_plus_plus(x, case.k, rng=rng)}
    if case.of == ASSIGN:
        return dict(zip(("labels", "inertia"), kata.assign(x, arrays["centers"]), strict=True))
    if case.of == UPDATE:
        return {"centers": kata.update(x, arrays["labels"], arrays["centers"])}
    options = {"rng": rng} if rng else {}
    options |= {"init": arrays["init"]} if "init" in arrays else {}
    got = kata.kmeans(x, case.k, **options, **getattr(case, "options", {}))
    if isinstance(got.centers, np.ndarray) and np.isnan(got.centers).any():
        return dict.fromkeys(PARTS, np.nan)  # what follows from a NaN is another question
    return {part: getattr(got, part) for part in PARTS}


def plain(value):
    """An array in float64; any other number as a float."""
    return torch.from_numpy(np.array(value, np.float64)) if isinstance(value, np.ndarray) else float(value)


def kind(value):
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else str(isinstance(value, float))


def close(a, b):
    return bool(np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-10, atol=1e-6))


def run(kata, case):
    given = {name: value.numpy().copy() for name, value in vars(case).items() if isinstance(value, torch.Tensor)}
    numbers = np.random.default_rng(case.seed) if hasattr(case, "seed") else None
    if case.ask in ASKS:
        return ASKS[case.ask](kata, case, given, numbers)
    return {case.ask: plain(results(kata, case, numbers, **given)[case.ask])}


def like(kata, case, given, numbers):
    """Whether the results are those of points and centres elsewhere or in float64; of both, draws have equal seeds."""
    moved = {
        name: a if name == "labels" else a + FAR if case.ask == "far" else a.astype(float) for name, a in given.items()
    }
    one = results(kata, case, numbers, **given)
    other = results(kata, case, numbers and np.random.default_rng(case.seed), **moved)
    part = getattr(case, "part", "centers")
    return {part: close(one[part], other[part] - FAR * (case.ask == "far" and part == "centers"))}


def stray(kata, case, given, numbers):
    """Whether one more centre, at the origin, which no point is near to, changes a label."""
    more = np.concatenate([given["centers"], np.zeros((1, 2))])
    one, other = results(kata, case, **given), results(kata, case, **{**given, "centers": more})
    return {"labels": close(one["labels"], other["labels"])}


def draws(kata, case, given, numbers):
    """Which points are drawn: the index of each, and n for what is no point."""
    x, rows = given["x"], []
    for _ in range({"all": 10, "second": 700}.get(case.ask, 240)):
        try:
            got = kata.kmeans_plus_plus(x, case.k, rng=numbers)
        except (ValueError, IndexError, ArithmeticError):
            return {"error": True}
        if np.shape(got) != (case.k, x.shape[1]):
            return {"shape": list(np.shape(got))}
        same = (got[:, None] == x[None]).all(2)
        rows.append(np.where(same.any(1), same.argmax(1), len(x)))
    rows, n = torch.from_numpy(np.stack(rows)), len(x)
    if case.ask == "all":
        return {"different points": all(len({*row} - {n}) == case.k for row in rows.tolist())}
    if (rows == rows[0]).all():
        return {"drawn": "always the same"}
    if case.ask == "repeated":
        return {"both": bool(((rows[:, :2] == 3).sum(1) == 1).all()), "third": Draws(rows[:, 2], n + 1)}
    first, last = rows[:, 0], rows[:, -1]
    if case.ask == "second":  # the far one, another one before or behind the first, or the first again
        kinds = (last - first).sign() + 1 + 3 * (last == n - 1)
        return {"drawn": Draws(torch.where((first == n) | (last == n), 6, kinds), 7)}
    return {"first": Draws(first, n + 1)} if case.k == 1 else {"drawn": Draws(first * (n + 1) + last, (n + 1) ** 2)}


def streams(kata, case, given, numbers):
    """What equal generators, another seed, the next call and NumPy's global stream give."""
    before = np.random.get_state()
    first, following = (plain(results(kata, case, numbers, **given)["centers"]) for _ in range(2))
    again, other = (
        plain(results(kata, case, np.random.default_rng(case.seed + i), **given)["centers"]) for i in range(2)
    )
    after = np.random.get_state()
    quiet = before[2] == after[2] and bool((before[1] == after[1]).all())
    return {"again": Pairs(first, again), "next": Pairs(first, following), "other": Pairs(first, other), "quiet": quiet}


def start(kata, case, given, numbers):
    """Labels after one iteration, with rng and from what kmeans_plus_plus draws, for several seeds."""
    with_rng, from_init = [], []
    for seed in range(case.seed, case.seed + 8):
        init = kata.kmeans_plus_plus(given["x"], case.k, rng=np.random.default_rng(seed))
        with_rng.append(results(kata, case, np.random.default_rng(seed), **given)["labels"])
        from_init.append(results(kata, case, None, **given, init=init)["labels"])
    return {"labels": Pairs(torch.tensor(np.stack(with_rng)), torch.tensor(np.stack(from_init)))}


def rest(kata, case, given, numbers):
    """Whether one more iteration from the final centres would change a label."""
    got = kata.kmeans(given["x"], case.k, init=given["init"], max_iter=1000)
    more = kata.kmeans(given["x"], case.k, init=got.centers, max_iter=1)
    return {"labels": Pairs(torch.tensor(got.labels), torch.tensor(more.labels))}


def arguments(kata, case, given, numbers):
    got = results(kata, case, numbers, **given)["centers"]
    after = {name: plain(array) for name, array in given.items()}
    return after | {"shared": [bool(np.shares_memory(got, array)) for array in given.values()]}


def moved(kata, case, given, numbers):
    """Where clusters with points move, and the others: onto a point, or where else."""
    got, full = results(kata, case, **given)["centers"], np.isin(np.arange(4), given["labels"])
    if np.shape(got) != (4, 2):
        return {"shape": list(np.shape(got))}
    onto = [bool(np.isclose(place, given["x"]).all(1).any()) for place in got[~full]]
    return {"full": plain(got[full]), "empty": "a point" if all(onto) else plain(got[~full])}


def refusal(kata, case, given, numbers):
    """Whether there is a ValueError."""
    try:
        results(kata, case, numbers, **given)
    except ValueError:
        return {"refused": True}
    except (TypeError, AttributeError, LookupError, ArithmeticError, NameError):
        pass
    return {"refused": False}


def memory(kata, case, given, numbers):
    """Whether at most 8 n (k + d) numbers are held at a time, which is less than n k d."""
    n, k, d = len(given["x"]), getattr(case, "k", 32), given["x"].shape[1]
    tracemalloc.start()
    try:
        results(kata, case, numbers, **given)
        return {"lean": tracemalloc.get_traced_memory()[1] <= 8 * 8 * n * (k + d)}
    finally:
        tracemalloc.stop()


def types(kata, case, given, numbers):
    return {name: kind(value) for name, value in results(kata, case, numbers, **given).items()}


def unused(kata, case, given, numbers):
    """What a generator gives that stood beside init."""
    results(kata, case, numbers, **given)
    return {"next": numbers.random()}


ASKS = dict.fromkeys(("first", "second", "third", "all", "repeated"), draws) | {
    "far": like,
    "wide": like,
    "rng": unused,
}
ASKS |= {each.__name__: each for each in (stray, streams, start, rest, arguments, moved, refusal, memory, types)}
