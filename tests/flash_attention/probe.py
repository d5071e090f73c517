"""What can be seen of flash attention: results and gradients for blocks of all sizes, merges, cost."""

import math

import torch

from dojo.testing import measure, randn
from dojo.testing.alive import Alive
from dojo.testing.probes import Case, Pairs

FORBIDDEN = (
    "scaled_dot_product_attention",
    "_scaled_dot_product_attention_math",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention_for_cpu_backward",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
    "_flash_attention_forward",
    "_flash_attention_backward",
    "_efficient_attention_forward",
    "_efficient_attention_backward",
    "_native_multi_head_attention",
    "torch.nn.MultiheadAttention",
    "torch.nn.modules.activation.MultiheadAttention",
    "torch.nn.functional.multi_head_attention_forward",
    "torch.nn.attention",
)
F16, F32, F64, INF = torch.float16, torch.float32, torch.float64, math.inf
FORWARD, MERGE, BACKWARD = "flash_attention", "merge", "flash_backward"
SIZES = {"7 on 10": (7, 10, False), "causal": (7, 7, True), "causal, 4 on 10": (4, 10, True), "empty": (10, 7, True)}
MERGES = {
    "three": ((0, 1, 2), (2,), F64),
    "one": ((0,), (), F64),
    "heads": ((0, 1), (2, 3), F64),
    "high": ((1000, 1000), (2,), F64),
    "low": ((-1000, -1000), (2,), F64),
    "apart": ((-1000, 1000), (2,), F64),
    "with nothing": ((0, -INF), (2,), F64),
    "after nothing": ((-INF, 0), (2,), F64),
    "nothing": ((-INF, -INF), (2,), F64),
    "in float32": ((3, 2), (2,), F32),
    "sums in float16": ((0,) * 33, (2,), F16),
}


def wrong_attention():
    """(q, k, v) and options of calls that raise ValueError, by name."""
    q, k, v = torch.zeros(2, 7, 4), torch.zeros(2, 10, 4), torch.zeros(2, 10, 3)
    blocks = {f"{name}={size}": ([q, k, v], {name: size}) for name in ("block_q", "block_k") for size in (0, -2)}
    return blocks | {
        "q of another batch": ([q[:1], k, v], {}),
        "k and v of another batch": ([q, k[:1], v[:1]], {}),
        "v of another batch": ([q, k, v[:1]], {}),
        "more batch dimensions in q": ([q[None], k, v], {}),
        "k of another dim": ([q, k[..., :1], v], {}),
        "more keys than values": ([q, k, v[:, :9]], {}),
        "fewer keys than values": ([q, k[:, :9], v], {}),
    }


def wrong_backwards():
    """(grad, q, k, v, out, lse) and options."""
    out, lse = torch.zeros(2, 7, 3), torch.zeros(2, 7)
    wrong = {name: ([out, *qkv, out, lse], options) for name, (qkv, options) in wrong_attention().items()}
    qkv = wrong["block_q=0"][0][1:4]
    return wrong | {
        "grad of another value_dim": ([out[..., :1], *qkv, out, lse], {}),
        "grad of fewer queries": ([out[:, :1], *qkv, out, lse], {}),
        "out of fewer queries": ([out, *qkv, out[:, :1], lse], {}),
        "grad and out of another batch": ([out[:1], *qkv, out[:1], lse], {}),
        "lse of another batch": ([out, *qkv, out, lse[:1]], {}),
        "lse with a dimension more": ([out, *qkv, out, lse[..., None]], {}),
    }


def wrong_merges():
    """outs and lses."""
    out, lse = torch.zeros(2, 7, 3), torch.zeros(2, 7)
    return {
        "no parts": ([], []),
        "an out too many": ([out, out], [lse]),
        "an lse too many": ([out], [lse, lse]),
        "outs of different queries": ([out, out[:, :1]], [lse, lse[:, :1]]),
        "an out of another value_dim": ([out, out[..., :1]], [lse, lse]),
        "an lse of other queries": ([out, out], [lse, lse[:, :1]]),
        "an lse with a dimension more": ([out, out], [lse[..., None], lse[..., None]]),
    }


def attention(name, rng, queries=7, keys=10, causal=False, *, of, batch=(2,), dim=4, dtype=F64, **given):
    """One case of the forward or of the backward pass. out and lse are drawn, too, as if of more keys than are given."""
    rows = {"grad": (queries, 3), "q": (queries, dim), "k": (keys, dim), "v": (keys, 3), "out": (queries, 3)}
    tensors = {key: randn(rng, *batch, *size, dtype=dtype) for key, size in rows.items()}
    tensors["lse"] = 3 + randn(rng, *batch, queries, dtype=torch.promote_types(dtype, torch.float32))
    if causal and queries > keys:
        tensors["lse"][..., : queries - keys], tensors["out"][..., : queries - keys, :] = -INF, 0.0
    tensors |= {key: given.pop(key).to(dtype) for key in list(given) if key in tensors}
    options = {"causal": causal, "block_q": 2, "block_k": 3} | given
    given = [tensors[key] for key in (tensors if of == BACKWARD else "qkv")]
    return Case(f"{of}: {name}", of=of, given=given, options=options)


