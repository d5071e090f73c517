"""What can be seen of a ControlNet block: its layers as built, outputs, gradients, weights after some training.

The wrapped block is a group norm: not linear, quick, and a layer that is built anew has the same values every time.
"""

import warnings

import torch
from torch import nn

from dojo.testing import randn
from dojo.testing.probes import Case

PARTS = ("frozen", "copy", "zero_in", "zero_out")


def cases(rng):
    for sizes in ((3, 5), (4, 4)):
        yield Case(f"zero_conv{sizes}", of="zero_conv", sizes=sizes, picture=randn(rng, 2, sizes[0], 3, 4))
    for sizes in ((0, 4), (4, -1)):
        yield Case(f"zero_conv{sizes}", of="zero_conv", sizes=sizes)
    for name in ("built", "frozen before", "outputs", "gradients", "training", "gradient of x", "F is the identity"):
        for condition_channels in (3, 4):
            yield Case(
                f"{name}, control of {condition_channels}",
                of="ControlNetBlock",
                do=name,
                sizes=(4, condition_channels),
                values=randn(rng, 2, 4),
                x=randn(rng, 2, 4, 3, 2),
                condition=randn(rng, 2, condition_channels, 3, 2),
                slope=randn(rng, 2, 4, 3, 2),
            )
    for mode in (True, False):
        yield Case(f"modes after train({mode})", of="ControlNetBlock", do="modes", mode=mode, x=randn(rng, 2, 4, 3, 2))
    for sizes in ((0, 3), (4, 0)):
        yield Case(f"ControlNetBlock{sizes}", of="ControlNetBlock", do="nothing", sizes=sizes, values=None)
    yield Case("mixed dtypes", of="ControlNetBlock", do="mixed", sizes=(4, 3))
    yield Case("no parameters", of="ControlNetBlock", do="nothing", sizes=(4, 3), values=None)


def run(kata, case):
    with warnings.catch_warnings(action="ignore"):  # torch has a word about convolutions with no channels
        return look(kata, case)


def look(kata, case):
    if case.of == "zero_conv":
        conv, other = kata.zero_conv(*case.sizes), kata.zero_conv(*case.sizes)
        seen = {"layer": layer(conv)}
        fill(conv, 1.0)
        return seen | {"filled": conv.double()(case.picture), "another": layer(other)}
    if case.do == "modes":
        return modes(kata.ControlNetBlock(nn.Identity(), 4, 4).double(), case)
    if case.do == "mixed":
        block = nn.Sequential(nn.Conv2d(4, 4, 1, dtype=torch.bfloat16), nn.GroupNorm(2, 4))
        net = kata.ControlNetBlock(block, *case.sizes)
        return {part: str(getattr(net, part).weight.dtype) for part in ("zero_in", "zero_out")}
    if case.do == "F is the identity":
        net, x = kata.ControlNetBlock(nn.Identity(), *case.sizes).double(), case.x.clone()
        fill(net.zero_out, 1.0)
        return {"y": net(x, case.condition), "x after": x}
    block = nn.SiLU()
    if case.values is not None:
        block = nn.GroupNorm(2, 4, dtype=torch.float64)
        block.load_state_dict({"weight": case.values[0], "bias": case.values[1]})
    block.requires_grad_(case.do != "frozen before")
    net = kata.ControlNetBlock(block, *case.sizes)
    if case.do in ("built", "frozen before", "nothing"):
        return built(net, block)
    x, condition = case.x.clone(), case.condition.clone().requires_grad_()
    if case.do == "outputs":
        return outputs(net, x, condition)
    if case.do == "gradient of x":
        return gradient_of_x(net, x.requires_grad_(), condition, case.slope)
    return steps(net, x, condition, case.slope, awake=case.do == "gradients")


def modes(net, case):
    """Of the copy; whether the frozen half may be kept in eval mode is free."""
    returned, seen = net.train(case.mode), []
    net.copy.register_forward_pre_hook(lambda copy, _: seen.append(copy.training))
    net(case.x, case.x)
    return {"copy": seen, "returns itself": returned is net}


def gradient_of_x(net, x, condition, slope):
    """The copy's share: what the frozen half adds, or keeps, is the same for both controls and cancels."""
    fill(net.zero_in, 1.0)
    fill(net.zero_out, 0.5)
    ((net(x, condition) - net(x, -condition)) * slope).sum().backward()
    return {"gradient of x": gradient(x)}


def layer(conv):
    """Values and requires_grad of each parameter."""
    return {name: [p.detach().clone(), p.requires_grad] for name, p in conv.named_parameters()}


def fill(conv, size):
    """Set values instead of drawn ones, so that evidence does not hang on the order of random draws."""
    with torch.no_grad():
        for number, p in enumerate(conv.parameters()):
            p.copy_(size * torch.linspace(-1 + number, 1.5, p.numel()).reshape(p.shape))


def built(net, block):
    seen = {part: layer(getattr(net, part)) for part in PARTS}
    children = dict(net.named_children())
    seen["registered"] = [part for part in PARTS if part in children]
    seen["state"] = sorted({name.split(".")[0] for name in net.state_dict()})
    with torch.no_grad():  # who else changes when the block does?
        for p in block.parameters():
            p.fill_(7.0)
    seen["then"] = {part: [p.detach().clone() for p in getattr(net, part).parameters()] for part in PARTS}
    seen["one layer"] = net.zero_in is net.zero_out
    return seen


def outputs(net, x, condition):
    seen = {}
    with torch.no_grad():
        for p in net.copy.parameters():
            p.mul_(0.5)
    for size_in, size_out in ((0.0, 0.0), (1.0, 0.5), (1.0, 0.0), (0.0, 0.5)):
        fill(net.zero_in, size_in)
        fill(net.zero_out, size_out)
        seen[f"sizes {size_in} and {size_out}"] = net(x, condition)
    return seen | {"x after": x, "condition after": condition}


def steps(net, x, condition, slope, awake):
    """Gradients and weights of three SGD steps, from zero or from filled zero convolutions."""
    fill(net.zero_in, 1.0 * awake)
    fill(net.zero_out, 0.5 * awake)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    seen = {}
    for step in range(3):
        net.zero_grad()
        condition.grad = None
        (net(x.clone(), condition) * slope).sum().backward()
        for part in PARTS:
            seen[f"{part}'s gradients, step {step}"] = [gradient(p) for p in getattr(net, part).parameters()]
        seen[f"condition's gradient, step {step}"] = gradient(condition)
        optimizer.step()
    return seen | {part: list(getattr(net, part).parameters()) for part in PARTS}


def gradient(tensor):
    """None and a gradient of zero mean the same."""
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad.clone()
