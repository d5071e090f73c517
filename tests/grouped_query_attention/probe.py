"""What can be seen of grouped attention: answers and gradients for several groups, pooled weights, bytes, cost."""

import torch

from dojo.testing import measure, randint, randn
from dojo.testing.probes import Case, Pairs

ATTENTION, POOL, BYTES = "grouped_attention", "pool_kv_heads", "kv_bytes_per_token"


def attention(name, rng, heads=6, kv_heads=3, *, batch=2, queries=4, keys=5, dim=7, size=1.0, **given):
    q, k, v = (randn(rng, batch, *s, dim) for s in ((heads, queries), (kv_heads, keys), (kv_heads, keys)))
    given = {"q": q * size, "k": k, "v": v, "causal": False, "dtype": torch.float64} | given
    return Case(name, of=ATTENTION, **given)


def pool(name, rng, rows, heads, kv_heads, dtype=torch.float64):
    return Case(name, of=POOL, weight=randn(rng, rows, 3).to(dtype), heads=heads, kv_heads=kv_heads)


def cases(rng):
    for heads, kv_heads in ((6, 3), (6, 2), (4, 2), (4, 1), (3, 3)):
        yield attention(f"{heads} heads on {kv_heads}", rng, heads, kv_heads)
    yield attention("all sizes equal", rng, 4, 2, queries=2, keys=2, dim=2)
    for heads, kv_heads, queries in ((6, 3, 5), (6, 3, 3), (6, 3, 1), (4, 1, 3)):
        name = f"causal, {queries} of 5, {heads} heads on {kv_heads}"
        yield attention(name, rng, heads, kv_heads, queries=queries, causal=True)
    yield attention("more queries than keys", rng, queries=7)
    yield attention("transposed", rng, layout="transposed")
    for causal in (False, True):
        yield attention(f"half, {causal}", rng, dim=16, size=0.25, dtype=torch.float16, causal=causal)
    signs = torch.tensor([1.0, 1.0, -1.0])[:, None].expand(1, 2, 3, 16)
    big = {"q": 117 * signs.repeat(1, 2, 1, 1)[:, :, 1:], "k": 64 * signs}
    for dtype in (torch.float16, torch.float32):
        v = randn(rng, 1, 2, 3, 16)
        yield attention(f"scores of 3e4 in {dtype}", rng, dtype=dtype, v=v, **big)
        future = {"q": -117 * torch.ones(1, 4, 2, 16), "k": 64 * signs, "causal": True}
        yield attention(f"a future key that fits in {dtype}", rng, dtype=dtype, v=v, **future)
        apart = {"q": big["q"], "k": torch.tensor([64.0, 60.0, -60.0])[:, None].expand(1, 2, 3, 16)}
        yield attention(f"scores of 3e4 that differ in {dtype}", rng, dtype=dtype, v=v, **apart)
    yield attention("5 heads on 2", rng, 5, 2)
    yield attention("2 heads on 4", rng, 2, 4)
    yield attention("4 heads on 0", rng, 4, 0)
    yield attention("causal, more queries than keys", rng, queries=6, causal=True)
    right = attention("", rng)
    wrong = {"batch": {"k": right.k[:1], "v": right.v[:1]}, "values": {"v": right.v[:, :, :4]}}
    wrong |= {"dim": {"k": right.k[..., :4], "v": right.v[..., :4]}, "KV heads": {"v": right.v[:, :1]}}
    yield from (attention(f"wrong {name}", rng, **given) for name, given in wrong.items())
    sizes = {"batch": 1, "queries": 1, "keys": 128, "dim": 128}
    step = attention("cost of a step", rng, 16, 4, **sizes, dtype=torch.float32)
    yield step
    yield Case(**vars(step) | {"name": "cost of a step on slices"})
    for dtype in (torch.float16, torch.bfloat16):
        yield Case(**vars(step) | {"name": f"cost of a step in {dtype}", "dtype": dtype})
    yield attention("cost of many queries", rng, 8, 2, batch=1, queries=8, keys=64, dim=32, dtype=torch.float32)
    yield attention("operators", rng, 4, 2, dtype=torch.float32)
    for rows, heads, kv_heads in ((18, 6, 3), (18, 6, 2), (8, 4, 2), (8, 4, 1), (6, 3, 3)):
        yield pool(f"pool {heads} heads of {rows} rows to {kv_heads}", rng, rows, heads, kv_heads)
    yield pool("pool in float16", rng, 8, 4, 2, torch.float16)
    for rows, heads, kv_heads in ((12, 4, 3), (12, 2, 4), (10, 4, 2), (12, 0, 1), (12, 4, 0), (12, -4, -2)):
        yield pool(f"wrong: pool {heads} heads of {rows} rows to {kv_heads}", rng, rows, heads, kv_heads)
    for name in ("some", "other"):
        yield Case(f"bytes of {name} model", of=BYTES, sizes=randint(rng, 3, 99, 3).tolist(), dtype_bytes=2)
    yield Case("bytes in another dtype", of=BYTES, sizes=randint(rng, 3, 99, 3).tolist(), dtype_bytes=4)


