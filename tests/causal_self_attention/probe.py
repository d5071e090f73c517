"""What can be seen of attention and of the layer: answers under masks, gradients, weights with dropout, cost."""

import torch

from dojo.testing import randint, randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Draws, Pairs

FORBIDDEN = (
    "scaled_dot_product_attention",
    "_scaled_dot_product_attention_math",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_native_multi_head_attention",
    "torch.nn.MultiheadAttention",
    "torch.nn.modules.activation.MultiheadAttention",
    "torch.nn.functional.multi_head_attention_forward",
    "torch.nn.attention",
)
FUNCTION, INIT, FORWARD = "attention", "CausalSelfAttention", "CausalSelfAttention.forward"


def some(rng, *shape):
    """A random mask, True at the last place of each row."""
    return (torch.rand(*shape, generator=rng) < 0.5) | (torch.arange(shape[-1]) == shape[-1] - 1)


def function(name, rng, mask=None, batch=(2,), queries=4, keys=5, dim=9, size=1.0, **given):
    q, k, v = (randn(rng, *batch, *shape) for shape in ((queries, dim), (keys, dim), (keys, 3)))
    return Case(name, of=FUNCTION, **{"q": q * size, "k": k, "v": v, "mask": mask, "causal": False} | given)


def layer(name, rng, padding=None, sizes=(2, 5), dim=6, heads=2, training=False, dropout=0.5, **given):
    weights = {"qkv.weight": (3 * dim, dim), "qkv.bias": (3 * dim,), "out.weight": (dim, dim), "out.bias": (dim,)}
    weights = {key: randn(rng, *shape) for key, shape in weights.items()}
    given |= {"padding": padding, "dim": dim, "heads": heads, "training": training, "dropout": dropout}
    return Case(name, of=FORWARD, weights=weights, x=randn(rng, *sizes, dim), **given)


def cases(rng):
    yield function("plain", rng)
    yield function("a single matrix", rng, batch=())
    yield function("causal", rng, queries=5, causal=True)
    yield from (function(f"mask {shape}", rng, some(rng, *shape)) for shape in ((2, 4, 5), (5,), (2, 1, 5)))
    yield function("mask and causal", rng, some(rng, 2, 5, 5) | torch.eye(5).bool(), queries=5, causal=True)
    yield function("more keys, causal", rng, queries=3, causal=True)
    zero = function("a query and a key of zeros", rng, some(rng, 2, 4, 5))
    zero.q[:, 1], zero.k[:, 4] = 0.0, 0.0
    one = function("a query with nothing to see", rng, some(rng, 2, 4, 5))
    one.mask[1, 2] = False
    two = function("triangle and mask leave nothing", rng, some(rng, 2, 1, 5), queries=5, causal=True)
    two.mask[1, 0, :2] = False
    yield from (zero, one, two)
    half = {"dtype": torch.float16, "size": 0.25, "v": 8 + randn(rng, 2, 5, 3)}  # 8: relative errors need a number
    yield function("half", rng, some(rng, 2, 4, 5), dim=16, **half)
    yield function("scores of 1e8", rng, some(rng, 2, 4, 5), dim=16, size=1e8, dtype=torch.float32)
    signs = torch.tensor([1.0, 1.0, -1.0])[:, None].expand(3, 16)
    big = {"q": 117 * signs, "k": 64 * signs, "v": randn(rng, 3, 3), "causal": False}
    for mask in (None, torch.tensor([[0, 0, 1], [1, 1, 0], [1, 1, 0]]).bool()):
        for dtype in (torch.float16, torch.float32):
            yield Case(f"scores of 3e4 in {dtype}, {mask is None}", of=FUNCTION, mask=mask, dtype=dtype, **big)
    wrong = {"float": torch.ones(4, 5), "shape": torch.ones(5, 4).bool(), "batch": torch.ones(2, 2, 4, 5).bool()}
    yield from (function(f"wrong mask: {name}", rng, mask) for name, mask in wrong.items())
    yield function("more queries than keys", rng, queries=6, causal=True)
    for args in ((6, 2, 0.0), (6, 0, 0.0), (6, -2, 0.0), (6, 4, 0.0), (6, 2, 1.0), (6, 2, -0.5), (6, 2, float("nan"))):
        yield Case(f"parameters of {args}", of=INIT, layers=[list(args)])
    heads, sizes = randint(rng, 1, 5, 3).tolist(), randint(rng, 1, 5, 3).tolist()
    yield Case("parameters of any", of=INIT, layers=[[h * d, h, 0.0] for h, d in zip(heads, sizes, strict=True)])
    yield layer("the layer", rng)
    yield layer("one head", rng, heads=1)
    yield layer("three heads, rows and tokens", rng, some(rng, 3, 3), sizes=(3, 3), heads=3)
    yield layer("padding", rng, torch.tensor([[0, 0, 1, 1, 1], [1, 0, 0, 1, 0]]).bool())
    yield layer("a row of padding", rng, torch.tensor([[0, 0, 0, 0, 0], [0, 1, 1, 1, 1]]).bool())
    yield layer("training without dropout", rng, training=True, dropout=0.0)
    for name, padding in (("float", torch.ones(2, 5)), ("keys", torch.ones(5).bool()), ("4-d", some(rng, 2, 1, 1, 5))):
        yield layer(f"wrong padding: {name}", rng, padding)
    yield layer("cost", rng, dim=16, heads=4, sizes=(2, 32))
    yield layer("dropout", rng, dim=12, dropout=0.25)
    yield layer("dropout after evaluation", rng, dim=12, dropout=0.25)


