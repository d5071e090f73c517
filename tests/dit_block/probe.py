"""What can be seen of the DiT block and of the final layer: parameters, what each branch reads and adds, gradients, cost."""

import warnings

import torch

from dojo.testing import randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

INIT, BLOCK, FINAL_INIT, FINAL = "DiTBlock", "DiTBlock.forward", "FinalLayer", "FinalLayer.forward"
PARTS = {BLOCK: ("shift1", "scale1", "gate1", "shift2", "scale2", "gate2"), FINAL: ("shift", "scale")}
HALF = torch.float16
EYE, NONE = torch.eye(6).double(), torch.zeros(6).double()
# Layers that answer with what they read: attention with the mean over tokens, the mlp by a gelu of more than 30.
CLEAR = {"qkv.weight": torch.cat([0 * EYE, 0 * EYE, EYE]), "qkv.bias": NONE.repeat(3), "proj.weight": EYE}
CLEAR |= {"proj.bias": NONE, "fc1.weight": EYE, "fc1.bias": NONE + 30, "fc2.weight": EYE, "fc2.bias": NONE - 30}
CLEAR |= {"linear.weight": EYE, "linear.bias": NONE}


def module(name, rng, batch=1, tokens=1, *, of=BLOCK, dim=6, hidden=9, dtype=torch.float64, out=12, **given):
    """A case with random weights, but for those that are given; `parts` are shifts, scales and gates that c does not touch."""
    count = len(PARTS[of])
    sizes = {"qkv": (3 * dim, dim), "proj": (dim, dim), "fc1": (hidden, dim), "fc2": (dim, hidden)}
    sizes = (sizes if of == BLOCK else {"linear": (out, dim)}) | {"modulation": (count * dim, dim)}
    weights = {
        f"{n}.{p}": 0.6 * randn(rng, *s[: 2 - (p == "bias")]) for n, s in sizes.items() for p in ("weight", "bias")
    }
    parts, x, c = given.pop("parts", None), randn(rng, batch, tokens, dim), randn(rng, batch, dim)
    if parts is not None:
        weights["modulation.weight"] *= 0
        weights["modulation.bias"] = torch.cat([(NONE + parts.get(part, 0.0))[:dim] for part in PARTS[of]])
    weights |= {key: value for key, value in given.pop("weights", {}).items() if key in weights}
    weights = {key: value.to(dtype) for key, value in weights.items() if key.split(".")[0] not in given.get("new", [])}
    given = {"heads": 2, "hidden": hidden} | given
    return Case(name, of=of, **{"x": x.to(dtype), "c": c.to(dtype), "weights": weights} | given)


