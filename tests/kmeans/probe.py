"""What can be seen of k-means: one question for each case, labels apart from inertia, and inertia around one centre.

Where noise decides (far from the origin, in narrow dtypes), the evidence is whether the results are those of the same code
on the points near the origin, or on their float64 copies."""

from functools import partial

import numpy as np
import torch

from dojo.testing import randint
from dojo.testing.arrays import as_arrays, as_tensors, column, kind, normal, plain, shared
from dojo.testing.evidence import peak_bytes, refused
from dojo.testing.probes import Case, Draws, Pairs


def chain(n):
    """n points on a line, with the sum 0: the border of two clusters that begin with the first two goes on by one point in
    each iteration, to the end. Each point stands a little before the middle of the means of those before it and those after."""
    numbers = [-1.0]
    for i in range(1, n - 1):
        before = sum(numbers)
        middle = (before / i - before / (n - i)) / 2
        numbers.append(0.8 * middle + 0.2 * numbers[-1])
    return column(*numbers, -sum(numbers))


PP, ASSIGN, UPDATE, KMEANS = "kmeans_plus_plus", "assign", "update", "kmeans"
PARTS = {PP: ["centers"], ASSIGN: ["labels", "inertia"], UPDATE: ["centers"]}
PARTS[KMEANS] = ["centers", "labels", "inertia", "iterations"]
FAR = 2.0**27
CALLS = {"pair": 240, "outlier": 700, "repeated": 240, "different": 10}
LARGE = {"float16": 300.0, "float32": 1e25, "uint8": 60.0, "int64": 2.0**35}
LONG = chain(310) + 5  # needs 309 iterations
SIX, NINE = np.arange(12.0).reshape(6, 2), np.array([1, 0, 2, 3, 1, 2, 3, 0, 3])
WRONG = {  # arguments in place of k=2 and the first two of six points
    "k=0": {"k": 0, "init": SIX[:0]},
    "k=n+1": {"k": 7, "init": np.arange(14.0).reshape(7, 2)},
    "nan in x": {"x": SIX + np.nan},
    "inf in x": {"x": SIX + np.inf},
    "nan in init": {"init": SIX[:2] + np.nan},
    "rows of init": {"init": SIX[:3]},
    "columns of init": {"init": SIX[:2, :1]},
    "max_iter=0": {"max_iter": 0},
    "no start": {"init": None},
}


def grid(rng, *shape):
    """Multiples of 1/64, which keep all their digits far from the origin."""
    return np.round(normal(rng, *shape) * 64) / 64


def narrow(dtype, rng, *shape):
    x = (normal(rng, *shape) * LARGE[dtype]).clip(-4 * LARGE[dtype], 4 * LARGE[dtype])
    return (abs(x) if dtype == "uint8" else x).astype(dtype)


def usual(x, centers):
    """Arguments of each function."""
    k, labels = len(centers), np.arange(len(x)) % len(centers)
    step, start = {"x": x, "centers": centers}, {"x": x, "k": k}
    return {
        PP: start,
        ASSIGN: step,
        UPDATE: step | {"labels": labels},
        KMEANS: start | {"init": centers, "max_iter": 2},
    }


