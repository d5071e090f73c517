"""What can be seen of a contrastive loss: its value on batches of many kinds, its gradients, its cost."""

import torch

from dojo.testing import randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

OF = "clip_loss"


def cases(rng):
    for shape in ((1, 4), (2, 2), (5, 5), (3, 8), (8, 3)):
        x, y = randn(rng, 2, *shape)
        yield Case(f"{list(shape)}", of=OF, x=3 * x, y=y, scale=torch.tensor(2.5, dtype=torch.float64))
    x, y = randn(rng, 2, 4, 6)
    same = x[:1].expand(4, -1)
    small, medium = (0.5 + torch.rand(2, generator=rng, dtype=torch.float64)).tolist()
    yield Case("number", of=OF, x=x, y=y, scale=small / 2)
    yield Case("short and long", of=OF, x=x / 30, y=30 * y, scale=2 * medium)
    yield Case("no scale", of=OF, x=x, y=y, scale=0.0)
    yield Case("texts alike", of=OF, x=x, y=same, scale=2.0)
    yield Case("images alike", of=OF, x=same, y=y, scale=2.0)
    yield Case("large scale", of=OF, x=torch.eye(4), y=torch.eye(4).roll(1, 0), scale=1e4 * small)
    yield Case("half", of=OF, x=torch.eye(4).half(), y=torch.eye(4).half(), scale=2 * medium)
    for name, a, b in (
        ("batches", x, y[:3]),
        ("widths", x, y[:, :5]),
        ("one image", x[:1], y),
        ("vectors", x[0], y[0]),
    ):
        yield Case(f"other {name}", of=OF, x=a, y=b, scale=2.0)
    yield Case("elsewhere", of=OF, x=x, y=y, scale=2.0)
    yield Case("cost", of=OF, x=x.repeat(4, 4), y=y.repeat(4, 4), scale=2.0)


def run(kata, case):
    if case.name == "cost":
        with measure() as few:
            kata.clip_loss(case.x[:2], case.y[:2], case.scale)
        with measure() as many:
            loss = kata.clip_loss(case.x, case.y, case.scale)
        return {
            "loss": loss,
            "lean": many.flops <= 1.05 * (2 * 16 * 16 * 24),
            "grows": many.operators > few.operators + 5,
        }
    if case.name == "elsewhere":
        return {"device": kata.clip_loss(case.x.to("meta"), case.y.to("meta"), case.scale).device.type}
    leaves = {"x": case.x.clone().requires_grad_(), "y": case.y.clone().requires_grad_()}
    scale = case.scale
    if isinstance(scale, torch.Tensor):
        scale = leaves["scale"] = scale.clone().requires_grad_()
    loss = kata.clip_loss(leaves["x"], leaves["y"], scale)
    seen = {"loss": loss, "x after": Pairs(leaves["x"], case.x), "y after": Pairs(leaves["y"], case.y)}
    if case.x.dtype != torch.float64 or not loss.requires_grad:
        return seen
    gradients = torch.autograd.grad(loss.sum(), list(leaves.values()), allow_unused=True)
    return seen | {f"d{k}": "none" if g is None else g for k, g in zip(leaves, gradients, strict=True)}