def cases(rng):
    yield Case("parameters of the block", of=INIT, size=[6, 2, 1.5])
    yield from (Case(f"hidden size {i}", of=INIT, size=[6, 2, r]) for i, r in enumerate([[], [1.25], [0.84]]))
    for size in ([6, 4], [4, 6], [0, 1], [-4, 2], [4, 0], [4, -2], [4, 2, 0.0]):
        yield Case(f"wrong sizes {size}", of=INIT, size=size)
    yield Case("parameters of the final layer", of=FINAL_INIT, size=[5, 2, 3])
    for size in ([0, 2, 3], [4, 0, 3], [4, -1, 3], [4, 2, 0]):
        yield Case(f"wrong sizes of the final layer {size}", of=FINAL_INIT, size=size)
    yield Case("what starts at zero", of=INIT, size=[8, 2], zeros=True)
    yield Case("what starts at zero in the final layer", of=FINAL_INIT, size=[8, 2, 3], zeros=True)
    yield module("new", rng, 2, 3, new=["modulation"])
    yield module("new, gradients", rng, 2, 3, new=["modulation"], gradients=True)
    yield module("final: new", rng, 2, 3, of=FINAL, new=["modulation", "linear"])
    v, w = randn(rng, 6), randn(rng, 6)
    clear = {"weights": CLEAR, "hidden": 6}
    for n, branch in ((1, "attention"), (2, "mlp")):
        gate, shift, scale = f"gate{n}", f"shift{n}", f"scale{n}"
        yield module(f"{branch}: reads", rng, parts={gate: 1.0}, **clear)
        yield module(f"{branch}: shift", rng, parts={gate: 1.0, shift: v}, **clear)
        yield module(f"{branch}: scale", rng, parts={gate: 1.0, scale: v}, **clear)
        yield module(f"{branch}: gate", rng, parts={gate: v, shift: w, scale: -1.0}, **clear)
        yield module(f"{branch}: reads little", rng, parts={gate: 1.0}, x=1e-3 * randn(rng, 1, 1, 6), **clear)
        yield module(f"{branch}: its layers", rng, parts={gate: 1.0, shift: v, scale: -1.0})
        rows = slice(6 * (3 * n - 1), 18 * n)
        weights = CLEAR | {"modulation.weight": NONE.repeat(6).repeat(6, 1).T.clone()}
        weights["modulation.weight"][rows] = 2 * EYE
        yield module(f"{branch}: silu", rng, parts={shift: 1.0, scale: -1.0}, weights=weights, hidden=6)
        yield module(f"{branch}: digits", rng, parts={gate: 1.0}, digits=True, **clear)
    z = torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]).double()
    weights = CLEAR | {"fc1.bias": NONE, "fc2.bias": NONE}
    yield module("gelu", rng, parts={"gate2": 1.0, "shift2": z, "scale2": -1.0}, weights=weights, hidden=6)
    yield module(
        "one after the other", rng, 1, 1, parts={"shift1": v, "scale1": -1.0, "gate1": 1.0, "gate2": 1.0}, **clear
    )
    yield module("the mean of the tokens", rng, 2, 4, parts={"gate1": 1.0}, **clear)
    for heads in (1, 2, 6):
        yield module(f"attention of {heads} heads", rng, 1, 4, parts={"gate1": 1.0}, heads=heads)
    yield module("attention of samples", rng, 2, 4, parts={"gate1": 1.0})
    yield module("samples, tokens", rng, 2, 4)
    yield module("as many samples as tokens", rng, 3, 3)
    yield module("gradients", rng, 2, 3, gradients=True)
    yield module("training", rng, 2, 24, training=True)
    yield module("half", rng, 2, 3, dtype=HALF)
    extremes = {"x": 8192.0 * torch.tensor([1.0, -1, 1, -1, 1, -1]).to(HALF)[None, None], "dtype": HALF}
    yield module("half, a large stream", rng, parts={"gate1": 4096.0}, **clear | extremes)
    large = torch.tensor([1e4, -1e4, 1, -1, 2, -2]).double()
    weights = {**weights, "modulation.bias": torch.cat([NONE, NONE, NONE, large, NONE - 1, NONE + 1])}
    yield module("half, large hidden features", rng, parts={}, weights=weights, hidden=6, dtype=HALF, finite=True)
    gates = CLEAR | {"modulation.weight": torch.cat([0 * EYE, 0 * EYE, EYE, *[0 * EYE] * 3]).double()}
    gates["modulation.bias"] = torch.cat([NONE + 1, NONE - 1, *[NONE] * 4])
    yield module("half, a large c", rng, weights=gates, hidden=6, dtype=HALF, finite=True, c=large.to(HALF)[None])
    keys = CLEAR | {"qkv.weight": torch.cat([60 * EYE, 60 * EYE, EYE])}
    yield module(
        "half, large scores", rng, 1, 3, parts={"gate1": 1.0}, dtype=HALF, finite=True, **clear | {"weights": keys}
    )
    final = {"of": FINAL, "out": 6, "weights": CLEAR}
    for name, parts in {"reads": {}, "shift": {"shift": v}, "scale": {"scale": v}}.items():
        yield module(f"final: {name}", rng, parts=parts, **final)
    yield module("final: reads little", rng, parts={}, x=1e-3 * randn(rng, 1, 1, 6), **final)
    yield module("final: digits", rng, parts={}, digits=True, **final)
    weights = {"linear.weight": EYE, "linear.bias": NONE, "modulation.weight": torch.cat([2 * EYE, 0 * EYE])}
    yield module("final: silu", rng, of=FINAL, out=6, parts={}, weights=weights)
    yield module("final: its layer", rng, of=FINAL, parts={"shift": v, "scale": -1.0})
    yield module("final: as many samples as tokens", rng, 3, 3, of=FINAL)
    yield module("final: gradients", rng, 2, 3, of=FINAL, gradients=True)
    yield module("final: training", rng, 2, 24, of=FINAL, training=True)
    x = (1024 + torch.tensor([[[1, 0, 0, 0, 2, 1], [1, 1, 2, 0, 1, 3]]])).to(HALF)
    yield module("final: half, whole numbers", rng, parts={}, dtype=HALF, x=x, **final)
    yield module("cost", rng, 4, 16, dim=8, hidden=12)
    yield module("final: cost", rng, 4, 16, of=FINAL, dim=8)


