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
    "torch.nn.BatchNorm3d", "torch.nn.LazyBatchNorm1d", "torch.nn.LazyBatchNorm2d", "torch.nn.LazyBatchNorm3d",
    "torch.nn.SyncBatchNorm", "torch.nn.InstanceNorm1d", "torch.nn.InstanceNorm2d", "torch.nn.InstanceNorm3d",
    "torch.nn.GroupNorm", "torch.nn.LayerNorm", "torch.autograd", "torch.func",
)  # fmt: skip
INIT, FORWARD, BACK = "BatchNorm", "BatchNorm.forward", "batch_norm_backward"
HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
MEAN, VAR, COUNT = "running_mean", "running_var", "num_batches_tracked"
NAMES = ("weight", "bias", MEAN, VAR)
NAN = float("nan")
LEAVES, COSTS = ("dx", "dweight", "dbias", "kept"), ("bytes", "kept", "loop", "large")


def cases(rng):
    for part in ("parameters", "buffers", "state", *NAMES, COUNT):
        yield Case(f"start: {part}", of=INIT, part=part, features=int(randint(rng, 2, 6)))
    for options in ({"eps": -1e-5}, {"eps": NAN}, {"momentum": -0.1}, {"momentum": 1.1}, {"momentum": NAN}):
        yield Case(f"start: {options}", of=INIT, part="state", features=3, options=options)
    for features in (0, -1):
        yield Case(f"start: {features} features", of=INIT, part="state", features=features)
    yield from forward_cases(rng)
    yield from backward_cases(rng)


def forward_cases(rng):
    def walk(name, modes, *shapes, see=("y",), dtype=SINGLE, layer=SINGLE, scale=1.0, shift=1.0, **options):
        """One case for each of the things to `see` after batches of these shapes, in these modes (t, e, n: no_grad)."""
        xs = [(2 * randn(rng, *shape) + shift) * scale for shape in shapes]
        features = options.pop("features", shapes[0][1] if len(shapes[0]) > 1 else 3)
        values = {key: randn(rng, max(features, 1)) for key in NAMES} | options.pop("values", {})
        values[VAR] = values[VAR].abs() + 0.5
        options = {"eps": 0.3, "momentum": 0.25} | options
        for each in see:
            given = {"xs": [x.to(dtype) for x in xs], "values": values, "layer": layer, "features": features}
            yield Case(f"{name}: {each}", of=FORWARD, modes=modes, see=each, options=options, **given)

    for shape in ((5, 3), (3, 3), (2, 4, 3), (4, 3, 3, 3), (2, 2, 3, 2, 2)):
        yield from walk(f"train {shape}", "t", shape, see=("y", MEAN, VAR))
        yield from walk(f"eval {shape}", "e", shape, see=("y", MEAN, VAR))
    yield from walk("train, eval", "te", (4, 3), (4, 3), see=("y", MEAN, VAR), momentum=1.0)
    yield from walk("eval, train, eval, train", "etet", *[(4, 3)] * 4, see=(COUNT, MEAN, VAR))
    yield from walk("no_grad", "n", (4, 3), see=("y", MEAN, VAR, COUNT))
    for momentum in (None, 0.0, 1.0):
        yield from walk(f"momentum {momentum}", "t", (4, 3), see=(MEAN, VAR, COUNT), momentum=momentum)
    yield from walk("averages", "tett", (4, 3), (5, 3), (2, 3), (6, 3), see=(MEAN, VAR), momentum=None)
    yield from walk("resumed", "tt", (4, 3), (5, 3), see=("load",), momentum=None)
    yield from walk("copied", "t", (4, 3), see=("twin", "y strides", "x after"))
    yield from walk("no eps", "t", (4, 3, 2), eps=0.0)
    for case in (*walk("default", "t", (4, 3), scale=2e-3), *walk("default", "t", (4, 3), see=(MEAN, VAR))):
        case.options = {}
        yield case
    for case in walk("constant", "t", (4, 3, 2)):
        case.xs[0][:, 1] = 4.0
        yield case
    for shape in ((1, 3), (1, 3, 1, 1), (0, 3), (0, 3, 2)):
        yield from walk(f"few {shape}", "t", shape, see=("refused",))
        yield from walk(f"few {shape}", "e", shape, see=("eval y",))
    for features, shape in ((3, (4, 1)), (3, (4, 2)), (1, (4, 3)), (3, (3,)), (3, (2, 4, 4, 3))):
        for mode in "te":
            yield from walk(f"{features} features, {shape}, {mode}", mode, shape, see=("refused",), features=features)
    for mode in "te":
        both = {"dtype": DOUBLE, "layer": DOUBLE}
        yield from walk(f"gradients {mode}", mode, (4, 3), see=("dx", "dweight", "dbias"), **both)
        yield from walk(f"gradients of images {mode}", mode, (2, 3, 2, 2), see=("dx",), **both)
    yield from walk("graph", "t", (4, 3), see=("graph",))
    yield from walk("graphs", "tet", *[(4, 3)] * 3, see=("dx",), dtype=DOUBLE, layer=DOUBLE)
    for dtype, layer in ((HALF, SINGLE), (BRAIN, SINGLE), (BRAIN, BRAIN), (DOUBLE, DOUBLE)):
        yield from walk(f"{dtype} in {layer}", "t", (6, 3), see=("y", MEAN, VAR), dtype=dtype, layer=layer)
        yield from walk(f"{dtype} in {layer}", "e", (6, 3), see=("eval y",), dtype=dtype, layer=layer)
    for dtype, scale in ((HALF, 2e3), (HALF, 1e-4), (BRAIN, 1e4)):
        large = {"dtype": dtype, "scale": scale, "momentum": 1.0, "eps": 1e-12, "values": {"bias": torch.zeros(3)}}
        yield from walk(f"{dtype} times {scale}", "t", (6, 3), see=("y", MEAN, VAR), **large)
    for case in walk("fine mean", "e", (4, 1), dtype=HALF, values={"bias": torch.zeros(1)}):
        case.xs[0].fill_(1)
        case.values[MEAN], case.options["eps"] = 1 + 2.0**-12 * (1 + randint(rng, 0, 3, 1)), 2.0**-24
        case.values[VAR] = torch.full((1,), 2.0**-24).double()
        yield case
    for case in walk("large mean", "t", (4, 1, 2), see=("y", VAR), momentum=1.0, eps=0.0):
        offsets = (1 + 2 * randint(rng, 0, 4, 4)).double()
        case.xs[0] = (16384 + torch.stack([offsets, -offsets], 1)[:, None]).float()
        yield case
    for mode in "te":
        yield from walk(f"cost {mode}", mode, (8, 4, 12, 12), see=("bytes", "large", "kept")[: 3 if mode == "t" else 2])
        yield from walk(f"many {mode}", mode, (40, 40, 2, 2), see=("loop",))


