"""What can be seen of SwiGLU and of the block: answers, what attention is given, gradients, sizes, cost."""

import torch
from torch import nn

from dojo.testing import randint, randn
from dojo.testing.alive import Alive
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

SIZE, GATED_INIT, GATED, INIT, BLOCK = "swiglu_hidden", "SwiGLU", "SwiGLU.forward", "Block", "Block.forward"
HALF = torch.float16


class Attention(nn.Module):
    """Answers with a constant, or with a linear mixture of what it is given, and keeps the latter."""

    def __init__(self, dim, kind):
        super().__init__()
        self.kind, self.given, self.answers, self.kwargs = kind, [], [], []
        self.linear = nn.Linear(dim, dim, bias=False)

    def forward(self, x, **kwargs):
        self.given.append(x)
        self.kwargs.append(kwargs)
        answer = {"zero": 0 * x, "constant": 3 + torch.arange(x.numel()).reshape(x.shape).to(x) % 5}.get(self.kind)
        answer = self.linear(x.cumsum(-2) if self.kind == "mixing" else x) if answer is None else answer
        self.answers.append((answer, answer.detach().clone()))
        return answer


def gated(name, rng, *batch, dim=4, hidden=6, dtype=torch.float64, **given):
    shapes = {"gate.weight": (hidden, dim), "up.weight": (hidden, dim), "down.weight": (dim, hidden)}
    weights = {key: randn(rng, *shape).to(dtype) for key, shape in shapes.items()}
    return Case(name, of=GATED, **{"x": randn(rng, *batch, dim).to(dtype), "weights": weights} | given)


def block(name, rng, *batch, kind="linear", dim=4, hidden=6, dtype=torch.float64, size=1.0, eps=0.3, **given):
    shapes = {"norm1.weight": (dim,), "norm2.weight": (dim,), "attention.linear.weight": (dim, dim)}
    shapes |= {"mlp.gate.weight": (hidden, dim), "mlp.up.weight": (hidden, dim), "mlp.down.weight": (dim, hidden)}
    weights = {key: randn(rng, *shape).to(dtype) for key, shape in shapes.items()}
    x = (size * randn(rng, *batch, dim)).to(dtype)
    return Case(name, of=BLOCK, **{"x": x, "weights": weights, "kind": kind, "eps": eps, "kwargs": {}} | given)


def positive(case):
    """Without minus signs nothing cancels, so that roundings stay small beside the answer."""
    case.x, case.weights = case.x.abs(), {name: values.abs() for name, values in case.weights.items()}
    return case


def cases(rng):
    odd = [3 * k + 2 for k in randint(rng, 1, 1500, 8).tolist()]  # int(8/3 of those) is odd, and has lost a third
    several = {
        "known": [[4096, 256], [4096, 1024, 1.3], [8192, 4096, 1.3], [7, 1], [8, 1], [6, 16]],
        "without a multiplier": randint(rng, 1, 5000, 12, 2).tolist(),
        "with one": [[dim, 1, multiplier] for dim, multiplier in zip(odd, [3, 1.0, 0.5, 1.3] * 2, strict=True)],
        "with one, and a multiple": [[dim, 64, 2.5] for dim in odd],
        "by default": [[dim] for dim in odd],
    }
    for wrong in ([0, 8], [-3, 8], [64, 0], [64, -8], [64, 8, 0], [64, 8, -1.0], [64, 8, float("nan")]):
        several[f"wrong {wrong}"] = [wrong]
    yield from (Case(f"sizes: {name}", of=SIZE, sizes=sizes) for name, sizes in several.items())
    for of, wrong in ((GATED_INIT, [(0, 6), (-1, 6), (4, 0)]), (INIT, [(0, 6), (4, 0)])):
        for size in ((4, 6), *wrong):
            yield Case(f"{of} of {size}", of=of, size=list(size))
        yield Case(f"{of} of any size", of=of, size=randint(rng, 1, 9, 2).tolist())
    yield from (gated(name, rng, *rows) for name, rows in {"rows": [3], "one row": [], "texts": [2, 3]}.items())
    yield gated("square", rng, 4, dim=4, hidden=4)
    yield positive(gated("SwiGLU in half", rng, 3, dtype=HALF))
    loud = positive(gated("gates of 1e4", rng, 3, dtype=torch.float32))
    loud.x[:, 0] = 1.0
    loud.weights["gate.weight"][:, 0] = 1e4 * torch.tensor([1.0, -1, 1, -1, 1, -1])
    yield loud
    yield gated("cost of SwiGLU", rng, 64, dim=8, hidden=24)
    for kind in ("linear", "zero", "constant", "mixing"):
        yield block(f"attention: {kind}", rng, 2, 3, kind=kind)
    yield from (block(f"texts of {batch}", rng, *batch, kind="mixing") for batch in ([3], [2, 2, 3]))
    yield block("kwargs", rng, 2, 3, kwargs={"mask": 1, "positions": [2, 3], "cache": None})
    yield block("the default eps", rng, 2, 3, size=1e-3, eps=None)
    yield positive(block("half", rng, 2, 3, dtype=HALF))
    for size in (4096.0, 2.0**-13, 0.0):
        wide = block(f"half, a stream of {size:g}", rng, 2, 1, kind="zero", dtype=HALF, eps=1e-30)
        wide.x[:] = size * torch.tensor([1.0, -1, 1, 1])
        for name, values in wide.weights.items():  # ones in the norms, and one row of each matrix
            values[:] = float("norm" in name)
            values[:1] += 16.0 * (values.dim() > 1)
        yield wide
    yield block("bfloat16", rng, 32, kind="zero", dim=512, hidden=1, dtype=torch.bfloat16)
    silent = block("silent", rng, 2, 3, kind="zero", size=100.0, dtype=torch.float32)
    silent.weights["mlp.down.weight"] *= 0
    yield silent
    yield block("training", rng, 2, 40, kind="mixing")
    yield block("cost of the block", rng, 4, 16, dim=8, hidden=24, kind="zero")


