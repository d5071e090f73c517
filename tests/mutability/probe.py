"""What can be seen of sharing: one side is changed, and the other one is looked at."""

import copy
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import nn

from dojo.testing import randint, randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs


@dataclass
class Mutable:
    value: int = 0


class HashableDict(dict):
    __hash__ = object.__hash__


OBJECTS = [1, "ab", (1, (2, 3)), [1], {}, (1, [2]), frozenset(), torch.zeros(1), nn.Identity(), Mutable(), bytearray()]
NESTED = {"a": [1, {"b": {2, 3}}], "c": ([4], "text"), "d": frozenset({5}), "e": {"f": [{"g": (6,)}]}}
PATHS = {
    "inner": ({"a": {"b": 1, "c": {"d": 2}}, "e": 3}, ["a", "b"]),
    "deep": ({"a": {"b": 1, "c": {"d": 2}}, "e": 3}, ("a", "c", "d")),
    "top": ({"a": {"b": 1}}, ("a",)),
    "missing": ({"a": {}}, ("a", "b", "c")),
    "empty config": ({}, (0, "")),
    "subclass": (OrderedDict(a=OrderedDict(b=1)), ("a", "b")),
    "dict over dict": ({"a": {"b": 1}}, ("a",)),
    "through 0": ({"a": 0}, ("a", "b")),
    "through a number": ({"a": 1}, ("a", "b")),
    "through None": ({"a": None}, ("a", "b")),
    "no path": ({"a": 1}, ()),
}


FROZEN = [NESTED, [1, [2, "ab"]], OrderedDict(b=[1], a=2), {1, 2}, "ab", [bytearray()], HashableDict(a=1)]
MAKE = {
    "list": list,
    "tuple": tuple,
    "dict": dict,  # of pairs
    "set": set,
    "frozenset": frozenset,
    "bytearray": bytearray,
    "module": lambda parts: nn.Identity(),
    "mutable": lambda parts: Mutable(*parts),
}


def build(plan):
    """[kind, parts] made into the object; anything else is itself."""
    return MAKE[plan[0]](map(build, plan[1])) if isinstance(plan, list) else plan


def whole(rng, low, high):
    return int(randint(rng, low, high, 1))


def numbers(rng, n, high=100):
    return randint(rng, 0, high, n).tolist()


def maybe_hashable(rng):
    kind = ("tuple", "tuple", "list", "set", "frozenset", "bytearray", "module", "mutable", "number")[whole(rng, 0, 9)]
    if kind == "tuple":
        return [kind, [maybe_hashable(rng) for _ in range(whole(rng, 1, 3))]]
    return whole(rng, 0, 100) if kind == "number" else [kind, [] if kind == "module" else numbers(rng, 1)]


def freezable(rng, depth=3):
    kind = ("list", "tuple", "dict", "set", "number")[whole(rng, 0, 5 if depth < 3 else 3)]
    if kind == "number" or not depth:
        return whole(rng, 0, 100)
    if kind == "set":
        return [kind, numbers(rng, 2)]
    parts = [freezable(rng, depth - 1) for _ in range(whole(rng, 1, 4))]
    return [kind, [["tuple", [f"k{number}", part]] for number, part in enumerate(parts)] if kind == "dict" else parts]


def update(rng):
    """A path that exists, or ends in a key or two that are missing."""
    path = [f"k{number}" for number in numbers(rng, whole(rng, 1, 4), 5)]
    config, there = None, whole(rng, 0, 4)
    for depth in reversed(range(len(path))):
        beside = {f"k{number}": whole(rng, 0, 100) for number in numbers(rng, 2, 9)}
        missing = {key: value for key, value in beside.items() if key != path[depth]}
        config = {**beside, path[depth]: config or whole(rng, 0, 100)} if depth < there else missing
    return {"config": config, "path": path, "value": whole(rng, 0, 1000)}


