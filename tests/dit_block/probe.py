"""What can be seen of the DiT block and of the final layer: parameters, what each branch reads and adds, gradients, cost."""

import warnings

import torch

from dojo.testing import randint, randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

INIT, BLOCK, FINAL_INIT, FINAL = "DiTBlock", "DiTBlock.forward", "FinalLayer", "FinalLayer.forward"
PARTS = {BLOCK: ("shift1", "scale1", "gate1", "shift2", "scale2", "gate2"), FINAL: ("shift", "scale")}
HALF, EYE, NONE = torch.float16, torch.eye(6).double(), torch.zeros(6).double()
# Layers that answer with what they read: attention with the mean over tokens, the mlp by a gelu of more than 30.
CLEAR = {"qkv.weight": torch.cat([0 * EYE, 0 * EYE, EYE]), "qkv.bias": NONE.repeat(3), "proj.weight": EYE}
CLEAR |= {"proj.bias": NONE, "fc1.weight": EYE, "fc1.bias": NONE + 30, "fc2.weight": EYE, "fc2.bias": NONE - 30}
CLEAR |= {"linear.weight": EYE, "linear.bias": NONE}


def module(name, rng, batch=1, tokens=1, *, of=BLOCK, dtype=torch.float64, parts=None, clear=None, new=(), **given):
    """A case with random weights, but for those of `clear`; `parts` are shifts, scales and gates that c does not touch."""
    out, hidden = (6, 6) if clear else (12, 9)
    sizes = {"qkv": (18, 6), "proj": (6, 6), "fc1": (hidden, 6), "fc2": (6, hidden), "modulation": (36, 6)}
    sizes = sizes if of == BLOCK else {"linear": (out, 6), "modulation": (12, 6)}
    weights = {f"{key}.weight": 0.6 * randn(rng, *size) for key, size in sizes.items() if key not in new}
    weights |= {f"{key}.bias": 0.6 * randn(rng, size[0]) for key, size in sizes.items() if key not in new}
    x, c = randn(rng, batch, tokens, 6), randn(rng, batch, 6)
    if parts is not None:
        weights["modulation.weight"] *= 0
        weights["modulation.bias"] = torch.cat([NONE + parts.get(part, 0.0) for part in PARTS[of]])
    weights |= {key: value for key, value in (clear or {}).items() if key in weights}
    weights = {key: value.to(dtype) for key, value in weights.items()}
    given = {"heads": 2, "hidden": hidden, "out": out, "new": list(new), "do": ""} | given
    return Case(name, of=of, **{"x": x.to(dtype), "c": c.to(dtype), "weights": weights} | given)


