"""What can be seen of a clip and of accumulated steps: norms, gradients, weights, reports, and what they cost."""

from itertools import product
from weakref import WeakSet

import torch
from torch import nn

from dojo.testing import randint
from dojo.testing.alive import Alive
from dojo.testing.cost import measure
from dojo.testing.modules import Traced
from dojo.testing.probes import Case

FORBIDDEN = ("torch.nn.utils.clip_grad", "torch.nn.utils.clip_grad_norm_", "torch.nn.utils.clip_grad_norm",
             "torch.nn.utils.clip_grads_with_norm_", "torch.nn.utils.get_total_norm")  # fmt: skip
HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
INF, NAN, WRONG, DECAY = float("inf"), float("nan"), (0.0, -1.0, float("nan")), {"lr": 0.5, "weight_decay": 0.25}
PARTS = {"halves": [(3, 3), (3, 3)], "parts": [(2, 2), (5, 5)], "more parts": [(1, 1), (4, 4), (2, 2)]}  # rows, items
PARTS |= {"padded": [(5, 1), (3, 3), (4, 2)], "one": [(3, 3)]}
EMPTY = {"first": [(2, 0), (3, 3), (2, 2)], "within": [(3, 3), (4, 0), (2, 2)], "last": [(3, 3), (2, 2), (2, 0)]}
EMPTY |= {"without rows": [(3, 3), (0, 0), (2, 2)], "alone": [(2, 0)], "of two": [(2, 0), (3, 0)], "of none": []}


def some(rng, *shape, dtype=DOUBLE):
    """Positive quarters, so that means lie between 0.25 and 2, and nothing cancels."""
    return (randint(rng, 1, 9, *shape) / 4).to(dtype)


def cases(rng):
    for number, (name, kind, most, grads) in enumerate(clips(rng)):
        yield Case(f"clip {number}: {kind} of {name}", of="clip_grad_norm", kind=kind, most=most, grads=list(grads))
    for number, (name, kinds, parts, more) in enumerate(steps()):
        for kind in kinds.split():
            weights = [some(rng, n) for n in more.get("widths", [2])]
            width = more.get("seen", sum(map(len, weights)))
            batches = [(some(rng, n, width), (torch.randperm(n, generator=rng) < items).float()) for n, items in parts]
            more = {"most": None, "dtype": DOUBLE, "options": DECAY} | more | {"kind": kind, "batches": batches}
            yield Case(f"step {number}: {kind} of {name}", of="accumulated_step", weights=weights, **more)


def clips(rng):
    for kind, most in (("norm", INF), ("norm", 0.2), ("grads", 0.2), ("grads", 99.0)):
        for dtype in (HALF, BRAIN, SINGLE, DOUBLE) if most != 0.2 or kind == "grads" else (DOUBLE,):
            yield f"one in {dtype}", kind, most, [some(rng, 4, dtype=dtype)]
            yield f"three in {dtype}", kind, most, [some(rng, width, dtype=dtype) for width in (4, 2, 1)]
            yield f"16 and 1 in {dtype}", kind, most, torch.tensor([[16.0], [1.0]]).to(dtype)
    for kind, most in (("norm", INF), ("grads", 0.2)):
        yield "signs", kind, most, [some(rng, 4) * (2 * randint(rng, 0, 2, 4) - 1)]
        yield "matrices", kind, most, [some(rng, 3, 2), some(rng, 2, 3).t(), some(rng, 1)[0], some(rng, 0, 2)]
        yield "with None", kind, most, [None, some(rng, 2), None, some(rng, 1)]
        yield "a generator", kind, most, [some(rng, 2), some(rng, 1)]
        yield from ((f"{len(given)} None", kind, most, given) for given in ([], [None]))
        yield "zeros", kind, most, [torch.zeros(3), torch.zeros(2)]
        for dtype, size in product((HALF, BRAIN), (300.0, 30000.0)):
            large = (size * (1 + randint(rng, 1, 9, 5) / 64)).to(dtype)
            yield f"{dtype} at {size}", kind, max(most, size), [large[:2], large[2:]]
    for kind, value, most in product(("norm", "grads"), (INF, -INF, NAN), (0.2, INF)):
        yield f"with {value}", kind, most, [some(rng, 2), some(rng, 2) * torch.tensor([1, value])]
    for first, second in ((HALF, SINGLE), (SINGLE, HALF), (SINGLE, DOUBLE)):
        yield f"{first} and {second}", "norm", INF, [some(rng, 2, dtype=first), some(rng, 3, dtype=second)]
    yield from ((f"{most}", "grads", most, [some(rng, 2)]) for most in WRONG)
    yield "two", "held", 0.2, [some(rng, 2), some(rng, 1)]
    yield from (("twelve", kind, 0.2, torch.ones(12, 99)) for kind in ("reads", "copies"))


