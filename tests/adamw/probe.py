"""What can be seen of an optimizer: the walk of a few weights, what becomes of its state, and what a step costs."""

import copy

import torch
from torch import nn

from dojo.testing import randn
from dojo.testing.cost import measure
from dojo.testing.modules import bytes_held
from dojo.testing.probes import Case, Pairs

FORBIDDEN = (
    "_fused_adamw_", "_fused_adam_", "torch.optim._functional",
    "torch.optim.AdamW", "torch.optim.Adam", "torch.optim.NAdam", "torch.optim.RAdam", "torch.optim.Adamax",
    "torch.optim.adamw", "torch.optim.adam", "torch.optim.nadam", "torch.optim.radam", "torch.optim.adamax",
)  # fmt: skip
HALF, BRAIN, SINGLE, DOUBLE, NAN = torch.float16, torch.bfloat16, torch.float32, torch.float64, float("nan")
WRONG_OPTIONS = [{name: wrong} for name in ("lr", "eps", "weight_decay") for wrong in (-0.1, NAN)]
WRONG_OPTIONS += [{"betas": betas} for wrong in (-0.1, 1.0, 1.5, NAN) for betas in ((wrong, 0.9), (0.9, wrong))]
PLAIN = {"lr": 0.125, "betas": (0.75, 0.875), "eps": 1e-100, "weight_decay": 0.0}
BOTH = PLAIN | {"eps": 0.25, "weight_decay": 0.5}
CHANGED = {"lr": 0.5, "eps": 2.0, "weight_decay": 0.25, "betas": (0.5, 0.25)}
ONE, TWO, THREE = [[1]], [[1]] * 2, [[1]] * 3
STEPS = {"first step": ONE, "second step": TWO, "constant": THREE}
SINGLE_OUT = {"plain": {}, "large betas": {"betas": (0.9, 0.999)}, "no betas": {"eps": 0.5, "betas": (0.0, 0.0)}}
SINGLE_OUT |= {"eps": {"eps": 0.25}, "decay": {"weight_decay": 0.5}, "both": BOTH}
KINDS = ("closure", "closure under no_grad", "returned", "again", "graph", "in place", "gradient after", "loop")


def cases(rng):
    def walk(name, has, *, of="step", kind="", size=3, dtype=DOUBLE, scale=1.0, start=4.0, group=None, **options):
        """`has` has a row for each step, with an entry for each parameter: 0 for no gradient."""
        weights = [(start * randn(rng, size)).to(dtype) for _ in has[0]]
        slopes = [[(scale * (0.5 + randn(rng, size))).to(dtype) for _ in row] for row in has]
        slopes = slopes[:1] * len(has) if "constant" in name else slopes
        if kind == "rounded":  # whatever their values, these are 1, and the slopes are above 0
            weights, slopes = [torch.ones_like(w) for w in weights], [[g.abs() for g in row] for row in slopes]
        grads = [[g if h else None for g, h in zip(row, hs, strict=True)] for row, hs in zip(slopes, has, strict=True)]
        of, options = "AdamW" + f".{of}" * bool(of), PLAIN | options
        return Case(name, of=of, kind=kind or name, weights=weights, grads=grads, group=group, options=options)

    for name, options in SINGLE_OUT.items():
        for steps, has in STEPS.items():
            yield walk(f"{steps}, {name}", has, **options)
    yield walk("decay alone", TWO, scale=0.0, eps=1e-8, weight_decay=0.5)
    yield walk("defaults", ONE, of="")
    for has in ([[1, 1]] * 2, [[1, 0], [1, 1]], [[1, 1], [0, 1], [1, 1]], [[1, 1], [1, 0]]):
        yield walk(f"gradients {has}", has)
    yield walk("never a gradient, decay", [[0, 1]], **BOTH)
    for name, value in CHANGED.items():
        yield walk(f"group with {name}", [[1, 1]] * 2, group={name: value}, **BOTH)
        yield walk(f"{name} of 0", ONE, of="", **{name: (0.0, 0.0) if name == "betas" else 0.0})
        if name != "betas":
            yield walk(f"{name} changes", TWO, kind="changes", group={name: value}, **BOTH)
    yield walk("added", [[1, 0], [1, 1]], group={"lr": 0.5})
    for kind in KINDS:
        yield walk(kind, TWO if kind == "again" else ONE, weight_decay=0.5 * (kind == "gradient after"))
    for name, size in (("number", ()), ("empty", (0,)), ("matrix", (2, 3)), ("layout", (2, 3))):
        yield walk(name, TWO, size=size)
    yield walk("loaded", THREE, of="load_state_dict", **BOTH)
    yield walk("loaded, two", [[1, 0], [1, 1]], of="load_state_dict", kind="loaded", group={"lr": 0.5}, **BOTH)
    for dtype in (HALF, BRAIN):
        for scale in (2.0**-14, 2.0**12) if dtype == HALF else (1e-15, 1e15):
            yield walk(f"gradients of {scale:.0e} in {dtype}", ONE, dtype=dtype, scale=scale, start=0.0)
        yield walk(f"no slope in {dtype}", ONE, dtype=dtype, scale=0.0, eps=1e-8)
        small = {"lr": torch.finfo(dtype).eps * 3 / 16, "weight_decay": 1.0}
        yield walk(f"rounded in {dtype}", ONE, kind="rounded", dtype=dtype, **small)
        for of in ("step", "load_state_dict"):
            yield walk(f"moments in {dtype}, {of}", [[1, 1]], of=of, kind="moments", dtype=dtype, group={})
    for name, size in (("float32", 3), ("state", 400), ("bytes", 1000)):
        yield walk(name, TWO, size=size, dtype=SINGLE, **BOTH)
    for options in WRONG_OPTIONS:
        yield Case(f"wrong {options}", of="AdamW", kind="wrong", weights=[torch.ones(2)], group=None, options=options)