def cases(rng):
    for name, n in (("None", None), ("[]", 0), ("[1, 2]", 2)):
        start = None if n is None else numbers(rng, n, 10**9)
        yield Case(f"append to {name}", of="append_to", start=start, items=numbers(rng, 2, 10**9))
    yield Case("append a list", of="append_to", start=numbers(rng, 1), items=[numbers(rng, 2, 10**9)])
    for rows, cols in ((3, 2), (0, 3), (2, 0), (-1, 2), (2, -1)):
        yield Case(f"grid {rows} x {cols}", of="make_grid", rows=rows, cols=cols, fill=whole(rng, 0, 10**9))
    one, two, three = numbers(rng, 3, 10**9)
    yield Case("any grid", of="make_grid", rows=whole(rng, 2, 9), cols=whole(rng, 2, 9), fill=[one, [two]])
    yield Case("grid of lists", of="make_grid", rows=2, cols=2, fill=[two, [three]])
    yield Case("grid of tuples", of="make_grid", rows=1, cols=2, fill=([one],))
    yield Case("grid of tensors", of="make_grid", rows=1, cols=2, fill=randint(rng, 0, 100, 2))
    for n in (4, 0, -1):
        yield Case(f"{n} callbacks", of="make_callbacks", n=n, order=[])
    n = whole(rng, 20, 40)
    yield Case("any callbacks", of="make_callbacks", n=n, order=numbers(rng, 30, n))
    for name, n in (("4", 4), ("0", 0), ("-1", -1), ("any", whole(rng, 2, 9))):
        of = "independent_layers"
        yield Case(f"{name} layers", of=of, n=n, weights=randn(rng, 12, 3, 3), moved=whole(rng, 0, max(n, 1)))
    for number in range(len(OBJECTS)):
        yield Case(f"hashable {number}", of="is_hashable", number=number)
    yield Case("hashable any", of="is_hashable", plans=[maybe_hashable(rng) for _ in range(80)])
    for number in range(len(FROZEN)):
        yield Case(f"freeze {number}", of="deep_freeze", number=number)
    yield Case("freeze a tensor", of="deep_freeze")
    yield Case("freeze in two orders", of="deep_freeze", config={"x": 1, "y": [2]})
    yield Case("freeze any", of="deep_freeze", plans=[freezable(rng) for _ in range(12)])
    for name in PATHS:
        yield Case(f"update: {name}", of="update_nested")
    yield Case("update: any", of="update_nested", updates=[update(rng) for _ in range(12)])
    yield Case("snapshot", of="snapshot", x=randn(rng, 6, 3), dtype=torch.float64)
    yield Case("snapshot of half", of="snapshot", x=None, dtype=torch.bfloat16)


def run(kata, case):
    return globals()[case.of](kata, case)


def append_to(kata, case):
    if case.start is None:  # what earlier calls have left in a shared default must not matter
        first = kata.append_to(case.items[0])
        length = len(first)
        second = kata.append_to(case.items[1])
        return {"items": [first[-1], second[-1]], "alone": len(second) == 1, "first kept": len(first) == length}
    bucket = list(case.start)
    result = kata.append_to(case.items[0], bucket)
    seen = {"result": repr(result), "bucket": repr(bucket)}
    if isinstance(result, list):
        result.append(8)
    return seen | {"later": repr(bucket)}


def make_grid(kata, case):
    fill = copy.deepcopy(case.fill)
    grid = kata.make_grid(case.rows, case.cols, fill)
    seen = {"grid": repr(grid)}
    if isinstance(fill, list):
        grid[0][0].append(2)
        grid[0][1][1].append(3)
        fill[1].append(4)
    if isinstance(fill, tuple):
        grid[0][0][0].append(2)
    if isinstance(fill, torch.Tensor):
        grid[0][0].add_(1)
        fill.add_(5)
    if len(grid) > 1 and grid[0]:
        grid[1][1] = "x"
    return seen | {"changed": repr(grid)}


