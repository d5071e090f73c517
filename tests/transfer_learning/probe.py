"""What can be seen of a fine-tuning: states before and after passes in train mode, heads, groups as positions."""

import copy

import torch
from torch import nn
from torch.optim import SGD

from dojo.testing import randint, randn
from dojo.testing.probes import Case, Pairs


class Running(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.register_buffer("mean", torch.ones(features, dtype=torch.float64))

    def forward(self, x):
        if self.training:
            self.mean += 0.1 * (x.detach().mean(0) - self.mean)
        return x - self.mean


def filled(model):
    """The model in float64, with known parameters."""
    for number, parameter in enumerate(model.double().parameters()):
        values = torch.arange(parameter.numel(), dtype=torch.float64)
        parameter.data.copy_((values + number).sin().view_as(parameter))
    return model


class Net(nn.Module):
    """Two blocks, a nested head that is not called `fc`, and a layer that is defined after it."""

    def __init__(self, bias=True):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
        self.top = nn.ModuleDict({"drop": nn.Identity(), "out": nn.Sequential(nn.ReLU(), nn.Linear(4, 4, bias=bias))})
        self.last = nn.Identity()
        filled(self)

    def forward(self, x):
        return self.last(self.top["out"](self.top["drop"](self.features(x))))


MODELS = {
    "nested": Net,
    "no bias": lambda: Net(bias=False),
    "half": lambda: Net().half(),
    "meta": lambda: Net().to("meta"),
    "frozen": lambda: Net().requires_grad_(False),
    "flat": lambda: nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.ReLU()),
    "no linear": lambda: nn.Sequential(nn.Conv1d(1, 1, 1)),
    "single": lambda: nn.Linear(3, 4),
}


def tied():
    model = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 4), nn.Linear(4, 6))
    model[2].weight = model[0].weight
    return model


PARTED = {**MODELS, "tied": tied, "half frozen": Net}
LAYERS = {
    "2d": lambda: nn.BatchNorm2d(2).double(),
    "instance": lambda: nn.InstanceNorm2d(2, track_running_stats=True).double(),
    "unknown": lambda: Running(3),
    "inner norm": lambda: nn.Sequential(nn.BatchNorm1d(3)).double(),
    "stale": lambda: filled(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4))),  # without a norm: gradients alone
}


def whole(rng, low, high):
    return int(randint(rng, low, high, 1))


def linear(rng):
    return [whole(rng, 1, 30), whole(rng, 1, 30), whole(rng, 0, 2)]


def tree(rng, depth=2):
    """A model to look at: [children], or [inputs, outputs, bias] of a linear layer, or [features] of a norm."""
    children = [linear(rng)]
    for _ in range(whole(rng, 1, 4)):
        kind = whole(rng, 0, 3 if depth else 2)
        children.append(tree(rng, depth - 1) if kind == 2 else linear(rng) if kind else [whole(rng, 1, 9)])
    return [children[number] for number in torch.randperm(len(children), generator=rng).tolist()]


def cases(rng):
    for name in ("train", "eval", "again", "later", "copy", "copy of later"):
        modes = randint(rng, 0, 2, 48).bool().tolist()
        yield Case(f"freeze {name}", of="freeze", inputs=randn(rng, 4, 6, 3) * 2 + 1, modes=[*modes, True, False, True])
    for name in LAYERS:
        inputs = randn(rng, 4, 6, 3) * 2 + 1 if name not in ("2d", "instance") else randn(rng, 3, 4, 2, 2, 3) + 2
        yield Case(f"freeze {name}", of="freeze", inputs=inputs, layer=name)
    for name in MODELS:
        yield Case(f"head {name}", of="replace_head", model=name, classes=7)
    yield Case("head zero", of="replace_head", model="nested", classes=0)
    for of in ("trainable_parameters", "fine_tune_groups"):
        for name in PARTED:
            yield Case(
                f"{of} {name}", of=of, model=name, frozen=[1, 1] if name == "half frozen" else [], rates=[0.25, 0.5]
            )
    for of in ("replace_head", "trainable_parameters", "fine_tune_groups"):
        models = [
            {
                "model": tree(rng),
                "classes": whole(rng, 1, 1000),
                "frozen": randint(rng, 0, 2, 60).tolist(),
                "rates": torch.rand(2, generator=rng, dtype=torch.float64).tolist(),
            }
            for _ in range(12)
        ]
        yield Case(f"{of} any", of=of, models=models)


