"""What can be seen of a mixed precision step: scales, gradients, masters, weights after steps, and what they cost."""

import json

import torch
from torch import nn
from torch.optim import SGD, AdamW

from dojo.testing import randint
from dojo.testing.alive import Alive
from dojo.testing.cost import measure
from dojo.testing.probes import Case

FORBIDDEN = ("_amp_update_scale_", "_amp_foreach_non_finite_check_and_unscale_", "torch.amp", "torch.cuda", "torch.cpu")
SCALER, MASTERS, STEP = "LossScaler", "MasterWeights", "train_step"
HALF, BRAIN, SINGLE, INF, NAN = torch.float16, torch.bfloat16, torch.float32, float("inf"), float("nan")


def some(rng, *shape):
    """Quarters, none of them 0, which float16 adds and multiplies exactly."""
    return (randint(rng, 1, 9, *shape) * (2 * randint(rng, 0, 2, *shape) - 1) / 4).float()


def step(rng, name, *steps, size=1.0, start=1.0, **options):
    """A step is the factors of its micro-batches' slopes. With a factor of None they leave the second parameter out."""
    made = [[[factor, size * some(rng, 2), size * some(rng, 1)] for factor in factors] for factors in steps]
    options = {"kind": "sgd", "dtype": HALF, "scale": 8.0, "interval": 9, "most": None} | options
    return Case(name, of=STEP, steps=made, weights=[start * some(rng, 2), start * some(rng, 1)], **options)


def cases(rng):
    for interval in (1, 3):
        found = [False] * 3 + (randint(rng, 0, 4 * interval, 12) < 3).tolist() + [True] + [False] * (2 * interval)
        for part in ("update", "state_dict"):
            yield Case(f"{part} {interval}", of=f"{SCALER}.{part}", interval=interval, found=found)
    for dtype in (HALF, BRAIN, SINGLE):
        yield Case(f"scale {dtype}", of=f"{SCALER}.scale_loss", loss=some(rng, 1)[0].to(dtype))
        weight, grads = some(rng, 2, 3) + 0.0006, [some(rng, 2, 3), some(rng, 2, 3)]
        yield Case(f"masters {dtype}", of=MASTERS, weight=weight.to(dtype), grads=[grad.to(dtype) for grad in grads])
    for value, place in ((1.0, 0), (INF, 0), (-INF, 1), (NAN, 2), (INF, 2), (NAN, 0), (3e38, 0), (0.0, -1)):
        grads = [8 * some(rng, 2), some(rng, 2, 3), some(rng, 1)[0]]
        grads[place] *= value / grads[place] if value != 1 else 1
        yield Case(f"unscale {value} {place}", of=f"{SCALER}.unscale", grads=grads if place >= 0 else [])
    for name in ("init_scale", "growth_factor", "backoff_factor", "growth_interval"):
        for value in (-1, 0, 1, 2):
            yield Case(f"{name}={value}", of=SCALER, options={name: value})
    yield Case("scale", of=SCALER, options={"init_scale": float(randint(rng, 1, 99, 1))})
    for name, *steps in (("plain", [1.0]), ("an inf", [1.0], [INF]), ("half loss", ["2048", "1"]), ("no batch", [])):
        yield step(rng, name, *steps)
    yield step(rng, "momentum", [1.0], [1.0], [1.0], kind="momentum", scale=16.0)
    yield step(rng, "growing", [1.0], [1.0], [1.0], interval=1, most=64.0)
    yield step(rng, "skips", [1.0], [INF], [1.0], [NAN], [1.0], kind="adam", interval=2)
    yield step(rng, "falling", *[[1.0]] * 5, scale=2.0**16, size=4.0)
    yield step(rng, "micro", [1.0, 2.0, 1.0], kind="momentum", interval=2)
    yield step(rng, "micro infs", [INF, 1.0, 1.0], [1.0, 1.0, INF], [1.0, 1.0], interval=2)
    yield step(rng, "clipped", [1.0, 2.0], most=0.125, scale=512.0)
    yield step(rng, "a NaN", [NAN], [1.0], kind="momentum")
    yield step(rng, "zeros", [1.0], size=0.0, most=1.0)
    yield step(rng, "left out", [1.0], [None], kind="adam")
    yield step(rng, "vanishing", [1.0], scale=2.0**16, size=1e-8, start=0.0)
    yield step(rng, "small updates", *[[1.0]] * 5, kind="tiny")
    yield step(rng, "large norm", [1.0], scale=16.0, size=1024.0)
    yield step(rng, "float32", [1.0], [INF], [2.0**20], dtype=SINGLE, kind="momentum")
    yield from (step(rng, f"max_norm={most}", [1.0], most=most) for most in (0.0, -1.0, NAN))
    yield step(rng, "cost", [1.0], kind="momentum")