def cases(rng):
    for of in (FORWARD, BACKWARD):
        for name, sizes in SIZES.items():
            for blocks in ((1, 1), (2, 3), (64, 4), (3, 64)):
                given = {"block_q": blocks[0], "block_k": blocks[1], "of": of}
                yield attention(f"{name}, blocks {blocks}", rng, *sizes, **given)
        yield attention("no batch", rng, batch=(), dim=9, of=of)
        yield attention("heads", rng, batch=(2, 3), of=of)
        yield attention("all sizes equal", rng, 3, 3, batch=(3,), dim=3, block_k=1, of=of)
        yield attention("default blocks", rng, 66, 70, batch=(), of=of)
        yield attention("10 on 3", rng, 10, 3, of=of)
        yield attention("no keys", rng, 2, 0, of=of)
        yield attention(
            "quiet", rng, 3, 3, of=of, q=torch.full((2, 3, 4), 3.0), k=torch.full((2, 3, 4), -3.0), block_k=2
        )
        for scale in (0.3, 0.0):
            yield attention(f"scale {scale}", rng, scale=scale, of=of)
        for dtype in (F16, F32):
            yield attention(f"in {dtype}", rng, causal=True, dtype=dtype, of=of)
            q = torch.full((4, 16), 224.0)
            for signs in ((1.0, 1, -1), (-1.0, -1, -1), (-1.0, -1, 1)) if of == FORWARD else ():
                loud = {"q": q, "k": torch.tensor(signs)[:, None] * q[:3], "dtype": dtype, "batch": (), "of": of}
                yield attention(f"loud {signs} in {dtype}", rng, 4, 3, True, dim=16, **loud)
        small = torch.where(torch.arange(33) == 16, 1.0, 2**-12)[:, None] * torch.ones(1, 3)
        half = {"dtype": F16, "batch": (), "block_q": 1, "block_k": 1, "of": of}
        sums = {"k": 0 * torch.ones(33, 4), "v": small} if of == FORWARD else {"q": small[:, :1], "grad": small}
        if of == FORWARD:
            yield attention("sums over keys", rng, 1, 33, **half, **sums)
        else:
            sums |= {"k": torch.zeros(1, 1), "out": 0 * small, "v": torch.ones(1, 3), "lse": torch.zeros(33)}
            yield attention("sums over queries", rng, 33, 1, dim=1, **half, **sums)
            sums = {"q": torch.zeros(1, 1), "k": small[:, :1], "v": torch.ones(33, 3), "lse": torch.zeros(1)}
            yield attention("sums over keys", rng, 1, 33, dim=1, **half, **sums, out=torch.zeros(1, 3))
        for causal in (False, True):
            yield attention(f"cost, causal={causal}", rng, 64, 64, causal, block_q=16, block_k=4, of=of)
    for of, wrong in ((FORWARD, wrong_attention()), (BACKWARD, wrong_backwards())):
        for name, (given, options) in wrong.items():
            yield Case(f"{of}: wrong {name}", of=of, given=given, options=options)
    for name, parts in wrong_merges().items():
        yield Case(f"{MERGE}: wrong {name}", of=MERGE, given=list(parts), options={})
    for name, (levels, batch, dtype) in MERGES.items():
        outs, lses = [randn(rng, *batch, 5, 3, dtype=dtype) for _ in levels], []
        for out, level in zip(outs, levels, strict=True):
            lses.append(randn(rng, *batch, 5, dtype=torch.promote_types(dtype, torch.float32)) + level)
            out *= level > -INF
        if "sums" in name:
            for i, (out, lse) in enumerate(zip(outs, lses, strict=True)):
                out[:], lse[:] = (1.0 if i == 16 else 2**-12), 0.0
        yield Case(f"{MERGE}: {name}", of=MERGE, given=[outs, lses], options={})


def run(kata, case):
    function = getattr(kata, case.of)
    given = [[t.clone() for t in each] if case.of == MERGE else each.clone() for each in case.given]
    if "cost" in case.name:
        return cost(function, given, case)
    with torch.set_grad_enabled(case.of != BACKWARD):
        result = function(*given, **case.options)
    after = [Pairs(a, b) for a, b in zip(flat(given), flat(case.given), strict=True)]
    return {"result": list(result), "after": after}


def flat(given):
    return [t for each in given for t in (each if isinstance(each, list) else [each])]


def cost(function, given, case):
    """Whether it is lean, in numbers that right answers agree in."""
    counts = []
    for inputs in (given, [t[:, :32] for t in given], [t.repeat(4, *[1] * (t.dim() - 1)) for t in given]):
        with torch.inference_mode(), measure() as spent, Alive() as alive:
            function(*inputs, **case.options)
        counts.append((spent, alive.peak))
    (spent, peak), (_, half), (more, _) = counts
    tiles, scores = (40, 64 * 65 // 2) if case.options["causal"] else (64, 64 * 64)
    least, most = (2 * 7, 2 * 7) if case.of == FORWARD else (2 * 18, 2 * 25)  # FLOPs for each score
    flops = [spent.flops >= 0.99 * 2 * scores * least, spent.flops <= 1.01 * 2 * tiles * 64 * most]
    lean = {"largest": spent.largest <= 2 * 64 * 4, "flops": flops, "grows": peak > 2.5 * half}
    return lean | {"loop": more.operators > spent.operators}