def build(model):
    if isinstance(model, str):
        return PARTED[model]()
    if isinstance(model[0], list):
        return nn.Sequential(*map(build, model))
    return nn.BatchNorm1d(*model) if len(model) == 1 else nn.Linear(*model[:2], bias=bool(model[2]))


def run(kata, case):
    if case.of == "freeze":
        return run_freeze(kata, case)
    run_one = {
        "replace_head": run_head,
        "trainable_parameters": run_parameters,
        "fine_tune_groups": run_groups,
    }[case.of]
    if hasattr(case, "models"):
        return {"models": [run_one(kata, **given) for given in case.models]}
    return run_one(kata, **{name: value for name, value in vars(case).items() if name not in ("name", "of")})


def states(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def run_freeze(kata, case):
    """`inner` is frozen within `model`; then come passes in train mode, and a step."""
    layer = getattr(case, "layer", None)
    inner = LAYERS[layer]() if layer else Net()
    model = nn.Sequential(nn.Identity() if layer else nn.BatchNorm1d(3).double(), inner)
    model.train(case.name != "freeze eval")
    optimizer = SGD(model.parameters(), lr=0.1) if list(model.parameters()) else None
    if case.name == "freeze stale":
        model(case.inputs[0]).sum().backward()
    kata.freeze(inner)
    if case.name == "freeze later":
        drop = inner.top["drop"] = nn.Dropout(0.5)
        modes = [model.train(mode) and [drop.training, model[0].training] for mode in case.modes]
        model(case.inputs[0])
        return {"modes": [*modes, drop.training]}
    if case.name == "freeze copy of later":
        twin = copy.deepcopy(model)
        drop = twin[1].top["drop"] = nn.Dropout(0.5)
        return {"modes": [twin.train(mode) and drop.training for mode in case.modes]}
    if case.name == "freeze again":
        kata.freeze(inner)
    watched = copy.deepcopy(model) if case.name == "freeze copy" else model
    x, before = case.inputs[1].clone().requires_grad_(), states(inner)
    outs = []
    for number in range(2):  # the first without another call of train()
        outs.append(watched(x))
        if number == 0 and case.name == "freeze copy":
            outs.append(watched[1](x))
        watched.train()
    if optimizer and outs[-1].requires_grad:
        outs[-1].square().sum().backward()
        optimizer.step()
    return {
        "outs": outs,
        "names": list(inner.state_dict()),
        "unchanged": {name: Pairs(tensor, before[name]) for name, tensor in inner.state_dict().items()},
        "copy": states(watched),
        "needs": [p.requires_grad for p in inner.parameters()],
        "gradients": [p.grad is None for p in inner.parameters()],
        "gradient of x": x.grad if x.grad is not None else "none",
        "outer": states(model[0]),
    }


def run_head(kata, model, classes, **_):
    model = build(model)
    before = dict(model.named_parameters())
    new = kata.replace_head(model, classes)
    after = dict(model.named_parameters())
    return {
        "shapes": {name: [list(p.shape), str(p.dtype), str(p.device), p.requires_grad] for name, p in after.items()},
        "new": sorted(name for name in after if after[name] is not before.get(name)),
        "is the layer": [name for name, module in model.named_modules() if module is new],
        "modules": [name for name, _ in model.named_modules()],
    }


def positions(model, found):
    order = [id(p) for p in model.parameters()]
    return [order.index(id(p)) for p in found]


def partly_frozen(model, frozen):
    model = build(model)
    for parameter, fixed in zip(model.parameters(), frozen, strict=False):
        parameter.requires_grad_(parameter.requires_grad and not fixed)
    return model


def run_parameters(kata, model, frozen, **_):
    model = partly_frozen(model, frozen)
    found = kata.trainable_parameters(model)
    return {"list": isinstance(found, list), "positions": positions(model, found)}


def run_groups(kata, model, frozen, rates, **_):
    model = partly_frozen(model, frozen)
    groups = kata.fine_tune_groups(model, *rates)
    return {"rates": [group["lr"] for group in groups], "positions": [positions(model, g["params"]) for g in groups]}
