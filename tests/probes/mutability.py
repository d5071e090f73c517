"""What can be seen of sharing: one side is changed, and the other one is looked at."""

import copy
from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import nn

from dojo.cost import measure
from dojo.probes import Case
from dojo.testing import randn


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


def cases(rng):
    for start in (None, [], [1, 2]):
        yield Case(f"append to {start}", of="append_to", start=start, items=[7])
    yield Case("append a list", of="append_to", start=[0], items=[[1, 2]])
    for rows, cols in ((3, 2), (0, 3), (2, 0), (-1, 2), (2, -1)):
        yield Case(f"grid {rows} x {cols}", of="make_grid", rows=rows, cols=cols, fill=0)
    yield Case("grid of lists", of="make_grid", rows=2, cols=2, fill=[0, [1]])
    yield Case("grid of tuples", of="make_grid", rows=1, cols=2, fill=([1],))
    yield Case("grid of tensors", of="make_grid", rows=1, cols=2, fill=torch.zeros(2))
    for n in (4, 0, -1):
        yield Case(f"{n} callbacks", of="make_callbacks", n=n)
        yield Case(f"{n} layers", of="independent_layers", n=n)
    for number, obj in enumerate(OBJECTS):
        yield Case(f"hashable {number}", of="is_hashable", obj=obj)
    for number, obj in enumerate(
        [NESTED, [1, [2, "ab"]], OrderedDict(b=[1], a=2), {1, 2}, "ab", [bytearray()], HashableDict(a=1)]
    ):
        yield Case(f"freeze {number}", of="deep_freeze", obj=obj)
    yield Case("freeze a tensor", of="deep_freeze", obj=torch.zeros(2))
    yield Case("freeze in two orders", of="deep_freeze", obj={"x": 1, "y": [2]})
    for name, (config, path) in PATHS.items():
        yield Case(f"update: {name}", of="update_nested", config=config, path=path)
    yield Case("snapshot", of="snapshot", x=randn(rng, 6, 3), dtype=torch.float64)
    yield Case("snapshot of half", of="snapshot", x=None, dtype=torch.bfloat16)


def run(kata, case):
    return globals()[case.of](kata, case)


def append_to(kata, case):
    if case.start is None:  # what earlier calls have left in a shared default must not matter
        first = kata.append_to(1)
        length = len(first)
        second = kata.append_to(2)
        return {"items": [first[-1], second[-1]], "alone": len(second) == 1, "first kept": len(first) == length}
    bucket = list(case.start)
    result = kata.append_to(*case.items, bucket)
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
    return {"forwards": [c() for c in callbacks], "backwards": [c() for c in callbacks[::-1]]}


def is_hashable(kata, case):
    return {"answer": bool(kata.is_hashable(case.obj))}


def deep_freeze(kata, case):
    obj = copy.deepcopy(case.obj)
    frozen = kata.deep_freeze(obj)
    if isinstance(obj, torch.Tensor):
        return {"key again": {frozen: True}.get(kata.deep_freeze(obj), False)}
    if case.name == "freeze in two orders":
        return {"equal": bool(frozen == kata.deep_freeze(dict(reversed(obj.items()))))}
    seen = {"frozen": described(frozen), "argument": described(obj)}
    if obj == NESTED:
        obj["a"][1]["b"].add(9)
    return seen | {"later": described(frozen)}


def update_nested(kata, case):
    config, path = copy.deepcopy(case.config), copy.copy(case.path)
    updated = kata.update_nested(config, path, {"c": 2} if case.name.endswith("dict over dict") else "new")
    # What kind of dict comes back for a subclass is left free.
    seen = {"updated": described(json(updated)), "config": described(config), "path": described(path)}
    place = updated
    for key in case.path[:-1]:
        place["more"] = 1
        place = place[key]
    place["more"] = 2
    return seen | {"later": described(config)}


def json(obj):
    return {key: json(value) for key, value in obj.items()} if isinstance(obj, dict) else obj


def independent_layers(kata, case):
    calls = []

    def make():
        calls.append(1)
        return nn.Linear(3, 3)

    model = nn.Module()
    layers = model.layers = kata.independent_layers(make, case.n)
    weights = [layer.weight.detach().clone() for layer in layers]
    if case.n:
        with torch.no_grad():
            layers[1].weight.add_(1.0)
    return {
        "kind": type(layers).__name__,
        "names": list(model.state_dict()),
        "calls": len(calls),
        "moved": [not torch.equal(layer.weight, old) for layer, old in zip(layers, weights, strict=True)],
        "different": len({tuple(weight.flatten().tolist()) for weight in weights}),
    }


def snapshot(kata, case):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).to(case.dtype)
    model.register_buffer("scratch", torch.zeros(1), persistent=False)
    before = copy.deepcopy(model.state_dict())
    with measure() as spent:
        taken = kata.snapshot(model)
    seen = {
        "names": sorted(taken),
        "dtypes": [str(taken[name].dtype) for name in sorted(taken)],
        "graph": [taken[name].requires_grad for name in sorted(taken)],
        "once": spent.allocated <= 1.1 * sum(tensor.nbytes for tensor in before.values()),
    }
    if case.x is not None:
        model(case.x).sum().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 1
    seen["kept"] = [torch.equal(taken[name], before[name]) for name in sorted(taken) if name in before]
    return seen


def described(obj):
    """Types and contents, sets sorted."""
    if isinstance(obj, dict):
        inner = [f"{described(key)}: {described(value)}" for key, value in obj.items()]
    elif isinstance(obj, set | frozenset):
        inner = sorted(map(described, obj))
    elif isinstance(obj, list | tuple):
        inner = list(map(described, obj))
    else:
        return repr(obj)
    return f"{type(obj).__name__}({', '.join(inner)})"
