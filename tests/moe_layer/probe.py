"""What can be seen of routing, of the layer, of the balancing loss and of capacity: values, who gets which tokens, cost."""

import torch
from torch import nn

from dojo.testing import randint, randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

ROUTE, INIT, LAYER = "route", "MoELayer", "MoELayer.forward"
LOSS, CAPACITY, PLACES = "load_balancing_loss", "expert_capacity", "within_capacity"
HALF = torch.float16


class Expert(nn.Module):
    """tanh(x W + b) + b, and what it was given."""

    def __init__(self, dim):
        super().__init__()
        self.weight, self.bias, self.given = nn.Parameter(torch.zeros(dim, dim)), nn.Parameter(torch.zeros(dim)), []

    def forward(self, x):
        self.given.append(x.detach().clone())
        return torch.tanh(x @ self.weight + self.bias) + self.bias


def choices(rng, tokens, experts, k):  # the first experts more often than the last ones
    return (randn(rng, tokens, experts) - 0.4 * torch.arange(experts)).topk(k).indices


def eighths(rng, tokens, experts):  # exact in half precision
    return torch.stack([torch.randperm(experts, generator=rng) for _ in range(tokens)]).double() / 8


def layer(name, rng, *batch, experts=3, k=2, dim=4, training=False, nobody=(), options=None, dtype=torch.float64):
    given = {"weight": randn(rng, experts, dim, dim).to(dtype), "bias": randn(rng, experts, dim).to(dtype)}
    gate, x = randn(rng, experts, dim), randn(rng, *batch, dim)
    if nobody:
        x, gate[list(nobody)] = x.abs(), -50.0
    if dtype == HALF:  # the gate hands on numbers that are exact
        x, gate = 4 * eighths(rng, *batch, dim), torch.eye(dim)
    given |= {"x": x.to(dtype), "gate": gate.to(dtype), "k": k, "training": training, "options": options or {}}
    return Case(name, of=LAYER, **given)


def cases(rng):
    for k, options in ((2, {}), (2, {"renormalize": False}), (1, {}), (1, {"renormalize": False}), (6, {})):
        yield Case(f"route {k} {options}", of=ROUTE, logits=2 * randn(rng, 6, 6), k=k, options=options)
    for name, factor in (("quiet", 0.01), ("loud", 40.0)):
        yield Case(f"route, {name}", of=ROUTE, logits=factor * randn(rng, 4, 5), k=3, options={})
    for wrong in (0, -1, 7):
        yield Case(f"route, k={wrong}", of=ROUTE, logits=randn(rng, 2, 6), k=wrong, options={})
    yield Case("route, half", of=ROUTE, logits=eighths(rng, 5, 6).half(), k=2, options={})
    yield Case("route, huge", of=ROUTE, logits=8192.0 * torch.tensor([[-1, 1, 0], [-1, -1, -1]]), k=3, options={})
    close = torch.tensor([[0.0625, 0.0625 + 2**-14, -1], [0.0625 + 2**-14, 0.0625, -1]]).half().repeat(4, 1)
    yield Case("route, close", of=ROUTE, logits=close, k=1, options={})
    for made in ((3, 2, None), (0, 1, None), (3, 0, None), (3, 4, None), (3, 1, 0.0), (3, 1, float("nan"))):
        yield Case(f"made {made}", of=INIT, made=list(made))
    yield Case("made any", of=INIT, made=[int(randint(rng, 2, 6, 1)), 1, 1.5])
    yield layer("tokens", rng, 6, training=True)
    yield layer("texts", rng, 2, 3)
    for k, renormalize in ((1, False), (3, True)):
        yield layer(f"k={k} {renormalize}", rng, 5, k=k, options={"renormalize": renormalize})
    yield layer("nobody", rng, 5, k=1, nobody=(0,))
    yield layer("half", rng, 6, experts=6, dim=6, dtype=HALF)
    for k, factor, training in ((1, 0.6, False), (2, 0.6, True)):
        yield layer(f"places {k} {factor}", rng, 2, 5, k=k, training=training, options={"capacity_factor": factor})
    yield layer("cost", rng, 16, experts=2, k=1, options={"capacity_factor": 1.0})
    for tokens, k, masked in ((1, 1, 0), (6, 1, 0), (6, 2, 0), (7, 3, 3), (6, 1, 2), (4, 2, 4), (5, 2, 0)):
        mask = torch.arange(tokens) >= masked
        logits, chosen = 2 * randn(rng, tokens, 5), choices(rng, tokens, 5, k)
        yield Case(f"loss {tokens} {k} {masked}", of=LOSS, logits=logits, chosen=chosen, mask=mask if masked else None)
    yield Case("loss, equal", of=LOSS, logits=torch.zeros(6, 5), chosen=choices(rng, 6, 5, 2), mask=None)
    yield Case("loss, many", of=LOSS, logits=torch.zeros(66_000, 1).half(), chosen=torch.zeros(66_000, 1).long())
    for wrong in (-1, 5):
        yield Case(f"loss, {wrong}", of=LOSS, logits=randn(rng, 1, 5), chosen=torch.tensor([[1, wrong]]), mask=None)
    for wrong in ([8, 4, 0, 1.0], [8, 4, 5, 1.0], [8, 4, 2, 0.0], [8, 4, 2, -1.0], [8, 4, 2, float("nan")]):
        yield Case(f"capacity {wrong}", of=CAPACITY, given=[wrong])
    given = [[t, 8, k, 1.25] for t, k in zip(randint(rng, 1, 99, 8).tolist(), [1, 2, 3, 8] * 2, strict=True)]
    yield Case("capacities", of=CAPACITY, given=[*given, [64, 8, 2, 1.0], [9, 4, 1, 0.5], [1, 8, 1, 1.0]])
    for tokens, k, capacity in ((9, 2, 2), (5, 1, 1), (8, 3, 3), (4, 4, 2), (6, 2, 0), (6, 2, 99)):
        yield Case(f"places {tokens} {k} {capacity}", of=PLACES, chosen=choices(rng, tokens, 4, k), capacity=capacity)
    yield Case("places, many", of=PLACES, chosen=torch.zeros(2060, 1).long(), capacity=2052)
    for wrong, capacity in ((-1, 2), (4, 2), (1, -1)):
        yield Case(f"places {wrong}, {capacity}", of=PLACES, chosen=torch.tensor([[0], [wrong]]), capacity=capacity)