def run(kata, case):
    if case.of == BYTES:
        given = case.sizes if case.dtype_bytes == 2 else [*case.sizes, case.dtype_bytes]
        return {"bytes": kata.kv_bytes_per_token(*given)}
    if case.of == POOL:
        leaf = case.weight.clone().requires_grad_()
        weight = leaf * 1
        pooled = kata.pool_kv_heads(weight, case.heads, case.kv_heads)
        seen = {"pooled": pooled, "weight after": Pairs(weight, case.weight)}
        return seen | (gradients(pooled, {"weight": leaf}) if case.weight.dtype is torch.float64 else {})
    leaves = {name: getattr(case, name).to(case.dtype).clone().requires_grad_() for name in "qkv"}
    given = [leaf * 1 for leaf in leaves.values()]  # no leaves, so that changing them is no error
    if hasattr(case, "layout"):
        given = [t.transpose(1, 2).contiguous().transpose(1, 2) for t in given]
    if case.name.startswith("cost"):
        return cost(kata, case, *(t.detach() for t in given))
    if case.name == "operators":
        return operators(kata, *(t.detach() for t in given))
    y = kata.grouped_attention(*given, causal=case.causal)
    after = {f"{name} after": Pairs(one, leaves[name]) for name, one in zip("qkv", given, strict=True)}
    return {"y": y, **after} | (gradients(y, leaves) if case.dtype is torch.float64 else {})


def gradients(y, leaves):
    if not y.requires_grad:
        return {"no graph": True}
    each = torch.autograd.grad(y.square().sum(), list(leaves.values()), allow_unused=True)
    return {f"d{name}": torch.zeros(()) if g is None else g for name, g in zip(leaves, each, strict=True)}


def cost(kata, case, q, k, v):
    if "slices" in case.name:  # of a longer cache
        k, v = (torch.cat([t, t], 2)[:, :, : t.shape[2]] for t in (k, v))
    with measure() as spent:
        kata.grouped_attention(q, k, v)
    if "step" in case.name:
        most = 1.5 if k.element_size() >= 4 else 2
        return {"lean": spent.bytes <= most * 2 * k.numel() * k.element_size()}
    scores = q[..., 0].numel() * k.shape[2]
    flops = 4 * scores * q.shape[-1]
    lean = [spent.flops >= 0.99 * flops, spent.flops <= 1.02 * flops]
    return {"largest": spent.largest <= 1.1 * scores, "flops": lean}


def operators(kata, q, k, v):
    counts = []
    more = [t.repeat(8, 1, 1, 1) for t in (q, k, v)]
    for given in ((q, k, v), more, (q.repeat(1, 8, 1, 1), k, v), (q.repeat(1, 1, 8, 1), k, v)):
        with measure() as spent:
            kata.grouped_attention(*given)
        counts.append(spent.operators)
    return {"grows": [count > counts[0] for count in counts[1:]]}
