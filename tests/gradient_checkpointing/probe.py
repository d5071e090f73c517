"""What can be seen of a checkpoint: results, gradients, runs, the random stream, dtypes, what is kept, the layers' order."""

import gc
from itertools import pairwise, product

import torch
from torch import nn
from torch.nn import functional as F

from dojo.testing import randint, randn
from dojo.testing.alive import Alive
from dojo.testing.cost import measure
from dojo.testing.probes import Case

FORBIDDEN = ("torch.utils.checkpoint", "torch.distributed")
ONE, SEQUENTIAL, BEST = "checkpoint", "checkpoint_sequential", "best_segments"


def drop(x):
    return F.dropout(x.exp(), 0.5)


# name: the function, made of the checkpoint and of a leaf w that it closes over; its arguments, of which x wants a gradient
# as c (complex) does, and d (data), i (integers), p (a number), s (one in a dict) and n (None) don't.
FUNCTIONS = {
    "cube": (lambda call, w: lambda x: x * x * x, "x"),
    "around": (lambda call, w: lambda x: call(lambda x: x.sin() * w, x * x).exp() + x, "x"),
    "slots": (lambda call, w: lambda a, b, c: a.sin() * b + c * c * c, "xxx"),
    "a number first": (lambda call, w: lambda p, x: p * 2 + x * x, "px"),
    "complex": (lambda call, w: lambda c: (c * c * w).abs(), "c"),
    "objects": (lambda call, w: lambda s, x, n, y: x.sin() * s["by"] + y.exp() * (n is None), "sxnx"),
    "integers": (lambda call, w: lambda i, x: x[i % 5] * w, "ix"),
    "tuple": (lambda call, w: lambda x: (lambda h: (h * h, None, h.sin(), "name", 7, x > 0))(x.exp()), "x"),
    "tuple of one": (lambda call, w: lambda x: (x * x,), "x"),
    "the second of three": (lambda call, w: lambda x, y: (x * x, x * y, y.exp()), "xx"),
    "a steep one unused": (lambda call, w: lambda x: (x * w, (x - x).sqrt()), "x"),
    "detached": (lambda call, w: lambda x: (x.exp(), x.detach() * 2), "x"),
    "data": (lambda call, w: lambda x: torch.tanh(x * w), "d"),
    "nothing": (lambda call, w: lambda: torch.tanh(w * w), ""),
    "nested": (lambda call, w: lambda x: drop(call(lambda x: drop(x * w), drop(x))), "x"),
    "in a row": (lambda call, w: lambda x: call(drop, call(drop, x.sin()).sin()), "x"),
    "waiting": (lambda call, w: lambda x: call(torch.pow, x, 2) * call(lambda x, s: (x * w).exp() * s, x, 3), "x"),
    "float16": (lambda call, w: lambda x: torch.tanh(x.half()).float() * w, "x"),
}
USED = {"the second of three": [1], "a steep one unused": [0]}  # the results in the loss; in the others all
AROUND = ("around", "in a row", "waiting")  # here the function itself calls the checkpoint, and stands in none


def cases(rng):
    for name in FUNCTIONS:
        x, y, z, w = (randn(rng, *shape) for shape in ((5, 4), (5, 4), (5, 4), (4,)))
        yield Case(name, of=ONE, i=randint(rng, 1, 9, 5), x=x, y=y, z=z, w=w)
    for name in ("runs", "twice", "frozen", "no_grad", "stream", "kept"):
        yield Case(name, of=ONE, x=randn(rng, 40), w=randn(rng, 40))
    for forward, behind in product((None, torch.bfloat16, torch.float16), (None, torch.bfloat16)):
        x, w = randn(rng, 2, 3, 3).float().unbind()
        yield Case(f"autocast {forward}, {behind}", of=ONE, x=x, w=w, autocast=[forward, behind])
    for count, segments in ((4, 2), (4, 4), (6, 2), (5, 2), (5, 4), (5, 3), (1, 1), (3, 1), (3, 0), (3, -1), (3, 4)):
        yield Case(f"{count} in {segments}", of=SEQUENTIAL, x=randn(rng, 2, 3), count=count, segments=segments)
    yield Case("cost", of=SEQUENTIAL, x=randn(rng, 1024, 16).float())
    yield Case("some", of=BEST, layers=randint(rng, 1, 200, 12).tolist())
    for layers in (1, 3, 5, 10, 17, 0, -2):
        yield Case(f"{layers} layers", of=BEST, layers=[layers])


