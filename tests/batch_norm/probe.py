"""What can be seen of BatchNorm: its state, its results in both modes, its buffers, its gradients, and what they cost."""

import copy

import torch

from dojo.testing import randint, randn
from dojo.testing.alive import Alive
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

FORBIDDEN = (
    "batch_norm", "native_batch_norm", "native_batch_norm_backward", "_native_batch_norm_legit", "instance_norm",
    "group_norm", "native_group_norm", "layer_norm", "native_layer_norm", "torch.nn.BatchNorm1d", "torch.nn.BatchNorm2d",
    "torch.nn.BatchNorm3d", "torch.nn.SyncBatchNorm", "torch.nn.GroupNorm", "torch.nn.LayerNorm",
    "torch.autograd.grad", "torch.autograd.Function", "torch.func",
)  # fmt: skip
INIT, FORWARD, BACK = "BatchNorm", "BatchNorm.forward", "batch_norm_backward"
HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
NAMES, COUNT = ("weight", "bias", "running_mean", "running_var"), "num_batches_tracked"
MOVED, GRADS, NAN = ("running_mean", "running_var"), ("grad_x", "grad_weight", "grad_bias"), float("nan")
LEAVES, COSTS, EACH = ("dx", "dweight", "dbias"), ("large", "bytes", "kept", "loop"), ("y", *MOVED)


def cases(rng):
    for part in ("parameters", "buffers", "state", *NAMES, COUNT):
        yield Case(f"start: {part}", of=INIT, part=part, options={"num_features": int(randint(rng, 2, 6))})
    wrong = [("eps", -1e-5), ("eps", NAN), ("momentum", -0.1), ("momentum", 1.1), ("momentum", NAN)]
    for name, value in (*wrong, ("num_features", 0), ("num_features", -1)):
        yield Case(f"start: {name}={value}", of=INIT, part="state", options={"num_features": 3, name: value})
    yield from (*forward_cases(rng), *backward_cases(rng))