def run(kata, case):
    if case.of == SIZE:
        given = [(dim, dict(zip(("multiple_of", "multiplier"), more, strict=False))) for dim, *more in case.sizes]
        return {"hidden": [kata.swiglu_hidden(dim, **more) for dim, more in given]}
    if case.of in (GATED_INIT, INIT):
        made = kata.SwiGLU(*case.size) if case.of == GATED_INIT else kata.Block(*case.size, Attention(case.size[0], ""))
        shapes = sorted([name, list(p.shape)] for name, p in made.named_parameters())
        norms = [p for name, p in sorted(made.named_parameters()) if "norm" in name]
        large = [p.abs().max() * p.shape[1] ** 0.5 for p in made.parameters() if p.dim() == 2 and case.size == [4, 6]]
        seen = {"parameters": shapes, "state": sorted(made.state_dict()), "norms": norms}
        return seen | {"as nn.Linear": all(0.4 < number < 1.0001 for number in large)}
    dtype, dim, hidden = case.x.dtype, case.x.shape[-1], len(next(w for n, w in case.weights.items() if "gate" in n))
    attention = Attention(dim, getattr(case, "kind", ""))
    eps = {} if getattr(case, "eps", None) is None else {"eps": case.eps}
    module = kata.SwiGLU(dim, hidden) if case.of == GATED else kata.Block(dim, hidden, attention, **eps)
    module = module.to(dtype).train(case.name == "training")
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(case.weights[name]) if name in case.weights else parameter.fill_(0.5)
    if case.name.startswith("cost"):
        return cost(module, attention, case)
    x = case.x.clone().requires_grad_()
    free, kwargs = x * 1, getattr(case, "kwargs", {})  # no leaf, so that changing it is no error
    y = module(free, **kwargs)
    seen = {"y": y, "x after": Pairs(free, x)}
    if dtype == torch.bfloat16:  # the factor by which norm1 changes each row
        plain, x = case.x.double() * module.norm1.weight.double(), case.x.double()
        factor = (attention.given[0].double() / plain).median(-1).values
        return {"rounded": ((factor * (x.square().mean(-1) + case.eps).sqrt() - 1).square().mean() > 5e-4**2).item()}
    if case.of == BLOCK:
        seen |= {"given": attention.given, "kwargs": [sorted(given) for given in attention.kwargs]}
        seen["answers after"] = [Pairs(answer, before) for answer, before in attention.answers]
        seen |= {"the stream": Pairs(y, x)} if case.name == "silent" else {}
    if dtype == HALF:
        return seen
    leaves = {"x": x, **dict(sorted(module.named_parameters()))}
    each = torch.autograd.grad(y.square().sum(), list(leaves.values()), allow_unused=True)
    return seen | {f"d{n}": torch.zeros(()) if g is None else g for n, g in zip(leaves, each, strict=True)}


def cost(module, attention, case):
    x, more, rows, hidden = case.x.clone().requires_grad_(), torch.cat([case.x] * 8), case.x[..., 0].numel(), 24
    with measure() as spent:
        y = module(x)
    with measure() as many:
        module(more)
    lean = 0.99 <= spent.flops / (6 * x.numel() * hidden) <= (1.01 if case.of == GATED else 1.08)
    seen = {"y": y, "lean": lean, "large": spent.largest > 2 * rows * hidden, "calls": len(attention.given)}
    seen["grows"] = many.operators > spent.operators
    if case.of == GATED:
        with Alive() as alive:
            y = module(x)
            seen["keeps much"] = alive.elements() > 5.5 * rows * hidden + 2 * x.shape[-1] * hidden
    return seen