def cases(rng):
    seed, shift = randint(rng, 0, 2**40, 1).item(), float(randint(rng, -9, 9, 1))

    def case(of, see, name="", part="centers", **given):
        return Case(f"{of}: {see} {part} {name}", of=of, see=see, part=part, seed=seed, given=as_tensors(given))

    four, row, six = column(0, 1, 3, 7) + shift, column(*range(20), 68) + shift, grid(rng, 6, 2)
    yield from (case(PP, "draws", f"of {k}", "pair", x=four, k=k) for k in (1, 3))
    yield case(PP, "draws", "", "outlier", x=row, k=2)
    yield case(PP, "draws", "", "repeated", x=four[[0, 0, 0, 1]], k=4)
    yield case(PP, "draws", "", "different", x=six, k=6)
    yield case(PP, "draws", "far", "different", x=grid(rng, 8, 2).repeat(3, 0) + FAR, k=8)

    near, centers, twins = normal(rng, 99, 2), normal(rng, 5, 2), grid(rng, 2, 1)
    for part, n in (("labels", 5), ("inertia", 1)):
        yield from (case(ASSIGN, "part", f"of {len(x)}", part, x=x, centers=centers[:n]) for x in (near, near[:0]))
    yield case(ASSIGN, "part", "ties", "labels", x=column(0, 1, 2, 1) + shift, centers=column(2, 0) + shift)
    yield case(ASSIGN, "part", "twins", "labels", x=twins[[0, 1, 1, 0]], centers=twins[[0, 0, 1, 1]])
    for see, labels in (("part", NINE), ("part", NINE[:0]), ("places", NINE.clip(1)), ("places", NINE.clip(0, 1))):
        n = len(labels)
        yield case(UPDATE, see, f"{n} {labels.sum()}", x=normal(rng, n, 2), labels=labels, centers=centers[:4])

    two, lonely = column(0, 1, 2, 10, 11, 12) + shift, column(2, 6, 14, 17, 20) + shift
    flat = np.array([[0.0, 0], [0, 1], [9, 0], [9, 1], [4, 1]])
    for part in PARTS[KMEANS]:
        for most in (1, 2, 9):
            yield case(KMEANS, "part", f"{most}", part, x=two, k=2, init=two[:2], max_iter=most)
        yield case(KMEANS, "part", "empty", part, x=lonely, k=3, init=column(20, 21, 22) + shift)
    yield case(KMEANS, "part", "k=n", "labels", x=six, k=6, init=six[::-1])
    yield case(KMEANS, "part", "flat", "labels", x=flat, k=2, init=flat[[3, 0]])
    yield case(KMEANS, "part", "long", "iterations", x=LONG, k=2, init=LONG[:2])
    row = (0.1 * normal(rng, 60, 1) + column(*range(60))) / 100
    slow, init = np.concatenate([row, column(9e3, 11e3)]), np.concatenate([row[:4], column(1e4)])
    for scale in (1, 2.0**-40):
        yield case(KMEANS, "rest", f"{scale}", x=slow * scale, k=5, init=init * scale, max_iter=1000)
    yield case(KMEANS, "unused", x=near, k=3, init=near[:3])
    yield case(PP, "streams", x=near, k=4)
    yield from (case(KMEANS, see, x=normal(rng, 300, 2), k=4, max_iter=1) for see in ("streams", "start"))

    large = normal(rng, 800, 32), normal(rng, 32, 32)
    single = near.astype("float32"), centers.astype("float32")
    for see, given in (("types", single), ("arguments", (near, centers + 99)), ("memory", large)):
        yield from (case(of, see, **each) for of, each in usual(*given).items())
    for name, draw in {"far": grid, **{dtype: partial(narrow, dtype) for dtype in LARGE}}.items():
        see, x = "far" if name == "far" else "wide", draw(rng, 40, 2)
        several, one = (usual(x, draw(rng, n, 2)) for n in (4, 1))
        yield case(ASSIGN, see, name, "inertia", **one[ASSIGN])
        for of, part in {PP: "centers", ASSIGN: "labels", UPDATE: "centers", KMEANS: "labels"}.items():
            yield case(of, see, name, part, **several[of])
    stray = np.concatenate([grid(rng, 3, 2) + FAR, np.zeros((1, 2))])
    yield case(ASSIGN, "without the last", "", "labels", x=grid(rng, 99, 2) + FAR, centers=stray)

    for name, x, k in (("k=0", six, 0), ("k=n+1", six, 7), ("nan", six + np.nan, 1), ("inf", six + np.inf, 1)):
        yield case(PP, "refusal", name, x=x, k=k)
    for name, wrong in WRONG.items():
        yield case(KMEANS, "refusal", name, **{"x": SIX, "k": 2, "init": SIX[:2]} | wrong)


def results(kata, case, given, rng):
    """What the case's function returns, by the names of the parts."""
    options = {name: given[name] for name in ("init", "max_iter") if given.get(name) is not None}
    options |= {"rng": rng} if case.of in (PP, KMEANS) and rng else {}
    got = getattr(kata, case.of)(*(given[name] for name in ("x", "k", "labels", "centers") if name in given), **options)
    if case.of != KMEANS:
        return dict(zip(PARTS[case.of], got if case.of == ASSIGN else [got], strict=True))
    lost = isinstance(got.centers, np.ndarray) and np.isnan(got.centers).any()  # what follows is another question
    return {part: np.nan if lost else getattr(got, part) for part in PARTS[KMEANS]}


