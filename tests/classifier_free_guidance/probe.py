"""What can be seen of classifier-free guidance: the formulas, what the model is shown, which rows are dropped."""

import torch

from dojo.testing import randint, randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Draws, Pairs

HALF = torch.bfloat16
CALLS = 200
NAN = float("nan")


def cases(rng):
    for scale in (0.0, 0.5, 1.0, 3.0, -2.0):
        x, y = randn(rng, 2, 3, 4)
        yield Case(f"guide {scale}", of="guide", x=x, y=y, scales=[scale, uniform(rng, 4.0, 6.0)])
    x = torch.tensor([uniform(rng, 0.5, 1.5) for _ in range(3)])
    yield Case("guide half", of="guide", x=x.to(HALF), y=torch.zeros(3).to(HALF), scales=[2.0])
    for name, shape, cond, null, scale in (
        ("labels", (3,), randint(rng, 0, 9, 3), torch.tensor(9), 3.0),
        ("square", (3, 3), randn(rng, 3, 2), randn(rng, 2), 3.0),
        ("tokens", (3, 2, 2, 2), randn(rng, 3, 5, 2), randn(rng, 1, 5, 2), -1.0),
        ("scale 0", (3, 4), randn(rng, 3, 2), randn(rng, 3, 2), 0.0),
        ("scale 1", (3, 4), randn(rng, 3, 2), randn(rng, 3, 2), 1.0),
    ):
        given = {
            "x": randn(rng, *shape),
            "cond": cond,
            "null": null,
            "scale": scale,
            "t": torch.tensor([4, 0, 7]) + randint(rng, 0, 3, 3),
        }
        yield Case(f"guided_eps {name}", of="guided_eps", **given)
    for name, p in {"0": 0.0, "some": uniform(rng, 0.26, 0.4), "1": 1.0, "-0.1": -0.1, "1.1": 1.1, "nan": NAN}.items():
        given = {"cond": 1 + randn(rng, 6, 2, 3), "null": randn(rng, 2, 3), "p": p}
        yield Case(f"drop_condition p={name}", of="drop_condition", **given)
    labels = {"cond": randint(rng, 0, 9, 20), "null": torch.tensor(9), "p": uniform(rng, 0.35, 0.65)}
    yield Case("drop_condition labels", of="drop_condition", **labels)
    yield Case("drop_condition generator", of="drop_condition", seeded=True, **labels)
    for phi in (0.0, 0.25, 1.0, -0.1, 1.1, NAN):
        x, y = 3 * randn(rng, 2, 3, 3, 2, 5) + 1
        given = {"x": x, "y": y * torch.tensor([1.0, 9, 0.1])[:, None, None], "phis": [phi, uniform(rng, 0.3, 0.9)]}
        yield Case(f"rescale {phi=}", of="rescale_guidance", **given)
    x, y = randn(rng, 2, 3, 3)
    yield Case("rescale float32", of="rescale_guidance", x=x.float(), y=y.float(), phis=[0.7])


def uniform(rng, low, high):
    return low + (high - low) * torch.rand((), generator=rng, dtype=torch.float64).item()


def run(kata, case):
    return globals()[f"see_{case.of}"](kata, case)


def see_guide(kata, case):
    x, y = case.x.clone(), case.y.clone()
    return {"out": [kata.guide(x, y, scale) for scale in case.scales], "after": [x, y]}


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
        untouched = Pairs(before, torch.random.get_rng_state())
        return {"repeats": Pairs(first, again), "differs": Pairs(first, other), "untouched": untouched}
    if cond.is_floating_point():
        cond.requires_grad_()
        null.requires_grad_()
    out = torch.stack([kata.drop_condition(cond, null, case.p) for _ in range(CALLS)])
    # What became of each element: 1 kept, 2 replaced, 3 zero, 0 something else; of each row, where all elements agree.
    became = torch.where(out == null, 2, torch.where(out == cond, 1, 3 * (out == 0).long())).reshape(*out.shape[:2], -1)
    gone = (became == 2).all(-1)
    row = torch.where((became == became[..., :1]).all(-1), became[..., 0], 0)
    seen = {
        "an element": Draws(became[..., 0].flatten(), 4),
        "a row": Draws(row.flatten(), 4),
        "two rows": Draws((2 * gone[:, 0] + gone[:, 1]).long(), 4),
        "two calls": Draws((2 * gone[::2, 0] + gone[1::2, 0]).long(), 4),
        "how many": Draws(gone[:, :6].sum(1), 7),
        "dtype": str(out.dtype),
        "after": [cond, null],
    }
    if case.p in (0.0, 1.0):  # nothing is left to chance, also at the other end
        seen["out"] = [out[0], kata.drop_condition(cond, null, 1 - case.p)]
    if cond.is_floating_point():
        gradients = grads(out, [cond, null]) if out.requires_grad else (None, None)
        gradients = [torch.zeros_like(x) if g is None else g for g, x in zip(gradients, (cond, null), strict=True)]
        want = (CALLS - gone.sum(0).double(), gone.sum().double())
        seen["gradients"] = [Pairs(g[..., 0, 0], w) for g, w in zip(gradients, want, strict=True)]
    with measure() as few:
        kata.drop_condition(case.cond[:2], case.null, case.p)
    with measure() as many:
        kata.drop_condition(case.cond[:2].repeat_interleave(10, 0), case.null, case.p)
    return seen | {"grows": many.operators > few.operators + 5}


def see_rescale_guidance(kata, case):
    x, y = case.x.clone().requires_grad_(), case.y.clone()
    outs = [kata.rescale_guidance(x, y, phi) for phi in case.phis]
    with measure() as few:
        kata.rescale_guidance(case.x[:2], case.y[:2], case.phis[0])
    with measure() as many:
        kata.rescale_guidance(case.x.repeat_interleave(7, 0), case.y.repeat_interleave(7, 0), case.phis[0])
    return {
        "out": outs,
        "gradient": [grads((out**2), [x]) if out.requires_grad else "none" for out in outs],
        "after": [x, y],
        "grows": many.operators > few.operators + 5,
    }
