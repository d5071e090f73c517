"""What can be seen of classifier-free guidance: the formulas, what the model is shown, which rows are dropped."""

import torch

from dojo.cost import measure
from dojo.probes import Case, Draws
from dojo.testing import randint, randn

HALF = torch.bfloat16


def cases(rng):
    for scale in (0.0, 0.5, 1.0, 3.0, -2.0):
        x, y = randn(rng, 2, 3, 4)
        yield Case(f"guide {scale}", of="guide", x=x, y=y, scale=scale)
    yield Case("guide half", of="guide", x=torch.ones(3).to(HALF), y=torch.zeros(3).to(HALF), scale=2.0)
    for name, shape, cond, null, scale in (
        ("labels", (3,), randint(rng, 0, 9, 3), torch.tensor(9), 3.0),
        ("square", (3, 3), randn(rng, 3, 2), randn(rng, 2), 3.0),
        ("tokens", (3, 2, 2, 2), randn(rng, 3, 5, 2), randn(rng, 1, 5, 2), -1.0),
        ("scale 0", (3, 4), randn(rng, 3, 2), randn(rng, 3, 2), 0.0),
        ("scale 1", (3, 4), randn(rng, 3, 2), randn(rng, 3, 2), 1.0),
    ):
        given = {"x": randn(rng, *shape), "cond": cond, "null": null, "scale": scale, "t": torch.tensor([4, 0, 7])}
        yield Case(f"guided_eps {name}", of="guided_eps", **given)
    for p in (0.0, 0.3, 1.0, -0.1, 1.1, float("nan")):
        yield Case(
            f"drop_condition {p=}", of="drop_condition", cond=1 + randn(rng, 6, 2, 3), null=randn(rng, 2, 3), p=p
        )
    labels = randint(rng, 0, 9, 20)
    yield Case("drop_condition labels", of="drop_condition", cond=labels, null=torch.tensor(9), p=0.5)
    yield Case("drop_condition generator", of="drop_condition", cond=labels, null=torch.tensor(9), p=0.5, seeded=True)
    for phi in (0.0, 0.25, 1.0, -0.1, 1.1, float("nan")):
        x, y = 3 * randn(rng, 2, 3, 3, 2, 5) + 1
        yield Case(
            f"rescale {phi=}", of="rescale_guidance", x=x, y=y * torch.tensor([1.0, 9, 0.1])[:, None, None], phi=phi
        )
    x, y = randn(rng, 2, 3, 3)
    yield Case("rescale float32", of="rescale_guidance", x=x.float(), y=y.float(), phi=0.7)


def run(kata, case):
    return globals()[f"see_{case.of}"](kata, case)


def see_guide(kata, case):
    x, y = case.x.clone(), case.y.clone()
    return {"out": kata.guide(x, y, case.scale), "after": [x, y]}


def see_guided_eps(kata, case):
    given = {key: getattr(case, key).clone() for key in ("x", "cond", "null")}
    leaves = [leaf.requires_grad_() for leaf in given.values() if leaf.is_floating_point()]
    calls = []

    def model(x, t, cond):
        calls.append([len(x), len(t), len(cond)])
        gain = 0.7 + cond.double().reshape(len(cond), -1).cos().sum(1)
        trailing = [1] * (x.dim() - 1)
        return gain.reshape(-1, *trailing) * torch.sin((t.reshape(-1, *trailing) + 1) * x)

    out = kata.guided_eps(model, given["x"], case.t, given["cond"], given["null"], case.scale)
    gradients = [g if g is not None else torch.zeros(()) for g in grads(out, leaves)] if out.requires_grad else "none"
    special = case.scale in (0.0, 1.0)  # half of the rows may be left out, and with them gradients of zero
    return {"out": out, "calls": len(calls) if special else calls, "gradients": [] if special else gradients}


def grads(out, leaves):
    return torch.autograd.grad(out.sum(), leaves, allow_unused=True)


def see_drop_condition(kata, case):
    cond, null = case.cond.clone(), case.null.clone()
    if hasattr(case, "seeded"):

        def dropped(seed):
            return kata.drop_condition(cond, null, case.p, generator=torch.Generator().manual_seed(seed))

        before = torch.random.get_rng_state()
        first, again, other = dropped(1), dropped(1), dropped(2)
        untouched = torch.equal(before, torch.random.get_rng_state())
        return {"repeats": torch.equal(first, again), "differs": not torch.equal(first, other), "untouched": untouched}
    if cond.is_floating_point():
        cond.requires_grad_()
        null.requires_grad_()
    out = torch.stack([kata.drop_condition(cond, null, case.p) for _ in range(60)])
    same = (out == null).reshape(60, len(cond), -1)
    gone, kept = same.all(-1), (out == cond).reshape(60, len(cond), -1).all(-1)
    seen = {
        "first row": Draws(gone[:, 0].long(), 2),
        "rows alike": bool((gone == gone[:, :1]).all()),
        "number is fixed": bool((gone.sum(1) == gone.sum(1)[0]).all()),
        "calls alike": bool((gone == gone[:1]).all()),
        "whole": bool((gone | kept).all()),
        "partly": bool(same.any() and not gone.any()),
        "zeros": bool((out == 0).any()),
        "dtype": str(out.dtype),
        "after": [cond, null],
    }
    if cond.is_floating_point():
        gradients = grads(out, [cond, null]) if out.requires_grad else (None, None)
        want = 60.0 - gone.sum(0).double(), gone.sum().double()
        pairs = zip(gradients, want, strict=True)
        matched = [g is not None and torch.allclose(g[..., 0, 0], w) for g, w in pairs]
        seen["gradients"] = matched
    with measure() as few:
        kata.drop_condition(case.cond[:2], case.null, case.p)
    with measure() as many:
        kata.drop_condition(case.cond[:2].repeat_interleave(10, 0), case.null, case.p)
    return seen | {"grows": many.operators > few.operators + 5}


def see_rescale_guidance(kata, case):
    x, y = case.x.clone().requires_grad_(), case.y.clone()
    out = kata.rescale_guidance(x, y, case.phi)
    with measure() as few:
        kata.rescale_guidance(case.x[:2], case.y[:2], case.phi)
    with measure() as many:
        kata.rescale_guidance(case.x.repeat_interleave(7, 0), case.y.repeat_interleave(7, 0), case.phi)
    return {
        "out": out,
        "gradient": grads((out**2), [x]) if out.requires_grad else "none",
        "after": [x, y],
        "grows": many.operators > few.operators + 5,
    }