def run(kata, case):
    rng = None if "no start" in case.name else np.random.default_rng(case.seed)
    return {case.part: SEEN[case.see](kata, case, as_arrays(case.given), rng)}


def alike(change, kata, case, given, rng):
    """Whether the results are those of changed points and centres; of both, draws have equal seeds."""
    changed = {name: change(value) if np.ndim(value) == 2 else value for name, value in given.items()}
    one, other = results(kata, case, given, rng), results(kata, case, changed, np.random.default_rng(case.seed))
    a, b = one[case.part], other[case.part] - FAR * ((case.see, case.part) == ("far", "centers"))
    return bool(np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-10, atol=1e-6))


def arguments(kata, case, given, rng):
    got = results(kata, case, given, rng)
    return [plain(a) for a in given.values() if isinstance(a, np.ndarray)], shared(got, given)


def places(kata, case, given, rng):
    """Where each centre is, if it is no point of x."""
    got = results(kata, case, given, rng)["centers"]
    return ["a point" if np.isclose(place, given["x"]).all(1).any() else plain(place) for place in got]


def draws(kata, case, given, rng):
    """What is seen of the indices of the points that are drawn, [calls, k]. The index n is for what is no point."""
    x, n = given["x"], len(given["x"])
    drawn = np.stack([kata.kmeans_plus_plus(x, case.given["k"], rng=rng) for _ in range(CALLS[case.part])])
    same = (drawn[:, :, None] == x).all(3)
    rows = torch.from_numpy(np.where(same.any(2), same.argmax(2), n))
    if case.part == "different":
        return all(len({*row} - {n}) == case.given["k"] for row in rows.tolist())
    if (rows == rows[0]).all():
        return "always the same"
    if case.part == "repeated":
        return [bool(((rows[:, :2] == 3).sum(1) == 1).all()), Draws(rows[:, 2], n + 1)]
    first, last = (rows == n - 1).long().T if case.part == "outlier" else (rows[:, 0], rows[:, -1])
    return Draws(first * (n + 1) + last, (n + 1) ** 2)


def streams(kata, case, given, rng):
    """What the next call, an equal generator, another seed and NumPy's global stream give."""
    before, generators = str(np.random.get_state()), (rng, rng, *map(np.random.default_rng, (case.seed, case.seed + 1)))
    first, *others = (plain(results(kata, case, given, each)["centers"]) for each in generators)
    return [str(np.random.get_state()) == before, *(Pairs(first, other) for other in others)]


def start(kata, case, given, rng):
    """Labels after one iteration, with rng and from what kmeans_plus_plus draws, for several seeds."""
    with_rng, from_init = [], []
    for seed in range(case.seed, case.seed + 8):
        init = kata.kmeans_plus_plus(given["x"], given["k"], rng=np.random.default_rng(seed))
        with_rng.append(results(kata, case, given, np.random.default_rng(seed))["labels"])
        from_init.append(results(kata, case, given | {"init": init}, None)["labels"])
    return Pairs(torch.tensor(np.stack(with_rng)), torch.tensor(np.stack(from_init)))


def rest(kata, case, given, rng):
    """Whether one more iteration from the final centres would change a label."""
    got = results(kata, case, given, rng)
    more = results(kata, case, given | {"init": got["centers"], "max_iter": 1}, rng)
    return Pairs(torch.tensor(got["labels"]), torch.tensor(more["labels"]))


def memory(kata, case, given, rng):
    """Whether at most 8 n (k + d) numbers are held at a time, where k = d; that is less than n k d."""
    return peak_bytes(lambda: results(kata, case, given, rng)) <= 8 * 8 * 2 * given["x"].size


SEEN = {each.__name__: each for each in (arguments, places, draws, streams, start, rest, memory)} | {
    "part": lambda kata, case, given, rng: plain(results(kata, case, given, rng)[case.part]),
    "types": lambda kata, case, given, rng: {p: kind(value) for p, value in results(kata, case, given, rng).items()},
    "unused": lambda kata, case, given, rng: [results(kata, case, given, rng)["labels"].shape[0], rng.random()],
    "refusal": lambda kata, case, given, rng: refused(lambda: results(kata, case, given, rng)),
    "far": partial(alike, lambda a: a + FAR),
    "wide": partial(alike, lambda a: a.astype(float)),
    "without the last": partial(alike, lambda a: a[:-1] if len(a) == 4 else a),
}
