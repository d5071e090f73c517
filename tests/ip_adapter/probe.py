"""What can be seen of an IP-Adapter: its parameters, tokens and answers, the scale's effect, a step of training."""

import torch

from dojo.testing import randint, randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case

PROJECTION, ATTENTION = "ImageProjection", "DecoupledCrossAttention"


def attend(name, rng, sizes=(2, 4, 6, 3), heads=2, head_dim=3, scale=0.7, dims=(5, 7), loud=1.0, **more):
    batch, inner = sizes[0], heads * head_dim
    weights = {f"{name}.weight": randn(rng, inner, dims[1]) for name in ("to_k", "to_v", "to_k_image", "to_v_image")}
    weights |= {"to_q.weight": randn(rng, inner, dims[0]), "to_out.weight": randn(rng, dims[0], inner)}
    weights["to_out.bias"] = randn(rng, dims[0])
    widths = (dims[0], dims[1], dims[1])
    given = [randn(rng, batch, n, width) * loud for n, width in zip(sizes[1:], widths, strict=True)]
    made = {"dims": dims, "heads": heads, "head_dim": head_dim, "scale": scale, "weights": weights, "given": given}
    return Case(name, of=f"{ATTENTION}.forward", **made, **more)


def cases(rng):
    for args in ((5, 4, 3), (4, 4, 1), (5, 4, 0)):
        yield Case(f"projection {args}", of=PROJECTION, args=[args])
    yield Case("projections", of=PROJECTION, args=randint(rng, 2, 12, 8, 3).tolist())
    for args in ((5, 7, 2, 3), (6, 6, 1, 1), (5, 7, 0, 3), (5, 7, 2, 0)):
        yield Case(f"attention {args}", of=ATTENTION, args=[args])
    yield Case("attentions", of=ATTENTION, args=randint(rng, 2, 12, 8, 4).tolist())
    for sizes in ((5, 4, 3), (4, 4, 4), (3, 6, 1)):
        image_dim, width, tokens = sizes
        weights = {"proj.weight": randn(rng, width * tokens, image_dim), "proj.bias": randn(rng, width * tokens)}
        weights |= {"norm.weight": randn(rng, width), "norm.bias": randn(rng, width)}
        yield Case(
            f"tokens {sizes}", of=f"{PROJECTION}.forward", args=sizes, weights=weights, x=randn(rng, 4, image_dim)
        )
    yield attend("plain", rng)
    yield attend("all alike", rng, (3, 3, 3, 3), 3, 2, 2.0, (6, 6))
    yield attend("one head, default scale", rng, heads=1, scale=None)
    yield attend("scale 0", rng, scale=0.0)
    yield attend("one image token", rng, (2, 4, 6, 1), scale=-1.0)
    yield attend("scale set later", rng, later=3.0)
    yield attend("loud", rng, loud=300.0)
    yield attend("half", rng, loud=0.25, dtype=torch.float16)
    yield attend("cost", rng, (2, 16, 8, 4), 4, 4)


def run(kata, case):
    if case.of in (PROJECTION, ATTENTION):
        modules = [getattr(kata, case.of)(*args) for args in case.args]
        return {"built": [built(module) for module in modules]}
    if case.of == f"{PROJECTION}.forward":
        layer = filled(kata.ImageProjection(*case.args).double(), case.weights)
        x = case.x.clone().requires_grad_()
        return seen_of(layer(x), {"x": x, **trainable(layer)}, {"x after": x})
    scale = {} if case.scale is None else {"scale": case.scale}
    layer = kata.DecoupledCrossAttention(*case.dims, case.heads, case.head_dim, **scale)
    layer = filled(layer.to(getattr(case, "dtype", torch.float64)), case.weights)
    if hasattr(case, "later"):
        layer.scale = case.later
    if case.name == "cost":
        return cost(layer, case)
    given = [t.to(layer.to_q.weight.dtype, copy=True).requires_grad_() for t in case.given]
    y = layer(*given)
    leaves = dict(zip(("x", "context", "image_tokens"), given, strict=True)) | trainable(layer)
    after = {"given after": given}
    if case.name in ("half", "loud"):  # a saturated softmax has gradients of rounding errors
        return {"y": y / 32 if case.name == "half" else y, **after}  # sums that cancel keep few of half's digits
    return seen_of(y, leaves, after)


def built(module):
    parameters = sorted([name, list(p.shape), p.requires_grad] for name, p in module.named_parameters())
    return {"parameters": parameters, "state": sorted(module.state_dict())}


def filled(layer, weights):
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.copy_(weights[name]) if name in weights else parameter.fill_(0.5)
    return layer


def trainable(layer):
    return {name: p for name, p in sorted(layer.named_parameters()) if p.requires_grad}


def seen_of(y, leaves, more):
    if not y.requires_grad:
        return {"y": y, **more}
    gradients = torch.autograd.grad(y.square().sum(), list(leaves.values()), allow_unused=True)
    pairs = zip(leaves.items(), gradients, strict=True)
    return {"y": y, **more, **{f"d{k}": torch.zeros_like(leaf) if g is None else g for (k, leaf), g in pairs}}


def cost(layer, case):
    x, context, image_tokens = case.given
    with measure() as parts:
        layer.to_q(x)
        layer.to_out(torch.zeros(2, 16, 16, dtype=x.dtype))
        for tokens in (context, context, image_tokens, image_tokens):
            layer.to_k(tokens)
    with measure() as spent:
        layer(*case.given)
    with measure() as many:
        layer(*(t.repeat(8, 1, 1) for t in case.given))
    most = 1.02 * (parts.flops + 2 * 2 * 2 * 16 * 12 * 16)
    return {"lean": spent.flops <= most, "grows": many.operators > spent.operators + 20}