def run(kata, case):
    if case.of in (STEP, MASTERS):
        return (costs if case.name == "cost" else play if case.of == STEP else copies)(kata, case)
    if case.of == SCALER:
        return {"scale": float(kata.LossScaler(**case.options).scale)}
    kind = case.of.partition(".")[2]
    if kind in ("update", "state_dict"):
        scaler, scales, text, state = kata.LossScaler(512.0, 1.5, 0.75, case.interval), [], "{}", {}
        for index, found in enumerate(case.found):
            if kind == "state_dict" and index == 2:
                state = scaler.state_dict()
                text, old, scaler = json.dumps(state), scaler, kata.LossScaler(8.0, 1.5, 0.75, case.interval)
                scaler.load_state_dict(state)
                old.update(True)
            scaler.update(found)
            scales.append(float(scaler.scale))
        return {"scales": torch.tensor(scales), "a snapshot": text == json.dumps(state)}
    if kind == "scale_loss":
        scaled = kata.LossScaler(2.0**15).scale_loss(loss := (leaf := case.loss.clone().requires_grad_()) * 1)
        _ = scaled.requires_grad and scaled.backward()
        return {"scaled": scaled, "loss": loss, "grad": leaf.grad}
    found = kata.LossScaler(8.0).unscale(grads := [grad.clone() for grad in case.grads])
    return {"found": found, "grads": None if found is True else [grad.clamp(-9, 9) for grad in grads]}


def copies(kata, case):
    model = nn.ParameterList([case.weight.clone(), torch.ones_like(case.weight[0])])
    held, view = kata.MasterWeights(model.parameters()), model[0].detach()
    seen = {"masters": [[m.detach().clone(), m.is_leaf] for m in held.masters]}
    for grad in case.grads:
        model[0].grad, model[1].grad = grad.clone(), None if "grads" in seen else torch.ones_like(model[1])
        held.take_gradients()
        seen["grads"] = [m.grad if m.grad is None else m.grad.clone() for m in held.masters]
    with torch.no_grad():
        held.masters[0].mul_(1.0009)
    before, _ = view.clone(), held.write_back()
    return seen | {"before": before, "after": [view, model[0].detach(), model[0].is_leaf, model[0].requires_grad]}


def slope_loss(model, batch):
    factor, first, second = batch
    if isinstance(factor, str):  # a loss in float16
        return model[0].sum() * 0 + int(factor)
    loss = (model[0].float() * first).sum() * (factor or 1.0)
    return loss if factor is None else loss + (model[1].float() * second).sum()


def built(kata, case, weights):
    model = nn.ParameterList([weight.to(case.dtype) for weight in weights])
    masters = kata.MasterWeights(model.parameters())
    options = {"momentum": 0.5, "weight_decay": 0.25} if case.kind == "momentum" else {}
    make, lr = AdamW if case.kind == "adam" else SGD, 1e-4 if case.kind == "tiny" else 0.5
    return model, make(masters.masters, lr=lr, **options), masters, kata.LossScaler(case.scale, 2, 0.5, case.interval)


def play(kata, case):
    model, optimizer, masters, scaler = built(kata, case, case.weights)
    rows, larger = [], 2.0**20 if case.name == "vanishing" else 1.0  # evidence is compared to 1e-6
    for batches in case.steps:
        loss, norm, skip = kata.train_step(model, batches, slope_loss, optimizer, masters, scaler, max_norm=case.most)
        flat = larger * torch.cat([tensor.detach().flatten().float() for tensor in [*masters.masters, *model]])
        numbers = [torch.tensor([loss, norm * larger, scaler.scale]), flat]
        rows.append([numbers if flat.isfinite().all() else "spoilt", skip, type(loss).__name__, type(norm).__name__])
    left = [p.grad is not None and bool(p.grad.ne(0).any()) for p in [*model, *masters.masters]]
    return {"rows": rows, "left": left}


def costs(kata, case):
    reads, passes = [], []

    def loss_fn(model, batch):
        loss = sum((parameter.float() * batch[1][0]).sum() for parameter in model)
        loss.register_hook(lambda grad: passes.append("backward"))
        return passes.append("forward") or loss

    for count, repeats in ((1, 1), (1, 2), (6, 1)):
        model, *rest = built(kata, case, [torch.ones(9)] * count)
        with measure() as spent:
            kata.train_step(model, case.steps[0] * repeats, loss_fn, *rest, max_norm=1.0)
        reads.append(spent.calls["aten._local_scalar_dense"])
    with Alive() as alive:
        kata.train_step(model, case.steps[0], loss_fn, *rest, max_norm=1.0)
    return {"reads": [each <= reads[0] for each in reads], "passes": passes, "lean": alive.peak < 2.9 * 54}