def run(kata, case):
    if case.of == CAPACITY:
        return {"capacity": [kata.expert_capacity(*given) for given in case.given]}
    if case.of == PLACES:
        chosen = case.chosen.clone()
        return {"places": kata.within_capacity(chosen, 4, case.capacity), "chosen after": chosen}
    if case.of == INIT:
        count, k, factor = case.made
        experts = [nn.Linear(2, 2) for _ in range(count)]
        made = kata.MoELayer(2, experts, k, capacity_factor=factor)
        same = [a is b for a, b in zip(made.experts, experts, strict=True)]
        as_linear = bool(made.gate.weight.any()) and made.gate.weight.abs().max().item() < 0.7072
        return {
            "parameters": sorted([n, list(p.shape)] for n, p in made.named_parameters()),
            "same": [*same, as_linear],
        }
    if case.of == LAYER:
        return through_layer(kata, case)
    logits = case.logits.clone().requires_grad_()
    free = logits * 1  # no leaf, so that changing it is no error
    if case.name == "loss, many":
        return {"loss": kata.load_balancing_loss(case.logits, case.chosen)}
    if case.of == ROUTE:
        weights, chosen = kata.route(free, case.k, **case.options)
        seen = {
            "weights": weights,
            "chosen": [] if case.name == "route, huge" else chosen,
            "after": Pairs(free, logits),
        }
        loss = (weights * torch.arange(1, case.k + 1)).sum()
    else:
        loss = kata.load_balancing_loss(free, case.chosen.clone(), mask=case.mask)
        seen = {"loss": loss, "after": Pairs(free, logits)}
    if logits.dtype == HALF or not loss.requires_grad:
        return seen | {"graph": loss.requires_grad}
    return seen | {"gradient": torch.autograd.grad(loss, logits)[0]}


def through_layer(kata, case):
    experts, dim = len(case.gate), case.x.shape[-1]
    module = kata.MoELayer(dim, [Expert(dim) for _ in range(experts)], case.k, **case.options)
    module = module.to(case.x.dtype).train(case.training)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            own = name.split(".")
            parameter.copy_(getattr(case, own[-1])[int(own[1])] if len(own) == 3 else getattr(case, own[0]))
    x = case.x.clone().requires_grad_()
    free = x * 1 if x.dim() < 3 else x.mT.contiguous().mT
    if case.name == "cost":
        with measure() as few:
            module(x[:4])
        with measure() as spent:
            y = module(x)
        return {"y": y, "large": spent.largest > 2 * x.numel(), "loop": spent.operators > few.operators + 24}
    y = module(free)
    rows = [torch.cat([*expert.given, x.detach()[:0].reshape(0, dim)]) for expert in module.experts]
    seen = {"y": y, "x after": Pairs(free, x), "once": [len(expert.given) < 2 for expert in module.experts]}
    seen["rows"] = [each[(each.double() @ 1.7 ** torch.arange(dim).double()).argsort()] for each in rows]
    if case.x.dtype == HALF:
        return seen
    leaves = [x, *(parameter for _, parameter in sorted(module.named_parameters()))]
    each = torch.autograd.grad(y.square().sum(), leaves, allow_unused=True)
    return seen | {"gradients": [torch.zeros_like(p) if g is None else g for g, p in zip(each, leaves, strict=True)]}