def run(kata, case):
    kind, options, group = case.kind, case.options, case.group
    params = [nn.Parameter(w.T.contiguous().T if kind == "layout" else w.clone()) for w in case.weights]
    param, view = params[0], params[0].detach()
    groups = [{"params": params[:1]}, {"params": params[1:], **(group or {})}]
    optimizer = kata.AdamW(params if kind == "changes" or group is None else groups[: 2 - (kind == "added")], **options)
    if kind == "wrong":
        return {"raised": "nothing"}
    if kind == "defaults":
        found = kata.AdamW(params).param_groups[0]
        return {"options": [found["lr"], list(found["betas"]), found["eps"], found["weight_decay"]]}
    grads, seen = list(case.grads), {}
    if kind in ("changes", "added", "loaded"):
        go(optimizer, params, grads[:-1])
        grads = grads[-1:]
    if kind == "changes":
        optimizer.param_groups[0].update(group)
    elif kind == "added":
        optimizer.add_param_group(groups[1])
    elif kind == "loaded":
        optimizer = loaded(kata, optimizer)
    elif kind.startswith("closure"):
        (grad,), calls = grads.pop(), seen.setdefault("calls", [])

        def closure():
            calls.append(param.detach().clone())
            param.grad = torch.autograd.grad((param * grad).sum(), param)[0]

        with torch.set_grad_enabled(kind == "closure"):
            optimizer.step(closure)
        calls.append(param.detach().clone())
    elif kind == "graph":
        param.grad = torch.autograd.grad((param * grads.pop()[0]).sum() ** 2, param, create_graph=True)[0]
        optimizer.step()
        seen["graph"] = [any(m.requires_grad for m in moments(optimizer, param)), torch.is_grad_enabled()]
    go(optimizer, params, grads)
    if kind == "moments":
        held, later = ([m for p in params for m in moments(o, p)] for o in (optimizer, loaded(kata, optimizer)))
        dtypes, kept = sorted({str(each.dtype) for each in held}), [*map(Pairs, held, later)]
        return {"dtypes": dtypes} if case.of == "AdamW.step" else {"kept": kept}
    if kind == "again":
        go(kata.AdamW(params, **options), params, grads)
    elif kind == "in place":
        return {"memory": view, "leaf": [param.is_leaf, param.requires_grad]}
    elif kind == "gradient after":
        seen["gradient"] = Pairs(param.grad, grads[-1][0])
    elif kind == "returned":
        seen["returned"] = [optimizer.step(lambda: "a loss"), optimizer.step()]
    elif kind == "state":
        seen["two numbers"] = 1.9 < (bytes_held(optimizer) - param.nbytes) / param.nbytes < 2.1
    elif kind in ("bytes", "loop"):
        larger = nn.Parameter(torch.ones(60, 2))
        go(other := kata.AdamW([larger], **options), [larger], [[torch.ones(60, 2)]])
        with measure() as spent:
            optimizer.step()
        with measure() as more:
            other.step()
        seen[kind] = spent.bytes > 33.2 * param.nbytes if kind == "bytes" else more.operators > spent.operators
    return seen or {"weights": [each.double() if kind == "rounded" else each for each in params]}


def go(optimizer, params, rows):
    for row in rows:
        for param, grad in zip(params, row, strict=True):
            param.grad = None if grad is None else grad.clone()
        optimizer.step()


def loaded(kata, optimizer):
    other = kata.AdamW([{"params": group["params"]} for group in optimizer.param_groups])
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    return other


def moments(optimizer, param):
    return [m for m in optimizer.state.get(param, {}).values() if torch.is_tensor(m) and m.shape == param.shape]