def forward_cases(rng):
    def walk(name, modes, *shapes, see=EACH, dtype=SINGLE, layer=SINGLE, scale=1.0, x=None, values=None, **options):
        """A case for each of the things to `see` after batches of these shapes, in these modes (t, e, n: no_grad)."""
        xs = [((2 * randn(rng, *shape) + 1) * scale).to(dtype) for shape in shapes] if x is None else [x]
        features = options.pop("num_features", xs[0].shape[1] if xs[0].ndim > 1 else 3)
        values = {key: randn(rng, features).abs() + (key == "running_var") / 2 for key in NAMES} | (values or {})
        options = {} if name.startswith("default") else {"eps": 0.3, "momentum": 0.25} | options
        values["bias"] *= dtype not in (HALF, BRAIN)  # it could cancel most of a result whose roundings are free
        options["num_features"], given = features, {"xs": xs, "modes": modes, "layer": layer, "values": values}
        yield from (Case(f"{name}: {each}", of=FORWARD, see=each, options=options, **given) for each in see)

    for mode in "te":
        for shape in ((5, 3), (3, 3), (1, 4, 3), (4, 3, 3, 3), (2, 2, 3, 2, 2)):
            yield from walk(f"{mode} {shape}", mode, shape, see=EACH[: 1 + 2 * (mode == "t")])
        kinds = {"dtype": DOUBLE, "layer": DOUBLE} if mode == "t" else {}
        yield from walk(f"gradients {mode}", mode, (2, 3, 2, 2), see=LEAVES, **kinds)
        for features, shape in ((3, (4, 1)), (3, (4, 2)), (1, (4, 3)), (3, (3,)), (3, (2, 4, 4, 3))):
            yield from walk(f"{features} channels, {shape} {mode}", mode, shape, see=["refused"], num_features=features)
        for dtype, layer in ((HALF, SINGLE), (BRAIN, SINGLE), (BRAIN, BRAIN), (DOUBLE, DOUBLE))[: 3 + (mode == "t")]:
            see = {"see": EACH[: 1 + 2 * (mode == "t")], "dtype": dtype, "layer": layer}
            yield from walk(f"{dtype} in {layer} {mode}", mode, (6, 3), **see)
        yield from walk(f"cost {mode}", mode, (8, 4, 12, 12), see=COSTS[: 2 + (mode == "t")])
        yield from walk(f"many {mode}", mode, (64, 64, 2, 2), see=["loop"])
    for shape in ((1, 3), (1, 3, 1, 1), (0, 3), (0, 3, 2)):
        yield from (*walk(f"{shape} t", "t", shape, see=["refused"]), *walk(f"{shape} e", "e", shape, see=["y"]))
    for modes in ("e", "etet", "n"):
        yield from walk(modes, modes, *[(4, 3)] * len(modes), see=[*EACH, COUNT])
    for momentum in (None, 0.0, 1.0):
        yield from walk(f"momentum {momentum}", "t", (4, 3), see=[*MOVED, COUNT], momentum=momentum)
    yield from walk("averages", "tett", (4, 3), (5, 3), (2, 3), (6, 3), see=[*MOVED, "load"], momentum=None)
    yield from walk("others", "t", (4, 3), see=["twin", "y strides", "x after", "graph"])
    yield from (*walk("no eps", "t", (4, 3), eps=0.0), *walk("default momentum", "t", (4, 3), see=MOVED))
    yield from walk("default eps", "t", (4, 3), see=["y"], scale=2e-3)
    yield from walk("constant", "t", see=["y"], x=torch.cat([randn(rng, 4, 2), torch.full((4, 1), 4.0)], 1).float())
    for dtype, scale in ((HALF, 2e3), (HALF, 1e-4), (BRAIN, 1e4)):
        yield from walk(f"{dtype} times {scale}", "t", (6, 3), dtype=dtype, scale=scale, momentum=1.0, eps=1e-12)
    shift, offsets = 2.0**-12 * (1 + randint(rng, 0, 3, 1)), 64.0 * randint(rng, 1, 4, 4, 1)
    fine = {"running_mean": 1 + shift, "running_var": torch.full((1,), 2.0**-24)}
    yield from walk("fine mean", "e", x=torch.ones(4, 1).half(), dtype=HALF, see=["y"], values=fine, eps=2.0**-24)
    far = 2.0**20 + torch.cat([offsets, -offsets])  # E[x^2] - E[x]^2 is 0 in float32, in any order of summation
    yield from walk("large mean", "t", x=far, see=["y rounded", "running_var"], momentum=1.0, eps=4096.0)


def backward_cases(rng):
    def case(name, *shape, see=GRADS, dtype=DOUBLE, like=DOUBLE, eps=0.3, scale=1.0, **given):
        tensors = {"grad": randn(rng, *shape).to(dtype), "x": ((randn(rng, *shape) + 0.5) * scale).to(dtype)}
        tensors |= {"weight": randn(rng, shape[-1] if len(shape) < 3 else shape[1]).to(like)} | given
        yield from (Case(f"{BACK} {name}: {each}", of=BACK, eps=eps, see=each, **tensors) for each in see)

    for shape in ((5, 3), (3, 3), (2, 3, 2, 2), (4, 3, 3)):
        yield from case(str(shape), *shape)
    yield from (*case("no eps", 5, 3, eps=0.0), *case("default eps", 5, 3, eps=None, scale=2e-3))
    yield from case("others", 5, 3, see=["after", "strides"])
    for dtype, like in ((HALF, SINGLE), (BRAIN, SINGLE), (HALF, HALF), (SINGLE, SINGLE)):
        yield from case(f"{dtype}, weight {like}", 5, 3, dtype=dtype, like=like)
    yield from case("large half", 5, 3, dtype=HALF, like=SINGLE, scale=2e3, eps=0.0)
    signs, offsets = torch.tensor([1.0, -1, -1, 1]).half()[:, None], 64.0 * randint(rng, 1, 4, 2, 1)
    rows = {"x": signs.repeat(6, 1), "grad": 8192 * (signs + 1).repeat(6, 1)}
    yield from case("rows", 24, 1, see=GRADS[1:], eps=0.0, like=SINGLE, **rows)
    loud = {"grad": torch.tensor([256.0, 0, 0, 0]).half()[:, None], "weight": torch.tensor([512.0]).half()}
    yield from case("product", 4, 1, see=["grad_x"], eps=0.0, x=2048 * signs, **loud)
    far = {"x": 2.0**20 + torch.cat([offsets, -offsets]), "dtype": SINGLE, "like": SINGLE, "eps": 4096.0}
    yield from (*case("large mean", 4, 1, see=GRADS[:2], **far), *case("many", 64, 64, 2, 2, see=["loop", "large"]))
    wrong = [{"eps": -1e-5}, {"eps": NAN}, {"grad": randn(rng, 1, 3)}, {"x": randn(rng, 4, 3, 1)}]
    for given in (*wrong, *({"weight": randn(rng, *shape)} for shape in ((1,), (2,), (4, 3)))):
        words = ", ".join(f"{name} {getattr(value, 'shape', value)}" for name, value in given.items())
        yield from case(f"wrong {words}", 4, 3, see=["grad_x"], **given)
    yield from (*case("wrong x", 3, see=["grad_x"]), *case("few", 1, 3, see=["grad_x"]))