def cases(rng):
    heads, width, patch_size, channels = randint(rng, 1, 13, 4).tolist()
    right = [[6, 2, 1.5], [6, 2], [6, 2, 1.25], [6, 2, 0.84], [heads * width, heads, 1.3]]
    for i, size in enumerate([*right, [6, 4], [4, 6], [0, 1], [-4, 2], [-4, 2, -1.0], [4, 0], [4, -2], [4, 2, 0.0]]):
        yield Case(f"block, sizes {i}", of=INIT, size=size, do="sizes")
    for i, size in enumerate([[5, 2, 3], [width, patch_size, channels], [0, 2, 3], [4, 0, 3], [4, -1, 3], [4, 2, 0]]):
        yield Case(f"final layer, sizes {i}", of=FINAL_INIT, size=size, do="sizes")
    yield Case("what starts at zero", of=INIT, size=[8, 2], do="zeros")
    yield Case("what starts at zero in the final layer", of=FINAL_INIT, size=[8, 2, 3], do="zeros")
    yield module("new", rng, 2, 3, new=["modulation"], do="new")
    yield module("final: new", rng, 2, 3, of=FINAL, new=["modulation", "linear"], do="new")
    yield module("closed: gradients", rng, 2, 3, parts={}, do="gradients")
    v, w = randn(rng, 6), randn(rng, 6)
    for branch, of, n in (("attention", BLOCK, "1"), ("the mlp", BLOCK, "2"), ("final", FINAL, "")):
        shift, scale, gate = (f"{part}{n}" for part in ("shift", "scale", "gate"))
        on, clear = {gate: 1.0}, {"of": of, "clear": CLEAR}
        for name, parts in {"reads": {}, "shift": {shift: v}, "scale": {scale: v}, "gate": {gate: v, shift: w}}.items():
            yield module(f"{branch}: {name}", rng, parts=on | parts, **clear)
        yield module(f"{branch}: reads little", rng, parts=on, x=1e-3 * randn(rng, 1, 1, 6), **clear)
        yield module(f"{branch}: digits", rng, parts=on, do="digits", **clear)
        yield module(f"{branch}: its layers", rng, of=of, parts=on | {shift: v, scale: -1.0})
        weight = torch.cat([2 * EYE * (part == (gate if of == BLOCK else shift)) for part in PARTS[of]])
        clear = {"of": of, "clear": CLEAR | {"modulation.weight": weight}}
        yield module(f"{branch}: silu", rng, parts={shift: 1.0 * (of == BLOCK), scale: -1.0}, **clear)
    z, large = torch.tensor([[-2.5, -1.5, -0.5, 0.5, 1.5, 2.5], [1e4, -1e4, 1, -1, 2, -2]]).double()
    plain = CLEAR | {"fc1.bias": NONE, "fc2.bias": NONE}
    yield module("gelu", rng, parts={"gate2": 1.0, "shift2": z, "scale2": -1.0}, clear=plain)
    yield module("one after the other", rng, parts={"shift1": v, "scale1": -1, "gate1": 1, "gate2": 1}, clear=CLEAR)
    for heads in (1, 2, 6):
        yield module(f"attention of {heads} heads", rng, 1, 4, parts={"gate1": 1.0}, heads=heads)
    signs = torch.tensor([[[1.0, -1, 1, -1, 1, -1], [-1, -1, -1, 1, 1, 1]]]).to(HALF)
    yield module("half, a large stream", rng, parts={"gate1": 4096}, clear=CLEAR, dtype=HALF, x=8192 * signs[:, :1])
    half = {"dtype": HALF, "do": "finite"}
    yield module("half, large hidden", rng, parts={"shift2": large, "scale2": -1, "gate2": 1}, clear=plain, **half)
    clear = CLEAR | {"modulation.weight": torch.cat([0 * EYE, 0 * EYE, EYE, *[0 * EYE] * 3])}
    yield module("half, a large c", rng, parts={"shift1": 1, "scale1": -1}, clear=clear, c=large.to(HALF)[None], **half)
    clear = CLEAR | {"qkv.weight": torch.cat([60 * EYE, 60 * EYE, EYE])}
    yield module("half, large scores", rng, parts={"gate1": 1.0}, clear=clear, x=signs, **half)
    x = (1024 + torch.tensor([[[1, 0, 0, 0, 2, 1], [1, 1, 2, 0, 1, 3]]])).to(HALF)
    yield module("final: half, whole numbers", rng, parts={}, dtype=HALF, x=x, of=FINAL, clear=CLEAR)
    for of, name in ((BLOCK, ""), (FINAL, "final: ")):
        yield module(f"{name}as many samples as tokens", rng, 3, 3, of=of)
        yield module(f"{name}gradients", rng, 2, 3, of=of, do="gradients")
        yield module(f"{name}training", rng, 24, 2, of=of, do="training")
        yield module(f"{name}cost", rng, 4, 16, of=of, do="cost")


