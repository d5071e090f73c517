"""What can be seen of a ControlNet over a U-Net: its layers as built, residuals, gradients, what learns when.

The hint encoder is free, so a fixed one takes its place where numbers are compared. MultiControlNet and controlled_eps
are shown nets of this file, so what they do does not hang on ControlNet.
"""

import torch
from torch import nn
from torch.nn import functional as F

from dojo.testing import randint, randn
from dojo.testing.probes import Case

COPIES = ("time", "conv_in", "down", "mid")
LOADED = "built from a frozen float32 U-Net in eval mode"


def cases(rng):
    for do in ("built", LOADED, "residuals", "gradients", "training", "hint"):
        yield Case(do, of="ControlNet", do=do.split(" from ")[0], plain=do != LOADED, **inputs(rng))
    for size in ((16, 4), (4, 16)):
        changed = inputs(rng) | {"condition": randn(rng, 2, 3, *size)}
        yield Case(f"condition of {size}", of="ControlNet", do="error", **changed)
    for count in (0, -1):
        yield Case(f"{count} channels", of="ControlNet", do="no channels", count=count, seed=1)
    counts = [(1, 1, 1), (1, 1, 1.0), (2, 2, 1.0), (2, 2, [0.5, 2.0]), (0, 0, 1.0)]  # nets, conditions, scale
    counts += [(2, 2, [1.0]), (2, 1, 1.0), (2, 3, 1.0), (2, 3, [1.0] * 3)]
    for nets, given, scale in counts:
        pictures = {"condition": [randn(rng, 2, 3, 16, 16) for _ in range(given)]}
        name = f"{nets} nets, {given} conditions, scale {scale}"
        yield Case(name, of="MultiControlNet", nets=nets, scale=scale, **inputs(rng) | pictures)
    for scale, training in ((None, False), (0.5, True), (-2.0, False)):
        yield Case(f"scale {scale}, {training=}", of="controlled_eps", scale=scale, training=training, **inputs(rng))


def inputs(rng):
    slope = randn(rng, 2, 4, 4, 4)
    t = torch.tensor([3, 700])
    pictures = {"x": randn(rng, 2, 2, 4, 4), "condition": randn(rng, 2, 3, 16, 16)}
    return {"t": t, "slope": slope, "seed": int(randint(rng, 0, 2**60, 1)), **pictures}