def run(kata, case):
    if case.of != INIT:
        return {case.see: {FORWARD: forward, BACK: backward}[case.of](kata, case)}
    layer = kata.BatchNorm(**case.options)
    sizes = {name: [list(p.shape), p.requires_grad] for name, p in sorted(layer.named_parameters())}
    known = {"parameters": sizes, "buffers": sorted(dict(layer.named_buffers())), "state": sorted(layer.state_dict())}
    return {"start": known.get(case.part, getattr(layer, case.part, None))}


def forward(kata, case):
    layer, see, ys = kata.BatchNorm(**case.options).to(case.layer), case.see, []
    for name in NAMES:
        getattr(layer, name).data.copy_(case.values[name])
    xs = [(x.t().contiguous().t() if "strides" in see else x.clone()).requires_grad_(see[0] in "dgk") for x in case.xs]
    if see in COSTS:
        with measure() as spent, Alive() as alive:
            y, kept = layer.train(case.modes == "t")(xs[0]), alive.elements()
        lean = {"bytes": spent.bytes < (16.5 if layer.training else 10.5) * y.nbytes, "kept": kept < 2.25 * y.numel()}
        return (lean | {"loop": spent.operators > 100, "large": spent.largest > y.numel()})[see]
    for mode, x in zip(case.modes, xs, strict=True):
        with torch.set_grad_enabled(mode != "n"):
            try:
                ys.append(layer.train(mode != "e")(x))
            except ValueError:
                return [int(getattr(layer, COUNT)), layer.running_mean]
    if see in LEAVES:
        sum((y.square() * torch.linspace(1, 2, y.numel()).view_as(y)).sum() for y in ys).backward()
        return [x.grad for x in xs] if see == "dx" else (layer.weight if see == "dweight" else layer.bias).grad
    if see in ("load", "twin"):
        other = copy.deepcopy(layer) if see == "twin" else kata.BatchNorm(**case.options)
        other.load_state_dict(copy.deepcopy(layer.state_dict()))
        other(xs[0] + 3)
        return (layer if see == "twin" else other).running_mean
    seen = {"graph": [getattr(layer, name).requires_grad for name in MOVED], "x after": Pairs(xs[0], case.xs[0])}
    seen |= {"refused": "accepted", "y": ys[0], "y strides": ys[0], "y rounded": ys[0].half()}
    return seen[see] if see in seen else getattr(layer, see)


def backward(kata, case):
    see, given = case.see, [t.clone() for t in (case.grad, case.x, case.weight)]
    given = [t.t().contiguous().t() for t in given] if see == "strides" else given
    with torch.inference_mode(see not in COSTS), measure() as spent:
        results = kata.batch_norm_backward(*given, **({} if case.eps is None else {"eps": case.eps}))
    if see in COSTS:
        return spent.operators > 100 if see == "loop" else spent.largest > case.x.numel()
    after = [Pairs(a, b) for a, b in zip(given, (case.grad, case.x, case.weight), strict=True)]
    return after if see == "after" else results[GRADS.index(see) if see in GRADS else 0].clone()