def backward_cases(rng):
    def case(name, *shape, dtype=DOUBLE, weight=None, eps=0.3, scale=1.0, see=("grad_x", "grad_weight", "grad_bias")):
        grad, x = randn(rng, *shape).to(dtype), ((randn(rng, *shape) + 0.5) * scale).to(dtype)
        vector = randn(rng, shape[1]).to(weight or dtype)
        for each in see:
            yield Case(f"{BACK}, {name}: {each}", of=BACK, grad=grad, x=x, weight=vector, eps=eps, see=each)

    for shape in ((5, 3), (3, 3), (2, 3, 2, 2), (4, 3, 3)):
        yield from case(str(shape), *shape)
    yield from case("no eps", 5, 3, eps=0.0)
    yield from case("default eps", 5, 3, eps=None, scale=2e-3)
    yield from case("after", 5, 3, see=("after", "strides"))
    for dtype, weight in ((HALF, SINGLE), (BRAIN, SINGLE), (HALF, HALF), (SINGLE, SINGLE)):
        yield from case(f"{dtype}, weight {weight}", 5, 3, dtype=dtype, weight=weight)
    yield from case("large half", 5, 3, dtype=HALF, weight=SINGLE, scale=2e3, eps=0.0)
    for each in case("rows", 24, 1, dtype=HALF, weight=SINGLE, eps=0.0, see=("grad_weight", "grad_bias")):
        each.x[:] = torch.tensor([1.0, -1.0]).repeat(12)[:, None]
        each.grad[:] = 8192 * (each.x if each.see == "grad_weight" else torch.ones(24, 1))
        yield each
    for each in case("product", 4, 1, dtype=HALF, eps=0.0, see=("grad_x",)):
        each.x[:, 0], each.weight[:] = 2048 * torch.tensor([1.0, -1, -1, 1]), 512.0
        each.grad[:, 0] = torch.tensor([256.0, 0, 0, 0])
        yield each
    for each in case("large mean", 4, 1, dtype=SINGLE, eps=0.0, see=("grad_x", "grad_weight")):
        offsets = (1 + 2 * randint(rng, 0, 4, 2, 1)).float()
        each.x[:] = 16384 + torch.cat([offsets, -offsets])
        yield each
    x, weight = randn(rng, 4, 3), randn(rng, 3)
    wrong = {"grad": (x[:1], x, weight), "1 weight": (x, x, weight[:1]), "2 weights": (x, x, weight[:2])}
    wrong |= {"one dimension": (x[0], x[0], weight), "one value": (x[:1], x[:1], weight), "matrix": (x, x, x)}
    for words, (grad, data, vector) in wrong.items():
        yield Case(f"{BACK}, wrong {words}", of=BACK, grad=grad, x=data, weight=vector, eps=0.3, see="grad_x")
    for eps in (-1e-5, NAN):
        yield Case(f"{BACK}, eps={eps}", of=BACK, grad=x, x=x, weight=weight, eps=eps, see="grad_x")
    yield from case("cost", 40, 40, 2, 2, see=("loop", "large"))


