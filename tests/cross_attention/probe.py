"""What can be seen of a cross-attention layer: its parameters, its answers under masks, its gradients."""

import torch

from dojo.testing import randint, randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

INIT, FORWARD = "CrossAttention", "CrossAttention.forward"


def case(name, rng, sizes=(2, 4, 6), dims=(5, 7), heads=2, head_dim=3, mask=None, dtype=torch.float64, loud=1.0):
    batch, queries, keys = sizes
    weights = {
        "to_q.weight": randn(rng, heads * head_dim, dims[0]),
        "to_k.weight": randn(rng, heads * head_dim, dims[1]),
        "to_v.weight": randn(rng, heads * head_dim, dims[1]),
        "to_out.weight": randn(rng, dims[0], heads * head_dim),
        "to_out.bias": randn(rng, dims[0]),
    }
    x, context = (randn(rng, *shape).to(dtype) for shape in ((batch, queries, dims[0]), (batch, keys, dims[1])))
    if mask in ("padding", "full"):
        shape = (batch, keys) if mask == "padding" else (batch, queries, keys)
        mask = torch.rand(*shape, generator=rng).argsort(-1) < max(1, keys // 2)
    given = {"dims": dims, "heads": heads, "head_dim": head_dim, "weights": weights, "x": x, "context": context * loud}
    return Case(name, of=FORWARD, mask=mask, dtype=dtype, **given)


def cases(rng):
    for args in ((5, 7, 2, 3), (6, 6, 3, 2), (5, 7, 0, 3), (5, 7, 2, 0)):
        yield Case(f"parameters of {args}", of=INIT, layers=[list(args)])
    yield Case("parameters of any", of=INIT, layers=randint(rng, 1, 40, 4, 4).tolist())
    yield case("plain", rng)
    yield case("one head", rng, heads=1)
    yield case("all alike", rng, (4, 4, 4), (6, 6), 3, 2)
    yield case("padding mask", rng, mask="padding")
    yield case("padding mask, all alike", rng, (4, 4, 4), mask="padding")
    yield case("full mask", rng, mask="full")
    yield case("loud", rng, mask="padding", loud=1e5)
    for kind in ("padding", "full"):
        empty = case(f"nothing to attend: {kind}", rng, mask=kind)
        empty.mask[1 if kind == "padding" else (1, 2)] = False
        yield empty
    half = case("half", rng, mask="full", dtype=torch.float16, loud=0.25)
    half.x /= 4
    half.weights["to_out.bias"] += 8  # away from 0, where roundings of half precision would be compared with nothing
    yield half
    alone = case("self-attention", rng, (2, 4, 4), (5, 5))
    alone.context = None
    yield alone
    missing = case("context missing", rng)
    missing.context = None
    yield missing
    for name, mask in (
        ("float", torch.ones(2, 6)),
        ("keys", torch.ones(6).bool()),
        ("queries", torch.ones(2, 4).bool()),
        ("heads", torch.ones(2, 2, 4, 6).bool()),
    ):
        yield case(f"mask of another kind: {name}", rng, mask=mask)
    yield case("cost", rng, (2, 16, 16), (8, 8), 4, 4)


def run(kata, case):
    if case.of == INIT:
        layers = [kata.CrossAttention(*args).named_parameters() for args in case.layers]
        return {"parameters": [sorted([name, list(p.shape), p.requires_grad] for name, p in layer) for layer in layers]}
    layer = kata.CrossAttention(*case.dims, case.heads, case.head_dim).to(case.dtype)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.copy_(case.weights[name]) if name in case.weights else parameter.fill_(0.5)
    if case.name == "cost":
        return cost(layer, case)
    x, context = case.x.clone(), case.context if case.context is None else case.context.clone()
    leaves = {"x": x, "context": context, **dict(sorted(layer.named_parameters()))}
    leaves = {name: leaf.requires_grad_() for name, leaf in leaves.items() if leaf is not None}
    y = layer(x, context, case.mask)
    seen = {"y": y, "x after": Pairs(x, case.x)}
    if context is not None:
        seen["context after"] = Pairs(context, case.context)
    if case.name in ("half", "loud") or not y.requires_grad:  # a saturated softmax has gradients of rounding errors
        return seen
    gradients = torch.autograd.grad(y.square().sum(), list(leaves.values()), allow_unused=True)
    pairs = zip(leaves, gradients, strict=True)
    return seen | {f"d{name}": torch.zeros(()) if g is None else g for name, g in pairs}


def cost(layer, case):
    with measure() as spent:
        y = layer(case.x, case.context)
    with measure() as once:
        layer.to_q(case.x)
    with measure() as many:
        layer(case.x.repeat(8, 1, 1), case.context.repeat(8, 1, 1))
    products = 2 * 2 * 2 * 16 * 16 * 16
    lean = spent.flops <= 1.02 * (4 * once.flops + products)
    return {"y": y, "lean": lean, "grows": many.operators > spent.operators + 20}