def run(kata, case):
    make = kata.DiTBlock if "DiTBlock" in case.of else kata.FinalLayer
    if case.of in (INIT, FINAL_INIT):
        return built(make, case)
    dtype, dim = case.x.dtype, case.x.shape[-1]
    out = case.weights["linear.bias"].numel() if "linear.bias" in case.weights else 12
    made = make(dim, case.heads, case.hidden / dim + 1e-6) if case.of == BLOCK else make(dim, 1, out)
    made = made.to(dtype).train(hasattr(case, "training"))
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            given = case.weights.get(name, 0.5)
            if name in case.weights or name.split(".")[0] not in getattr(case, "new", []):
                parameter.copy_(given) if isinstance(given, float) or given.shape == parameter.shape else None
    if case.name.endswith("cost"):
        return cost(made, case)
    x, c = case.x.clone().requires_grad_(), case.c.clone().requires_grad_()
    free_x, free_c = x * 1, c * 1  # no leaves, so that changing them is no error
    y = made(free_x, free_c)
    if hasattr(case, "digits"):
        v, got = x.var(-1, correction=0), (y - x if case.of == BLOCK else y).var(-1, correction=0)
        return {"float64": (got * (v + 1e-6) / v - 1).abs().max().item() < 1e-12}
    seen = {"y": y, "x after": Pairs(free_x, x), "c after": Pairs(free_c, c)}
    if case.name == "new":
        seen["the identity"] = Pairs(y, x)
    leaves = {"x": x, "c": c, **dict(made.named_parameters())}
    if hasattr(case, "gradients") or hasattr(case, "finite"):
        each = torch.autograd.grad(
            y.square().sum() if y.dtype != HALF else y.sum(), list(leaves.values()), allow_unused=True
        )
        each = [torch.zeros(()) if g is None or not g.count_nonzero() else g for g in each]
        finite = all(g.isfinite().all() for g in each[:2])  # of x and c: others may overflow in float16
        seen |= (
            {"finite": finite} if hasattr(case, "finite") else {f"d{n}": g for n, g in zip(leaves, each, strict=True)}
        )
    return seen


def built(make, case):
    size = [each for each in case.size if each != []]
    size = [each[0] if isinstance(each, list) else each for each in size]
    try:
        with warnings.catch_warnings(action="ignore"):
            made, other = make(*size), make(*size)
    except NotImplementedError:
        raise
    except Exception as error:
        return {"error": type(error).__name__}
    own = dict(made.named_parameters(remove_duplicate=False))
    if hasattr(case, "zeros"):  # how other biases start is free
        names = [n for n in own if n.startswith(("modulation", "linear")) or n.endswith("weight")]
        return {
            name: own[name].unique().numel() > own[name].numel() / 2 or own[name].any().item() for name in sorted(names)
        }
    seen = {"parameters": sorted([n, list(p.shape), p.requires_grad] for n, p in own.items())}
    apart = not {p.data_ptr() for p in own.values()} & {p.data_ptr() for p in other.parameters()}
    return seen | {"state": sorted(made.state_dict()), "apart": apart}


def cost(made, case):
    dim, hidden, tokens = 8, case.hidden, 16
    token = 8 * dim**2 + 4 * dim * hidden + 4 * tokens * dim if case.of == BLOCK else 24 * dim
    flops, spent = 4 * (tokens * token + (12 if case.of == BLOCK else 4) * dim**2), []
    for x, c in ((case.x, case.c), (case.x.repeat(4, 1, 1), case.c.repeat(4, 1)), (case.x.repeat(1, 4, 1), case.c)):
        with measure() as each:
            y = made(x, c)
        spent.append(each)
    few, many, long = (each.operators for each in spent)
    slack = 16 * 4 * tokens * dim / flops
    lean = 0.99 <= spent[0].flops / flops <= 1.01 + slack
    return {"shape": list(y.shape), "lean": lean, "grows": [many > few, long > few]}
