"""What can be seen of a search: what it asked, what it kept, and how low it came."""

import copy
import math
import random

import numpy as np
import torch

from dojo.testing import randint, randn
from dojo.testing.probes import Case, Draws, Pairs

EI, GP = "expected_improvement", "gp_posterior"
NEXT = math.nextafter(0.1, 1.0)
UNIT = {"x": (0.0, 1.0), "y": (0.0, 1.0)}
OPTIONS = [10, "20", None, 2.5, "k"]
CELLS = 4  # along each side of a box; far larger than the neighbourhood that a search of 16 trials finds


def share(rng, low, high):
    return low + (high - low) * torch.rand((), generator=rng, dtype=torch.float64).item()


def told(rng, kind, count):
    """What the objective answers, call by call: any numbers, or some of them equal, or no numbers."""
    values = randn(rng, count)
    places = torch.randperm(count, generator=rng)
    if kind == "ties":
        values[places[: count // 3]] = -4.0
    if kind in ("nan", "late nan"):
        values[0 if kind == "nan" else places[: count // 3]] = math.nan
    return values


def cases(rng):
    seed = int(torch.randint(1000, (), generator=rng))
    for kind in ("values", "ties", "nan", "late nan", "pops", "tensors"):
        shape = (randint(rng, 0, 2, 3) + 2).tolist()
        grid = {name: randn(rng, n).tolist() for name, n in zip("abc", shape, strict=True)}
        values = told(rng, kind, math.prod(shape))
        yield Case(f"grid: {kind}", of="grid_search", kind=kind, space=grid, values=values, seed=seed)
        space = {name: (share(rng, -3, 0), share(rng, 1, 3)) for name in "abc"}
        count = 7 + randint(rng, 0, 6).item()
        yield Case(
            f"random: {kind}", of="random_search", kind=kind, space=space, values=told(rng, kind, count), seed=seed
        )
    low, exponent = share(rng, -2, 0), share(rng, -5, -3)
    options = [OPTIONS[i] for i in torch.randperm(5, generator=rng)[: randint(rng, 3, 5).item()].tolist()]
    space = {"x": (low, low + share(rng, 2, 4)), "lr": ("log", 10**exponent, 10 ** share(rng, -1, 1)), "k": options}
    yield Case("random: distribution", of="random_search", kind="draws", space=space, seed=seed)
    yield Case("random: seed", of="random_search", kind="seed", space={"a": (0.0, 1.0)}, seed=seed)
    for name, entry in {
        "empty": [],
        "turned": (2.0, 1.0),
        "log of 0": ("log", 0.0, 1.0),
        "list": [1],
        "ok": (1, 2),
    }.items():
        for of in ("grid_search", "random_search", "bayesian_search"):
            yield Case(f"{of}: {name}", of=of, kind="entry", space={"a": entry}, seed=seed)
    yield Case("random: one each", of="random_search", kind="repeats", space={"k": list(range(10))}, seed=seed)
    yield Case(
        "random: narrow", of="random_search", kind="narrow", space={"a": ("log", 0.1, NEXT), "u": (0, 1)}, seed=seed
    )
    # So many that shuffling them twenty times does not put them in order again.
    objects = [[number] for number in range(8)]
    for of, space in (("random_search", {"a": objects, "u": (0, 1)}), ("grid_search", {"a": objects[:3]})):
        yield Case(f"{of}: objects", of=of, kind="objects", space=space, seed=seed)
    mean, std, best = randn(rng, 4, 5), randn(rng, 4, 5).abs() + 0.2, share(rng, 0.2, 0.6)
    yield Case("EI", of=EI, mean=mean, std=std, best=best, xi=0.0, times=1)
    yield Case("EI, xi", of=EI, mean=mean, std=std, best=best, xi=best + 0.2, times=1)
    certain = torch.cat([3 * mean, torch.full((4, 1), best, dtype=torch.float64)], 1)  # 0 / 0 among them
    yield Case("EI, certain", of=EI, mean=certain, std=certain * 0, best=best, xi=0.0, times=1)
    yield Case("EI, half", of=EI, mean=mean.half(), std=std.half(), best=0.3, xi=0.0, times=1)
    yield Case("EI, small", of=EI, mean=mean * 2**-30, std=std * 2**-30, best=0.0, xi=0.0, times=2**30)
    far = torch.linspace(0, 7, 700) + share(rng, 0, 0.3)
    yield Case("EI, far", of=EI, mean=far, std=far * 0 + 1, best=0.0, xi=0.0, times=1)
    yield Case("EI, negative std", of=EI, mean=mean, std=-std, best=0.3, xi=0.0, times=1)
    mixed = torch.where(torch.arange(20).view(4, 5) < 9, std, -std)
    yield Case("EI, one negative std", of=EI, mean=mean, std=mixed, best=0.3, xi=0.0, times=1)
    yield Case("EI, NaN std", of=EI, mean=mean, std=mixed.sqrt(), best=0.3, xi=0.0, times=1)
    rows = torch.cartesian_prod(torch.arange(6.0), torch.arange(5.0)).double() + randn(rng, 30, 2) / 20
    seen, values = 0.7 * rows[torch.randperm(30, generator=rng)[:5]], randn(rng, 5)
    points = torch.cat([seen, seen + randn(rng, 5, 2) / 3])
    options = {"length": share(rng, 0.5, 0.9), "jitter": share(rng, 0.01, 0.04)}
    yield Case("process", of=GP, inputs=(seen, values, points), options=options)
    yield Case("process, defaults", of=GP, inputs=(seen, values, points), options={})
    yield Case("process, no jitter", of=GP, inputs=(rows, rows[:, 0], rows), options={"length": 0.7, "jitter": 0.0})
    for kind in ("values", "ties", "pops", "tensors", "seed", "start", "one start", "units", "offset", "again"):
        space = {name: (share(rng, -3, 0), share(rng, 1, 3)) for name in "abc"}
        values = told(rng, kind, 7 + randint(rng, 0, 4).item())
        yield Case(f"bayesian: {kind}", of="bayesian_search", kind=kind, space=space, values=values, seed=seed)
    low, exponent = share(rng, -2, 2), share(rng, -9, -7)
    space = {"x": (low, low + share(rng, 0.5, 2)), "y": ("log", 10**exponent, 10 ** (exponent + 10))}
    cells = randint(rng, 0, CELLS, 6, 2).tolist()
    yield Case("bayesian: box", of="bayesian_search", kind="box", space=space, cells=cells, seed=seed)
    for kind in ("constant", "plateau"):
        yield Case(f"bayesian: {kind}", of="bayesian_search", kind=kind, seed=seed)


def run(kata, case):
    if case.of == EI:
        ei = kata.expected_improvement(case.mean.clone(), case.std.clone(), case.best, case.xi)
        return {"ei": ei * case.times} | ({"negative": ei < 0} if case.name == "EI, far" else {})
    if case.of == GP:
        mean, std = kata.gp_posterior(*(part.clone() for part in case.inputs), **case.options)
        # Without jitter deviations are rounding alone, which float32's tolerance covers; NaN is none.
        return {"mean": mean, "std": std.float() if case.name == "process, no jitter" else std}
    own = {"draws": draws, "entry": entry, "repeats": repeats, "narrow": narrow, "objects": objects, "seed": seeds}
    own |= {"start": start, "one start": entry, "units": units, "offset": offset, "again": again, "box": box}
    own |= {"constant": constant, "plateau": plateau}
    return own.get(case.kind, record)(kata, case)


def search(kata, case, objective, n_trials=7, seed=None, space=None, **options):
    space = dict(case.space) if space is None else space
    if case.of == "grid_search":
        return kata.grid_search(objective, space)
    return getattr(kata, case.of)(objective, space, n_trials, seed=case.seed if seed is None else seed, **options)


def points(kata, seed, objective, n_trials, space, **options):
    trials = kata.bayesian_search(objective, dict(space), n_trials, seed=seed, **options).trials
    return torch.tensor([list(params.values()) for params, _ in trials], dtype=torch.float64)


def entry(kata, case):
    options = {"n_start": 1} if case.kind == "one start" else {}
    return {"trials": len(search(kata, case, lambda params: 0.0, **options).trials)}


def record(kata, case):
    """What was asked and what was kept, by the number of the call: which points, is the search's own affair."""
    asked, buffer = [], torch.zeros((), dtype=torch.float64)

    def value(point):
        return 2 * point["a"] - point["b"] + point["a"] * point["c"]

    def objective(params):
        asked.append(dict(params))
        answer = value(params) if grid_of_values else case.values[len(asked) - 1].item()
        if case.kind == "pops":
            params.clear()
        return buffer.fill_(answer) if case.kind == "tensors" else answer

    grid_of_values = case.of == "grid_search" and case.kind in ("values", "pops", "tensors")
    result = search(kata, case, objective, len(case.values))
    kept, values = [p for p, _ in result.trials], [v for _, v in result.trials]
    order = sorted(range(len(values)), key=lambda i: [asked[i][name] for name in "abc"] if grid_of_values else i)
    seen = {
        "count": len(asked),
        "values": torch.tensor([float(values[i]) for i in order], dtype=torch.float64),
        "kept": [asked.index(params) if params in asked else -1 for params in kept],
        "inside": sum(isinstance(c, list) or c[0] <= p[n] <= c[1] for p in asked for n, c in case.space.items()),
        "floats": [type(v).__name__ for v in values],
        "best value": torch.tensor(float(result.best_value), dtype=torch.float64),
    }
    if case.of == "bayesian_search":  # a search that learns nothing gets nothing for its books
        runs = [points(kata, case.seed, lambda p, v=v: v * p["a"], 5, case.space) for v in (1, -1)]
        seen["learnt"] = Pairs(*(run[4:] for run in runs))
    if grid_of_values:
        return seen | {"best": [result.best_params.get(name) for name in "abc"]} | points_of(asked)
    seen |= {"best": asked.index(result.best_params) if result.best_params in asked else -1}
    return seen | (points_of(asked) if case.of == "grid_search" else {"distinct": len(points_of(asked)["points"])})


def points_of(asked):
    return {"points": sorted({tuple(p.get(name) for name in "abc") for p in asked})}


def draws(kata, case):
    points = [p for p, _ in search(kata, case, lambda params: 0.0, 800).trials]
    x = torch.tensor([min(max(int((p["x"] + 2) * 2), 0), 11) for p in points])
    lr = torch.tensor([min(max(int((math.log10(p["lr"]) + 5) * 2), 0), 11) for p in points])
    k = torch.tensor([OPTIONS.index(p["k"]) if p["k"] in OPTIONS else 5 for p in points])
    return {"x": Draws(x, 12), "lr": Draws(lr, 12), "k": Draws(k, 6), "both": Draws((x // 2) * 6 + lr // 2, 36)}


def seeds(kata, case):
    def states():
        here = np.random.get_state()
        numbers = [*random.getstate()[1], *here[1].tolist(), here[2]]
        return torch.cat([torch.get_rng_state().long(), torch.tensor(numbers)])

    before = states()
    first, again, other = (
        torch.tensor([list(p.values()) for p, _ in search(kata, case, lambda params: params["a"], 5, s).trials])
        for s in (case.seed, case.seed, case.seed + 1)
    )
    return {"same": Pairs(first, again), "other": Pairs(first[:1], other[:1]), "quiet": Pairs(before, states())}


def repeats(kata, case):
    drawn = [{p["k"] for p, _ in search(kata, case, lambda params: 0.0, 10, case.seed + s).trials} for s in range(3)]
    return {"some": min(map(len, drawn)) < 10}


def narrow(kata, case):
    return {"inside": all(0.1 <= p["a"] <= NEXT for p, _ in search(kata, case, lambda params: 0.0, 60).trials)}


def objects(kata, case):
    space = copy.deepcopy(case.space)
    trials = search(kata, case, lambda params: 0.0, 20, space=space).trials
    kept = space == case.space
    for value in space["a"]:
        value.append("seen")
    same = case.of == "grid_search" or all(p["a"][-1:] == ["seen"] for p, _ in trials)  # a grid's may be copies
    return {"same": same, "space kept": kept, "trials": len(trials)}


def start(kata, case):
    """Which of the first points depend on the values, with 4 random points, and with 2."""
    seen = {}
    for n, options in {4: {}, 2: {"n_start": 2}}.items():
        up, down = (
            torch.stack(
                [points(kata, case.seed + s, lambda p, v=v: v * p["x"], n + 1, UNIT, **options) for s in range(3)]
            )
            for v in (1, -1)
        )
        seen[str(n)] = [Pairs(up[:, i], down[:, i]) for i in range(n + 1)]
    return seen


def units(kata, case):
    """Whether values and ranges in other units lead to the same points, but for the last bits."""
    unit = 2.0**20
    plain, high, low = (points(kata, case.seed, lambda p, u=u: u * bowl(p), 7, UNIT) for u in (1.0, unit, 1 / unit))
    wide = points(kata, case.seed, lambda p: bowl({**p, "x": p["x"] / unit}), 7, UNIT | {"x": (0.0, unit)})
    wide[:, 0] /= unit
    others = {"high": high, "low": low, "wide": wide}
    return {name: Pairs((plain * unit).round(), (other * unit).round()) for name, other in others.items()}


def offset(kata, case):
    """Whether small differences of large values are seen."""
    runs = [
        torch.cat([points(kata, case.seed + s, f, 6, UNIT) for s in range(3)])
        for f in (lambda p: 1e8 + bowl(p), lambda p: 1e8)
    ]
    return {"seen": Pairs(*runs)}


def again(kata, case):
    tried = points(kata, case.seed, lambda p: (p["x"] - 0.3) ** 2, 20, {"x": (0.0, 1.0)}).sort(0).values
    return {"different": Pairs(tried[1:], tried[:-1], rows=True)}


def bowl(params):
    return (params["x"] - 0.3) ** 2 + (params["y"] - 0.6) ** 2


def box(kata, case):
    """In which cell of the box each search ends whose objective is lowest in the middle of a cell."""
    ends, calls, best = [], [], []
    for number, cell in enumerate(case.cells):
        middle = [(c + 0.5) / CELLS for c in cell]

        def objective(params, middle=middle):
            calls.append(params)
            return 1e3 * sum((s - m) ** 2 for s, m in zip(shares(params, case.space), middle, strict=True)) - 1e4

        result = kata.bayesian_search(objective, dict(case.space), 16, seed=case.seed + number)
        ends.append([math.floor(s * CELLS) for s in shares(result.best_params, case.space)])
        best.append(result.best_value)
    # Random search's median is 0.0135; four of its six are below 0.005 in one case of forty.
    return {"cells": ends, "calls": len(calls), "low": (sorted(best)[3] + 1e4) / 1e3 < 0.005}


def shares(params, space):
    """Where in its range each parameter stands, from 0 to 1."""
    return [
        (params[name] - entry[0]) / (entry[1] - entry[0])
        if len(entry) == 2
        else math.log(params[name] / entry[1]) / math.log(entry[2] / entry[1])
        for name, entry in space.items()
    ]


def constant(kata, case):
    """How close the last points of 16 come to any other, and how far they reach, where the objective is constant."""
    nearest, reach = [], []
    for s in range(5):
        tried = points(kata, case.seed + s, lambda params: 7.0, 16, UNIT)
        apart = torch.cdist(tried, tried)
        nearest.append((apart + torch.eye(16))[8:].min().item())
        reach.append(apart[8:, 8:].max().item())
    # The mean of five is 0.145 or more on average for right answers and 0.052 for points at random; it varies by 0.015.
    return {"apart": sum(nearest) / len(nearest) > 0.09, "reach": sorted(reach)[2] > 0.5}


def plateau(kata, case):
    """How far the points go from each other after the first of several equal improvements."""
    steps = []
    for s in range(4):
        values = iter([1.0] * 4 + [0.0] * 8)
        tried = points(kata, case.seed + s, lambda params, left=values: next(left), 12, UNIT | {"z": (0.0, 1.0)})
        apart = torch.cdist(tried, tried)
        steps.append(torch.stack([apart[i, :i].min() for i in range(5, 12)]).median().item())
    return {"on": sum(steps) / 4 > 0.1}