def make_callbacks(kata, case):
    callbacks = list(kata.make_callbacks(case.n))
    forwards, backwards = ([c() for c in order] for order in (callbacks, callbacks[::-1]))
    return {"forwards": forwards, "backwards": backwards, "any": [callbacks[number]() for number in case.order]}


def is_hashable(kata, case):
    objects = map(build, case.plans) if hasattr(case, "plans") else [OBJECTS[case.number]]
    return {"answers": [bool(kata.is_hashable(obj)) for obj in objects]}


def deep_freeze(kata, case):
    if hasattr(case, "plans"):
        return {"frozen": [described(kata.deep_freeze(build(plan))) for plan in case.plans]}
    if case.name == "freeze a tensor":
        tensor = torch.zeros(2)
        return {"key again": {kata.deep_freeze(tensor): True}.get(kata.deep_freeze(tensor), False)}
    if case.name == "freeze in two orders":
        frozen, other = kata.deep_freeze(case.config), kata.deep_freeze(dict(reversed(case.config.items())))
        return {"equal": bool(frozen == other)}
    obj = copy.deepcopy(FROZEN[case.number])
    frozen = kata.deep_freeze(obj)
    seen = {"frozen": described(frozen), "argument": described(obj)}
    if obj == NESTED:
        obj["a"][1]["b"].add(9)
    return seen | {"later": described(frozen)}


def update_nested(kata, case):
    if hasattr(case, "updates"):
        return {"updates": [updated(kata, **given) for given in case.updates]}
    config, path = PATHS[case.name.removeprefix("update: ")]
    return updated(kata, config, path, {"c": 2} if case.name.endswith("dict over dict") else "new")


def updated(kata, config, path, value):
    config, given = copy.deepcopy(config), copy.copy(path)
    result = kata.update_nested(config, given, value)
    # What kind of dict comes back for a subclass is left free.
    seen = {"updated": described(json(result)), "config": described(config), "path": described(given)}
    place = result
    for key in path[:-1]:
        place["more"] = 1
        place = place[key]
    place["more"] = 2
    return seen | {"later": described(config)}


def json(obj):
    return {key: json(value) for key, value in obj.items()} if isinstance(obj, dict) else obj


def independent_layers(kata, case):
    calls = []

    def make():
        layer = nn.Linear(3, 3, dtype=torch.float64)
        layer.weight.data.copy_(case.weights[len(calls) % 12])
        calls.append(1)
        return layer

    model = nn.Module()
    layers = model.layers = kata.independent_layers(make, case.n)
    weights = [layer.weight.detach().clone() for layer in layers]
    if case.n:
        with torch.no_grad():
            layers[case.moved].weight.add_(1.0)
    return {
        "kind": type(layers).__name__,
        "names": list(model.state_dict()),
        "calls": len(calls),
        "moved": [Pairs(layer.weight, old) for layer, old in zip(layers, weights, strict=True)],
        "weights": sorted(weights, key=lambda weight: weight[0, 0].item()),
    }


def snapshot(kata, case):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).to(case.dtype)
    model.register_buffer("scratch", torch.zeros(1), persistent=False)
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    with measure() as spent:
        taken = kata.snapshot(model)
    seen = {
        "names": sorted(taken),
        "dtypes": [str(taken[name].dtype) for name in sorted(taken)],
        "graph": [taken[name].requires_grad for name in sorted(taken)],
        "once": spent.allocated <= 1.1 * size,
    }
    if case.x is not None:
        model(case.x).sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    return seen | {"kept": [taken[name] for name in sorted(taken)]}


def described(obj):
    """Types and contents, sets and dicts sorted."""
    if isinstance(obj, dict):
        inner = sorted(f"{described(key)}: {described(value)}" for key, value in obj.items())
    elif isinstance(obj, set | frozenset):
        inner = sorted(map(described, obj))
    elif isinstance(obj, list | tuple):
        inner = list(map(described, obj))
    else:
        return repr(obj)
    return f"{type(obj).__name__}({', '.join(inner)})"
