"""What can be seen of a fine-tuning: states before and after passes in train mode, heads, groups as positions."""

import copy

import torch
from torch import nn
from torch.optim import SGD

from dojo.probes import Case
from dojo.testing import randn


class Running(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.register_buffer("mean", torch.ones(features, dtype=torch.float64))

    def forward(self, x):
        if self.training:
            self.mean += 0.1 * (x.detach().mean(0) - self.mean)
        return x - self.mean


class Net(nn.Module):
    """Two blocks, a nested head that is not called `fc`, and a layer that is defined after it."""

    def __init__(self, bias=True):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
        self.top = nn.ModuleDict({"drop": nn.Identity(), "out": nn.Sequential(nn.ReLU(), nn.Linear(4, 4, bias=bias))})
        self.last = nn.Identity()
        self.double()
        for number, parameter in enumerate(self.parameters()):
            values = torch.arange(parameter.numel(), dtype=torch.float64)
            parameter.data.copy_((values + number).sin().view_as(parameter))

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


def cases(rng):
    inputs = randn(rng, 4, 6, 3) * 2 + 1
    for name in ("train", "eval", "again", "stale", "later", "copy", "copy of later"):
        yield Case(f"freeze {name}", of="freeze", inputs=inputs)
    images = randn(rng, 3, 4, 2, 2, 3) + 2
    for name, layer in (("2d", nn.BatchNorm2d(2)), ("instance", nn.InstanceNorm2d(2, track_running_stats=True))):
        yield Case(f"freeze {name}", of="freeze", inputs=images, layer=layer.double())
    yield Case("freeze unknown", of="freeze", inputs=inputs, layer=Running(3))
    yield Case("freeze inner norm", of="freeze", inputs=inputs, layer=nn.Sequential(nn.BatchNorm1d(3)).double())
    for name in MODELS:
        yield Case(f"head {name}", of="replace_head", make=MODELS[name], classes=7)
    yield Case("head zero", of="replace_head", make=Net, classes=0)
    for of in ("trainable_parameters", "fine_tune_groups"):
        for name, make in {**MODELS, "tied": tied}.items():
            yield Case(f"{of} {name}", of=of, make=make)
        yield Case(f"{of} half frozen", of=of, make=Net)


def run(kata, case):
    return {
        "freeze": run_freeze,
        "replace_head": run_head,
        "trainable_parameters": run_parameters,
        "fine_tune_groups": run_groups,
    }[case.of](kata, case)


def states(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def run_freeze(kata, case):
    """`inner` is frozen within `model`; then come passes in train mode, and a step."""
    inner = copy.deepcopy(case.layer) if hasattr(case, "layer") else Net()
    model = nn.Sequential(nn.BatchNorm1d(3).double() if not hasattr(case, "layer") else nn.Identity(), inner)
    model.train(case.name != "freeze eval")
    optimizer = SGD(model.parameters(), lr=0.1) if list(model.parameters()) else None
    if case.name == "freeze stale":
        model(case.inputs[0]).sum().backward()
    kata.freeze(inner)
    if case.name == "freeze later":
        inner.top["drop"] = nn.Dropout(0.5)
        modes = [model.train(mode) and [inner.top["drop"].training, model[0].training] for mode in (True, False, True)]
        model(case.inputs[0])
        return {"modes": [*modes, inner.top["drop"].training]}
    if case.name == "freeze copy of later":
        twin = copy.deepcopy(model)
        twin[1].top["drop"] = nn.Dropout(0.5)
        return {"modes": [twin.train(mode) and twin[1].top["drop"].training for mode in (True, False, True)]}
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
        "unchanged": {name: torch.equal(tensor, before[name]) for name, tensor in inner.state_dict().items()},
        "copy": states(watched),
        "needs": [p.requires_grad for p in inner.parameters()],
        "gradients": [p.grad is None for p in inner.parameters()],
        "gradient of x": x.grad if x.grad is not None else "none",
        "outer": states(model[0]),
    }


def run_head(kata, case):
    model = case.make()
    before = dict(model.named_parameters())
    new = kata.replace_head(model, case.classes)
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


def halfway(case):
    model = case.make()
    if case.name.endswith("half frozen"):
        model.features[0].requires_grad_(False)
    return model


def run_parameters(kata, case):
    model = halfway(case)
    found = kata.trainable_parameters(model)
    return {"list": isinstance(found, list), "positions": positions(model, found)}


def run_groups(kata, case):
    model = halfway(case)
    groups = kata.fine_tune_groups(model, 0.25, 0.5)
    return {"rates": [group["lr"] for group in groups], "positions": [positions(model, g["params"]) for g in groups]}