def run(kata, case):
    return {INIT: start, FORWARD: forward, BACK: backward}[case.of](kata, case)


def start(kata, case):
    layer = kata.BatchNorm(case.features, **getattr(case, "options", {}))
    sizes = {name: [list(p.shape), p.requires_grad] for name, p in sorted(layer.named_parameters())}
    known = {"parameters": sizes, "buffers": sorted(dict(layer.named_buffers())), "state": sorted(layer.state_dict())}
    return {"start": known[case.part] if case.part in known else getattr(layer, case.part)}


def forward(kata, case):
    layer, see = kata.BatchNorm(case.features, **case.options).to(case.layer), case.see
    for name in NAMES:
        getattr(layer, name).data.copy_(case.values[name])
    xs = [(x.t().contiguous().t() if "strides" in see else x.clone()).requires_grad_(see in LEAVES) for x in case.xs]
    if see in COSTS:
        with measure() as spent, Alive() as alive:
            y = layer.train(case.modes == "t")(xs[0])
            kept = (alive.elements() - y.numel()) / y.numel()
        spent.ratio = spent.bytes / y.nbytes
        most = {"bytes": spent.ratio < 16.5 if layer.training else spent.ratio < 10.5, "kept": kept < 1.25}
        return {see: (most | {"loop": spent.operators > 100, "large": spent.largest > y.numel()})[see]}
    ys = []
    for mode, x in zip(case.modes, xs, strict=True):
        with torch.set_grad_enabled(mode != "n"):
            try:
                ys.append(layer.train(mode != "e")(x))
            except ValueError:
                return {see: [int(getattr(layer, COUNT)), getattr(layer, MEAN)]}
    if see in LEAVES:
        sum((y.square() * torch.linspace(1, 2, y.numel()).view_as(y)).sum() for y in ys).backward()
        return {
            see: {"dweight": layer.weight, "dbias": layer.bias}[see].grad if see[1] in "wb" else [x.grad for x in xs]
        }
    if see == "load":
        state, layer = layer.state_dict(), kata.BatchNorm(case.features, **case.options)
        layer.load_state_dict(state)
    twin = copy.deepcopy(layer) if see == "twin" else layer
    if see in ("load", "twin"):
        twin(xs[0] + 3)
    return {see: layer.running_mean if see in ("load", "twin") else found(layer, case, ys[0], xs[0])}


def found(layer, case, y, x):
    if case.see == "refused":
        return "accepted"
    if case.see == "graph":
        return [getattr(layer, name).requires_grad for name in (MEAN, VAR)]
    return Pairs(x, case.xs[0]) if case.see == "x after" else y if "y" in case.see else getattr(layer, case.see)


def backward(kata, case):
    given, see = [t.clone() for t in (case.grad, case.x, case.weight)], case.see
    given = [t.t().contiguous().t() if see == "strides" else t for t in given]
    with torch.inference_mode(see not in COSTS), measure() as spent:
        results = kata.batch_norm_backward(*given, **({} if case.eps is None else {"eps": case.eps}))
    if see in COSTS:
        return {see: spent.operators > 100 if see == "loop" else spent.largest > case.x.numel()}
    if see == "after":
        return {see: [Pairs(a, b) for a, b in zip(given, (case.grad, case.x, case.weight), strict=True)]}
    return {see: results[("grad_x", "grad_weight", "grad_bias", "strides").index(see) % 3].clone()}