def run(kata, case):
    if case.of == FUNCTION:
        return attend(kata, case)
    if case.of == INIT:
        layers = [kata.CausalSelfAttention(*args) for args in case.layers]
        parameters = [sorted([name, list(p.shape)] for name, p in layer.named_parameters()) for layer in layers]
        return {"parameters": parameters, "state": [sorted(layer.state_dict()) for layer in layers]}
    module = kata.CausalSelfAttention(case.dim, case.heads, case.dropout).double().train(case.training)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(case.weights[name]) if name in case.weights else parameter.fill_(0.5)
    if case.name == "cost":
        return cost(module, case)
    if case.name.startswith("dropout"):
        return dropped(module, case)
    x, real = case.x.clone().requires_grad_(), ... if case.padding is None else case.padding
    y = module(x, case.padding)
    leaves = {"x": x, **dict(sorted(module.named_parameters()))}
    seen = {"y": y[real], "finite": bool(y.isfinite().all()), "x after": Pairs(x, case.x)}
    return seen | gradients(y[real], leaves)


def attend(kata, case):
    dtype = getattr(case, "dtype", torch.float64)
    leaves = {name: getattr(case, name).to(dtype).clone().requires_grad_() for name in "qkv"}
    mask = None if case.mask is None else case.mask.clone()
    free = [leaf * 1 for leaf in leaves.values()]  # no leaves, so that changing them is no error
    y = kata.attention(*free, mask, causal=case.causal)
    seen = {"y": y, **{f"{name} after": Pairs(one, leaves[name]) for name, one in zip("qkv", free, strict=True)}}
    seen |= {} if mask is None else {"mask after": Pairs(mask, case.mask)}
    return seen | gradients(y, leaves) if dtype is torch.float64 else seen


def gradients(y, leaves):
    if not y.requires_grad:
        return {"no graph": True}
    each = torch.autograd.grad(y.square().sum(), list(leaves.values()), allow_unused=True)
    return {f"d{name}": torch.zeros(()) if g is None else g for name, g in zip(leaves, each, strict=True)}


def dropped(module, case):
    n, state = 3, module.state_dict()
    with torch.no_grad():  # a layer that answers with its weights, those of both heads twice
        for name, values in (("qkv.bias", 0.0), ("out.bias", 0.0), ("out.weight", torch.eye(4 * n))):
            state[name].copy_(torch.as_tensor(values))
        state["qkv.weight"][8 * n :] = torch.eye(n, 4 * n).repeat(4, 1)
        x = torch.eye(n, 4 * n).double()[None]
        weights = module.eval()(x) if case.name == "dropout after evaluation" else torch.zeros(())
        y = module.train()(x.expand(1000, -1, -1))
    zero = (y == 0).unflatten(-1, (2, 2, n))[:, 2].long()  # [rows, heads, copies, keys] of the last token
    one, other = zero[:, 0, 0, 0], zero[:, 1, 0, 0]
    seen = {"weights": weights, "kept": y.abs().amax(0)}  # each weight is kept in some row: w / (1 - p)
    draws = {"zero": zero[:, :, 0], "torn": zero[:, :, 0] ^ zero[:, :, 1], "heads": 2 * one + other}
    draws["rows"] = 2 * one[::2] + one[1::2]
    return seen | {name: Draws(values.flatten(), 4) for name, values in draws.items()}


def cost(module, case):
    (batch, n, dim), more = case.x.shape, case.x.repeat(8, 1, 1)
    many_heads = module.__class__(dim, 8).double()
    with measure() as spent:
        y = module(case.x)
    with measure() as rows:
        module(more)
    with measure() as heads:
        many_heads(case.x)
    flops, scores = batch * (8 * n * dim**2 + 4 * n**2 * dim), batch * case.heads * n**2
    lean = [0.99 * flops <= spent.flops <= 1.02 * flops, spent.largest <= 1.1 * scores]
    return {"y": y, "lean": lean, "grows": [rows.operators > spent.operators, heads.operators > spent.operators]}
