"""What can be seen of a checkpoint: results, gradients, runs, the random stream, dtypes, what is kept, the layers' order."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from dojo.testing import randint, randn
from dojo.testing.alive import Alive
from dojo.testing.cost import measure
from dojo.testing.probes import Case

FORBIDDEN = ("torch.utils.checkpoint", "torch.distributed")
ONE, SEQUENTIAL, BEST = "checkpoint", "checkpoint_sequential", "best_segments"


def dropped(x):
    return F.dropout(x.exp(), 0.5)


# name: the function, of the checkpoint and a leaf tensor w to close over; how often x is an argument; which arguments want
# a gradient; which results the loss uses
FUNCTIONS = {
    "cube": (lambda call, w: lambda x: x * x * x, "x", None),
    "layer": (lambda call, w: lambda x: torch.tanh(x * w), "x", None),
    "slots": (lambda call, w: lambda a, b, c: a.sin() * b + c * c * c, "xxx", None),
    "data between": (lambda call, w: lambda a, b, c: a.sin() * b + c * c * c, "xdx", None),
    "objects": (lambda call, w: lambda s, x, n, y: x.sin() * s["by"] + y.exp() * (n is None), "oxnx", None),
    "integers": (lambda call, w: lambda i, x: x[i.argsort()] * i * w, "ix", None),
    "tuple": (lambda call, w: lambda x: (x * x, None, x.exp(), "name", 7, x > 0), "x", None),
    "tuple of one": (lambda call, w: lambda x: (x * x,), "x", None),
    "the second of three": (lambda call, w: lambda x, y: (x * x, x * y, y.exp()), "xx", [1]),
    "the third of three": (lambda call, w: lambda x, y: (x * x, x * y, y.exp()), "xx", [2]),
    "a steep one unused": (lambda call, w: lambda x: (x * w, (x - x).sqrt()), "x", [0]),
    "detached": (lambda call, w: lambda x: (x.exp(), x.detach() * 2), "x", None),
    "data": (lambda call, w: lambda x: torch.tanh(x * w), "d", None),
    "nothing": (lambda call, w: lambda: torch.tanh(w * w), "", None),
    "dropout": (lambda call, w: dropped, "x", None),
    "nested": (lambda call, w: lambda x: dropped(call(lambda x: dropped(x * w), dropped(x))), "x", None),
    "in a row": (lambda call, w: lambda x: call(dropped, call(dropped, x.sin()).sin()), "x", None),
    "two waiting": (lambda call, w: lambda x: call(torch.sin, x) * call(torch.exp, x * w), "x", None),
    "float16": (lambda call, w: lambda x: torch.tanh(x.half()).float() * w, "x", None),
}


def cases(rng):
    for name, (_, kinds, _) in FUNCTIONS.items():
        shape = (5, 4) if "i" not in kinds else (4,)
        given = {"x": randn(rng, *shape), "y": randn(rng, *shape), "z": randn(rng, *shape), "w": randn(rng, 4)}
        yield Case(name, of=ONE, i=randint(rng, 1, 9, 4), **given)
    for name in ("runs", "twice", "frozen", "no_grad", "stream", "kept", "upstream"):
        yield Case(name, of=ONE, x=randn(rng, 40), w=randn(rng, 40))
    for forward in (None, torch.bfloat16, torch.float16):
        for behind in (None, torch.bfloat16):
            x, w = randn(rng, 3, 3).float(), randn(rng, 3, 3).float()
            yield Case(f"autocast {forward}, {behind}", of=ONE, x=x, w=w, autocast=[forward, behind])
    for count, segments in ((4, 2), (4, 4), (5, 2), (5, 3), (5, 4), (7, 3), (1, 1), (3, 1), (3, 0), (3, -1), (3, 4)):
        yield Case(f"{count} in {segments}", of=SEQUENTIAL, x=randn(rng, 2, 3), count=count, segments=segments)
    for segments in (1, 4):
        yield Case(f"cost of {segments}", of=SEQUENTIAL, x=randn(rng, 1024, 16).float(), segments=segments)
    yield Case("some", of=BEST, layers=randint(rng, 1, 300, 20).tolist())
    for layers in (1, 3, 5, 10, 17, 0, -2):
        yield Case(f"{layers} layers", of=BEST, layers=[layers])


def run(kata, case):
    if case.of == BEST:
        return {"segments": [kata.best_segments(layers) for layers in case.layers]}
    if case.of == SEQUENTIAL:
        return costs(kata, case) if case.name.startswith("cost") else sequential(kata, case)
    x, w = (leaf.clone().requires_grad_() for leaf in (case.x, case.w))
    if case.name in FUNCTIONS:
        return step(kata, case, x, w)
    if hasattr(case, "autocast"):
        return autocast(kata, case, x, w)
    runs = []

    def function(x):
        runs.append(torch.is_grad_enabled())
        return dropped(x) * w if case.name == "stream" else torch.tanh(x * w)

    if case.name == "no_grad":
        with torch.no_grad():
            y = kata.checkpoint(function, x)
        return {"y": y, "runs": len(runs), "graph": y.requires_grad}
    if case.name == "frozen":
        loss = kata.checkpoint(torch.exp, case.x.clone()).sum() * w.sum()
        loss.backward()
        return {"w": w.grad}
    with Alive() as alive:
        y = kata.checkpoint(function, x)
        kept = alive.elements() if case.name == "kept" else 0
    if case.name == "kept":
        return {"y": y, "kept": len(x) <= kept <= 1.5 * len(x) + 6000}
    seen = {"y": y, "runs": len(runs), "stream": torch.rand(2)}
    if case.name == "upstream":
        y = y * torch.arange(40)
    y.sum().backward(retain_graph=case.name == "twice")
    if case.name == "twice":
        y.sum().backward()
    again = {"again": len(runs), "graph": runs[1:2]} if case.name == "runs" else {}
    return seen | again | {"stream after": torch.rand(2), "x": x.grad, "w": w.grad}


def step(kata, case, x, w):
    make, kinds, used = FUNCTIONS[case.name]
    others = iter([case.y.clone().requires_grad_(), case.z.clone().requires_grad_()])
    leaves = [
        x if kind == "x" and i == kinds.index("x") else next(others) if kind == "x" else None
        for i, kind in enumerate(kinds)
    ]
    plain = {"d": case.x.clone(), "o": {"by": 3}, "n": None, "i": case.i.clone()}
    args = [plain[kind] if leaf is None else leaf for kind, leaf in zip(kinds, leaves, strict=True)]
    results = kata.checkpoint(make(kata.checkpoint, w), *args)
    seen = {"kind": type(results).__name__, "results": [r for r in results] if isinstance(results, tuple) else results}
    results = results if isinstance(results, tuple) else (results,)
    floats = [r for r in results if isinstance(r, torch.Tensor) and r.is_floating_point()]
    sum((floats[i] * (i + 2)).sum() for i in used or range(len(floats))).backward()
    unwanted = [
        (a.requires_grad, a.grad is None)
        for a in args
        if isinstance(a, torch.Tensor) and not any(a is leaf for leaf in leaves)
    ]
    zero = torch.zeros_like(w)
    return seen | {
        "args": [None if leaf is None else leaf.grad for leaf in leaves],
        "w": zero if w.grad is None else w.grad,
        "unwanted": unwanted,
        "stream": torch.rand(2),
    }


def autocast(kata, case, x, w):
    runs = []

    def function(x):
        runs.append(str((x @ w).dtype))
        return torch.tanh(x @ w).float()

    forward, behind = case.autocast
    with torch.autocast("cpu", forward, enabled=forward is not None):
        y = kata.checkpoint(function, x)
    with torch.autocast("cpu", behind, enabled=behind is not None):
        y.sum().backward()
        now = torch.is_autocast_enabled("cpu"), str(torch.get_autocast_dtype("cpu"))
    return {"y": y, "runs": runs, "now": now, "x": x.grad, "w": w.grad}


class Layer(nn.Module):
    def __init__(self, number, order):
        super().__init__()
        self.number, self.order = number, order
        self.weight = nn.Parameter(torch.full((3,), 0.5 + number / 10).double())

    def forward(self, x):
        self.order.append(self.number)
        return torch.tanh(x * self.weight)


def sequential(kata, case):
    order, x, n = [], case.x.clone().requires_grad_(), case.count
    layers = [Layer(number, order) for number in range(n)]
    y = kata.checkpoint_sequential(layers, case.segments, x)
    y.sum().backward()
    again = order[n:]
    starts = [0, *(i for i in range(1, len(again)) if again[i] < again[i - 1]), len(again)]
    longest = max(end - start for start, end in pairwise(starts))
    fits = len(starts) - 1 <= case.segments, longest <= -(-n // case.segments)
    even = again if n % case.segments == 0 else sorted(again)
    return {
        "y": y,
        "x": x.grad,
        "w": [layer.weight.grad for layer in layers],
        "order": order[:n],
        "again": even,
        "fits": fits,
    }


def costs(kata, case):
    layers = [nn.Sequential(nn.Linear(16, 16), nn.GELU()) for _ in range(8)]
    x = case.x.clone().requires_grad_()
    with measure() as spent, Alive() as alive:
        y = kata.checkpoint_sequential(layers, case.segments, x)
        kept = alive.elements() / x.numel()
        y.sum().backward()
    after = alive.elements() / x.numel()
    plain = 8 * 3 * 2 * 1024 * 16 * 16
    lean = kept <= case.segments * 1.35 + 0.1, alive.peak / x.numel() <= 1.35 * case.segments + 16 / case.segments + 5.3
    return {"lean": lean, "after": after <= case.segments * 1.35 + 4.5, "flops": 1 <= spent.flops / plain <= 1.35}