def filled(module, seed, size=0.5):
    """The module with values that do not hang on the order of random draws."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(size * torch.randn(p.shape, generator=rng, dtype=torch.float64))
    return module


class Hint(nn.Module):
    """Patch means, mixed, and a bias (so that a scaled condition is not a scaled hint)."""

    def __init__(self, channels):
        super().__init__()
        self.mix = nn.Conv2d(3, channels, 1, dtype=torch.float64)

    def forward(self, condition):
        return self.mix(F.avg_pool2d(condition, 4))


class Fixed(nn.Module):
    """A ControlNet to call: residuals for a TinyUNet of (2, 4), which hang on everything it is given."""

    def __init__(self):
        super().__init__()
        self.gains = nn.Parameter(torch.ones(4, dtype=torch.float64))
        self.calls = 0

    def forward(self, x, t, condition, scale=1.0):
        self.calls += 1
        h = x + F.avg_pool2d(condition, 4)[:, :2] + torch.sin(t.double())[:, None, None, None]
        deep = h.repeat(1, 2, 1, 1)[:, :, ::2, ::2]
        down = [scale * gain * r for gain, r in zip(self.gains, (h, h.square(), deep), strict=False)]
        return down, scale * self.gains[3] * deep.square()


def run(kata, case):
    if case.of == "controlled_eps":
        return predict(kata, case)
    if case.of == "MultiControlNet":
        return several(kata, case)
    unet = filled(kata.TinyUNet(2, (2, 4), 4).double(), case.seed)
    if case.do == "no channels":
        return {"built": type(kata.ControlNet(unet, case.count)).__name__}
    if case.do == "built":
        return build(kata, case, unet)
    net = kata.ControlNet(unet, 3)
    if case.do == "hint":
        return hint_learns(net, case)
    net.hint = filled(Hint(2), case.seed + 1, 1.0)
    if case.do == "training":
        return steps(net, case)
    filled(net.zero_convs, case.seed + 2)
    filled(net.zero_mid, case.seed + 3)
    if case.do == "error":
        return {"residuals": net(case.x, case.t, case.condition)}
    if case.do == "gradients":
        return steps(net, case)
    for part in COPIES:
        with torch.no_grad():
            for p in getattr(net, part).parameters():
                p.mul_(0.9)
    seen = {f"scale {scale}": net(case.x, case.t, case.condition, scale) for scale in (0.5, 0.0, -3.0)}
    net.eval()
    seen |= {"no scale": net(case.x, case.t, case.condition), "x": case.x, "condition": case.condition}
    return seen | {"modes": [any(layer.training for layer in getattr(net, part).modules()) for part in COPIES]}


def build(kata, case, unet):
    """Layers as they come; who follows when the U-Net changes; what became of the U-Net itself."""
    unet.train(case.plain).requires_grad_(case.plain).to(torch.float64 if case.plain else torch.float32)
    net = kata.ControlNet(unet, 3)
    seen = {"parts": sorted({name.split(".")[0] for name in net.state_dict()}), "mode": unet.training}
    seen["U-Net"] = values(unet)
    seen |= {part: values(getattr(net, part)) for part in ("zero_convs", "zero_mid", *COPIES)}
    seen["zeros"] = [len(net.zero_convs), len({id(p) for p in net.zero_convs.parameters()})]
    seen["hint"] = sorted({f"{p.dtype} {p.requires_grad}" for p in net.hint.parameters()})
    with torch.no_grad():
        for p in unet.parameters():
            p.fill_(7.0)
    seen["then"] = {part: values(getattr(net, part)) for part in COPIES}
    if not case.plain:
        return seen
    with torch.no_grad():
        return seen | {"untrained hint": net.hint(case.condition)}


def values(module):
    return [[p.detach().clone(), p.requires_grad] for p in module.parameters()]


def loss(net, case):
    down, mid = net(case.x, case.t, case.condition)
    total = sum((r * case.slope[:, : r.shape[1], : r.shape[2], : r.shape[3]]).sum() for r in down)
    return total + (mid * case.slope[:, : mid.shape[1], : mid.shape[2], : mid.shape[3]]).sum()


def steps(net, case):
    """Gradients of two SGD steps, part by part; None and zero mean the same."""
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    seen = {}
    for step in range(2):
        net.zero_grad()
        loss(net, case).backward()
        for part in (*COPIES, "hint", "zero_convs", "zero_mid"):
            grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in getattr(net, part).parameters()]
            seen[f"{part}, step {step}"] = torch.cat([g.flatten() for g in grads]).clone()
        optimizer.step()
    return seen


def hint_learns(net, case):
    """Whether any and every parameter of the untouched hint encoder has a gradient, at the first three steps."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    learns = []
    for _ in range(3):
        net.zero_grad()
        loss(net, case).backward()
        learns.append([p.grad is not None and bool(p.grad.any()) for p in net.hint.parameters()])
        optimizer.step()
    return {"any": [any(step) for step in learns], "all at last": all(learns[-1])}


def several(kata, case):
    nets = [Fixed() for _ in range(case.nets)]
    for number, net in enumerate(nets):
        filled(net, case.seed + number)
    multi = kata.MultiControlNet(nets)
    if not nets:
        return {"built": len(multi.nets)}
    seen = {"residuals": multi(case.x, case.t, case.condition, case.scale)}
    if case.scale == 1.0 and isinstance(case.scale, float):
        seen["no scale"] = multi(case.x, case.t, case.condition)
    seen["registered"] = [len(multi.nets), len(list(multi.parameters())), [net.calls for net in nets]]
    return seen


def predict(kata, case):
    unet = filled(kata.TinyUNet(2, (2, 4), 4).double(), case.seed).requires_grad_(False).train(case.training)
    net = filled(Fixed(), case.seed + 1, 1.0).train(case.training)
    scale = {} if case.scale is None else {"scale": case.scale}
    eps = kata.controlled_eps(unet, net, case.x, case.t, case.condition, **scale)
    seen = {"eps": eps, "modes": [unet.training, net.training], "learns": eps.requires_grad, "calls": net.calls}
    if eps.requires_grad:
        (eps * case.slope[:, :2]).sum().backward()
        seen["gradient"] = net.gains.grad
    return seen