def steps():
    for name, parts in PARTS.items():
        yield name, "weights loss items norm", parts, {}
        yield f"{name}, clipped", "weights norm", parts, {"most": 0.2}
    for name, parts in list(PARTS.items())[2:4]:
        yield f"{name}, not clipped", "weights", [(6, 6), *parts, (6, 6)], {"most": 4.0}  # which the sum would be
        yield f"{name} that cancel", "weights norm", parts * 2, {"most": 0.2, "turned": True}
        yield f"{name}, momentum", "weights", parts, {"options": {"lr": 0.5, "momentum": 0.5}, "twice": True}
        yield f"{name}, the second time", "loss", parts, {"twice": True}
        yield f"{name} and old gradients", "weights", parts, {"stale": True}
        yield f"{name} generated", "weights loss", parts, {}
        for most in (None, 0.2):
            yield f"{name} in groups, {most}", "weights norm", parts, {"widths": [2, 1], "groups": True, "most": most}
    yield from ((f"an empty one {name}", "weights loss norm", parts, {}) for name, parts in EMPTY.items())
    for (key, value), most in product((("seen", 2), ("frozen", True)), (None, 0.2)):
        yield f"None: {key}, {most}", "weights norm", PARTS["parts"], {"widths": [2, 1], "most": most, key: value}
    yield from ((f"train={train}", "modes", PARTS["parts"], {"train": train}) for train in (True, False))
    for dtype, large in ((HALF, 4e3), (BRAIN, 4e3), (SINGLE, 4e3), (DOUBLE, 1e9)):
        yield f"{dtype}", "weights loss", PARTS["more parts"], {"dtype": dtype, "large": large}
    for parts, most in product((PARTS["parts"], []), WRONG):
        yield f"max_norm={most}", "weights", parts, {"most": most}
    yield "all", "inputs passes graphs", PARTS["more parts"], {}


def seen(tensor):
    """To four digits at most, which leaves room for torch's 1e-6 beside a norm, and the dtype."""
    if isinstance(tensor, torch.Tensor):
        return [str(tensor.dtype), tensor.detach().to(SINGLE if tensor.dtype == DOUBLE else tensor.dtype)]
    return [seen(each) for each in tensor] if isinstance(tensor, list) else tensor


def run(kata, case):
    try:
        return (clip if case.of == "clip_grad_norm" else step)(kata, case)
    except (AttributeError, TypeError, IndexError, RuntimeError) as error:
        if "None" not in case.name or isinstance(error, NotImplementedError):
            raise
        return {"fails": True}  # how depends on how it is written


def clip(kata, case):
    made = [nn.Parameter(torch.ones_like(torch.ones(1) if grad is None else grad)) for grad in case.grads]
    for parameter, grad in zip(made, case.grads, strict=True):
        parameter.grad = None if grad is None else grad.clone()
    held = [parameter.grad for parameter in made]
    with measure() as spent, Alive() as alive:
        norm = kata.clip_grad_norm((p for p in made) if "generator" in case.name else made, case.most)
    shown = {"norm": norm, "grads": [p.grad for p in made], "held": [*held, *made], "copies": alive.peak <= 300}
    shown["reads"] = spent.calls["aten._local_scalar_dense"] < 12
    return {case.kind: seen(shown[case.kind])}


class Dot(nn.Module):
    def forward(self, x):
        return (x * torch.cat([*self.weights][: x.shape[1] - 1])).sum(1)


def step(kata, case):
    model, has, log, graphs = Dot().train(getattr(case, "train", True)), lambda name: hasattr(case, name), [], WeakSet()
    model.weights = nn.ParameterList((0 * w if has("large") else w).to(case.dtype) for w in case.weights)
    held = [{"params": [weight]} for weight in model.weights] if has("groups") else model.parameters()
    optimizer = torch.optim.SGD(held, **case.options)
    for number, weight in enumerate(model.weights):
        weight.grad = torch.ones_like(weight) if has("stale") else None
        weight.requires_grad_(not (has("frozen") and number == 1))
    batches = [((-1) ** (number * has("turned")) * x.to(case.dtype), y) for number, (x, y) in enumerate(case.batches)]
    extra = iter([case.large, 0.125, -case.large] if has("large") else [0.0] * 99)

    def loss_sum(outputs, y):
        log.append({"modes": model.training, "passes": "forward", "graphs": len(graphs) > 1}.get(case.kind))
        graphs.add(token := nn.Identity())
        loss = (outputs * y.to(outputs)).sum() + next(extra)
        if case.kind in ("passes", "graphs"):
            loss = Traced.apply(loss, token)
            loss.register_hook(lambda grad: log.append("backward") if case.kind == "passes" else None)
        return loss, int(y.sum())

    for _ in range(1 + has("twice")):
        given = (batch for batch in batches) if "generated" in case.name else batches
        result = kata.accumulated_step(model, given, loss_sum, optimizer, max_norm=case.most)
    report = zip(("loss", "items", "norm"), result, strict=True)
    shown = {name: [type(value).__name__, torch.tensor(float(value))] for name, value in report}
    shown["weights"] = seen([*model.weights])
    return {case.kind: shown.get(case.kind, [log, model.training, len(graphs), batches])}