def run(kata, case):
    make = kata.DiTBlock if "DiTBlock" in case.of else kata.FinalLayer
    if case.do in ("sizes", "zeros"):
        return built(make, case)
    dtype, ratio = case.x.dtype, case.hidden / 6 + 1e-6
    made = make(6, case.heads, ratio) if case.of == BLOCK else make(6, 1, case.out)
    made = made.to(dtype).train(case.do == "training")
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            given = case.weights.get(name, torch.tensor(0.5))
            if name.split(".")[0] not in case.new and given.shape in (parameter.shape, ()):
                parameter.copy_(given)
    if case.do == "cost":
        return cost(made, make(6, 3, ratio).double().eval() if case.of == BLOCK else made, case)
    x, c = case.x.clone().requires_grad_(), case.c.clone().requires_grad_()
    free_x, free_c = x * 1, c * 1  # no leaves, so that changing them is no error
    y = made(free_x, free_c)
    if case.do == "digits":
        v, got = x.var(-1, correction=0), (y - x if case.of == BLOCK else y).var(-1, correction=0)
        return {"float64": (got * (v + 1e-6) / v - 1).abs().max().item() < 1e-12}
    if case.do == "training":  # not what is dropped, but that it is
        return {"like evaluation": Pairs(y, made.eval()(x, c))}
    seen = {"dtype": str(y.dtype), "x after": Pairs(free_x, x), "c after": Pairs(free_c, c)}
    if case.do == "new":
        return seen | {"starts": Pairs(y, x if case.of == BLOCK else torch.zeros_like(y))}
    seen["y"] = y.to(HALF if dtype == HALF else torch.float32)  # the digits of float64 are another case's question
    if case.do in ("gradients", "finite"):
        leaves = {"x": x, "c": c, **dict(sorted(made.named_parameters()))}
        each = torch.autograd.grad((y.abs() if dtype == HALF else y**2).sum(), list(leaves.values()), allow_unused=True)
        each = [torch.zeros(()) if g is None or not g.count_nonzero() else g.float() for g in each]
        if case.do == "gradients":
            return seen | {f"d{name}": g for name, g in zip(leaves, each, strict=True)}
        seen["finite"] = all(g.isfinite().all() for g in each[:2])  # those of x and c: others may overflow
    return seen


def built(make, case):
    try:
        with warnings.catch_warnings(action="ignore"):
            made, other = make(*case.size), make(*case.size)
    except NotImplementedError:
        raise
    except Exception as error:
        return {"error": type(error).__name__}
    own = dict(made.named_parameters(remove_duplicate=False))
    if case.do == "zeros":  # how the other biases start is free
        names = [n for n in sorted(own) if n.startswith(("modulation", "linear")) or n.endswith("weight")]
        return {n: [own[n].any().item(), own[n].unique().numel() > own[n].numel() / 2] for n in names}
    seen = {"parameters": sorted([n, list(p.shape), p.requires_grad] for n, p in own.items())}
    apart = {p.data_ptr() for p in own.values()}.isdisjoint(p.data_ptr() for p in other.parameters())
    return seen | {"state": sorted(made.state_dict()), "apart": apart}


def cost(made, other, case):
    """Whether each product is done once, modulation once a sample, and whether operators grow."""
    spent = []
    for net, samples, tokens in ((made, 1, 1), (made, 1, 2), (made, 2, 1), (other, 1, 1)):
        with measure() as each:
            net(case.x.repeat(samples, tokens, 1), case.c.repeat(samples, 1))
        spent.append(each)
    pairs = 4 * 16 * 16 * 6 * (case.of == BLOCK)  # of attention, for a sample: they grow with the square of tokens
    token = 8 * 36 + 4 * 6 * case.hidden + pairs // 16 if case.of == BLOCK else 2 * 6 * case.out
    own, norms = (12 if case.of == BLOCK else 4) * 4 * 36, 16 * 4 * 16 * 6
    flops, operators = 4 * 16 * token + own, [each.operators for each in spent]
    once = 2 * spent[0].flops - spent[1].flops + 2 * 4 * pairs  # of m + a n + b n^2, where n are the tokens
    lean, grows = 0.99 * flops <= spent[0].flops <= 1.01 * flops + norms, [n > operators[0] for n in operators[1:]]
    return {"lean": lean, "once": 0.9 < once / own < 1.1, "grows": grows}