def run(kata, case):
    if case.of == BEST:
        return {"segments": [kata.best_segments(layers) for layers in case.layers]}
    if case.of == SEQUENTIAL:
        return (cost if case.name == "cost" else sequential)(kata, case)
    x, w = (leaf.clone().requires_grad_() for leaf in (case.x, case.w))
    return (step if case.name in FUNCTIONS else autocast if hasattr(case, "autocast") else life)(kata, case, x, w)


def step(kata, case, x, w):
    make, kinds = FUNCTIONS[case.name]
    leaves = iter([x, case.y.requires_grad_(), case.z.requires_grad_()])
    others = {"d": case.x, "s": {"by": 3}, "n": None, "i": case.i, "p": 2, "c": (case.x + 1j).requires_grad_()}
    args = [next(leaves) if kind == "x" else others[kind] for kind in kinds]
    function = make(kata.checkpoint, w)
    results = function(*args) if case.name in AROUND else kata.checkpoint(function, *args)
    seen = {"kind": type(results).__name__, "results": results}
    results = results if isinstance(results, tuple) else (results,)
    floats = [r for r in results if torch.is_tensor(r) and r.is_floating_point()]
    sum((floats[i] * (i + 2)).sum() for i in USED.get(case.name, range(len(floats)))).backward()
    seen["args"] = [(arg.requires_grad, arg.grad) for arg in args if torch.is_tensor(arg)]
    return seen | {"w": torch.zeros_like(w) if w.grad is None else w.grad, "stream": torch.rand(2)}


def life(kata, case, x, w):
    runs = []

    def function(x):
        runs.append(torch.is_grad_enabled())
        return drop(x) * w if case.name == "stream" else torch.tanh(x * w)

    if case.name == "frozen":
        (kata.checkpoint(torch.exp, case.x.clone()).sum() * w.sum()).backward()
        return {"w": w.grad}
    if case.name == "kept":
        with Alive() as alive:
            y = kata.checkpoint(function, x * 2)
        kept, seen, y = alive.elements(), y.detach().clone(), None
        gc.collect(1)
        return {"y": seen, "kept": 80 <= kept <= 110 + 5056, "after": alive.elements() < 40}
    with torch.set_grad_enabled(case.name != "no_grad"):
        y = kata.checkpoint(function, x)
    seen = {"y": y, "graph": y.requires_grad, "runs": len(runs), "stream": torch.rand(2)}
    for last in {"no_grad": [], "twice": [False, True]}.get(case.name, [True]):
        y.sum().backward(retain_graph=not last)
    return seen | {"again": runs[1:], "stream after": torch.rand(2), "x": x.grad, "w": w.grad}


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
    return {"y": y, "runs": runs, "x": x.grad, "w": w.grad}


def sequential(kata, case):
    order, x, n = [], case.x.requires_grad_(), case.count
    layers = [nn.Sequential(nn.Linear(3, 3), nn.Tanh()).double() for _ in range(n)]
    for number, layer in enumerate(layers):
        layer.register_forward_pre_hook(lambda *_, number=number: order.append(number))
    y = kata.checkpoint_sequential(layers, case.segments, x)
    y.sum().backward()
    again = order[n:]
    starts = [0, *(i for i in range(1, len(again)) if again[i] < again[i - 1]), len(again)]
    fits = len(starts) <= case.segments + 1, max(b - a for a, b in pairwise(starts)) <= -(-n // case.segments)
    seen = {"y": y, "x": x.grad, "w": [parameter.grad for layer in layers for parameter in layer.parameters()]}
    return seen | {"order": order[:n], "again": again if n % case.segments == 0 else sorted(again), "fits": fits}


def cost(kata, case):
    layers, x = [nn.Sequential(nn.Linear(16, 16), nn.GELU()) for _ in range(4)], case.x.clone().requires_grad_()
    with measure() as spent, Alive() as alive:
        y = kata.checkpoint_sequential(layers, 2, x)
        kept = alive.elements() / x.numel()
        y.sum().backward()
    lean = 1 <= kept <= 2.9, alive.peak / x.numel() <= 12, alive.elements() / x.numel() <= 6
    return {"lean": lean, "flops": 1 <= spent.flops / (4 * 3 * 2 * 1024 * 16 * 16) <= 1.35}
