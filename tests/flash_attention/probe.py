"""What can be seen of flash attention: results and gradients for blocks of all sizes, merges, cost."""

import math
from functools import partial

import torch

from dojo.testing import measure, randn
from dojo.testing.probes import Case, Pairs

FORBIDDEN = (
    "scaled_dot_product_attention",
    "_scaled_dot_product_attention_math",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention_for_cpu_backward",
    "_native_multi_head_attention",
    "torch.nn.MultiheadAttention",
    "torch.nn.functional.multi_head_attention_forward",
    "torch.nn.attention",
)
F16, F32, F64, INF = torch.float16, torch.float32, torch.float64, math.inf
FORWARD, MERGE, BACKWARD = "flash_attention", "merge", "flash_backward"
SIZES = {"5 on 7": (5, 7, False), "causal": (5, 5, True), "causal, 4 on 7": (4, 7, True), "empty": (7, 4, True)}
BLOCKS = [(4, 1), (2, 3), (3, 64)]
MERGES = {"three": (0, 1, 2), "one": (0,), "high": (1000, 1000), "low": (-1000, -1000), "apart": (-1000, 1000)}
MERGES |= {"with nothing": (0, -INF), "after nothing": (-INF, 0), "nothing": (-INF, -INF)}
SHAPES = {"grad": (2, 7, 3), "q": (2, 7, 4), "k": (2, 10, 4), "v": (2, 10, 3), "out": (2, 7, 3), "lse": (2, 7)}
OUT, LSE = SHAPES["out"], SHAPES["lse"]
WRONG = {  # other shapes than these, or options, that raise ValueError
    **{f"{name}={size}": {name: size} for name in ("block_q", "block_k") for size in (0, -2)},
    "q of another batch": {"q": (1, 7, 4)},
    "k and v of another batch": {"k": (1, 10, 4), "v": (1, 10, 3)},
    "v of another batch": {"v": (1, 10, 3)},
    "more batch dimensions in q": {"q": (1, 2, 7, 4)},
    "k of another dim": {"k": (2, 10, 1)},
    "more keys than values": {"v": (2, 9, 3)},
    "fewer keys than values": {"k": (2, 9, 4)},
}
WRONG_BACKWARD = WRONG | {
    "grad of another value_dim": {"grad": (2, 7, 1)},
    "grad of fewer queries": {"grad": (2, 1, 3)},
    "out of fewer queries": {"out": (2, 1, 3)},
    "grad and out of another value_dim": {"grad": (2, 7, 1), "out": (2, 7, 1)},
    "lse of another batch": {"lse": (1, 7)},
    "lse with a dimension more": {"lse": (2, 7, 1)},
}
WRONG_MERGES = {  # shapes of the outs, and of the lses
    "no parts": ((), ()),
    "an out too many": ((OUT, OUT), (LSE,)),
    "an lse too many": ((OUT,), (LSE, LSE)),
    "outs of different queries": ((OUT, (2, 1, 3)), (LSE, (2, 1))),
    "an out of another value_dim": ((OUT, (2, 7, 1)), (LSE, LSE)),
    "an lse of other queries": ((OUT, OUT), (LSE, (2, 1))),
    "every lse with a dimension more": ((OUT, OUT), ((2, 7, 1), (2, 7, 1))),
}


def wrong_calls(of):
    """(name, arguments, options) of the calls that raise ValueError."""
    for name, parts in (WRONG_MERGES if of == MERGE else {}).items():
        yield name, [[torch.zeros(shape) for shape in shapes] for shapes in parts], {}
    for name, changed in {FORWARD: WRONG, BACKWARD: WRONG_BACKWARD, MERGE: {}}[of].items():
        given = [torch.zeros(changed.get(key, SHAPES[key])) for key in (SHAPES if of == BACKWARD else "qkv")]
        yield name, given, {key: value for key, value in changed.items() if key not in SHAPES}


def attention(name, rng, of, sizes=(7, 10, False), *, batch=(2,), dim=4, dtype=F64, **given):
    """One case of the forward or of the backward pass. out and lse are drawn, too, as if of more keys than are given."""
    queries, keys, causal = sizes
    rows = {"grad": (queries, 3), "q": (queries, dim), "k": (keys, dim), "v": (keys, 3), "out": (queries, 3)}
    tensors = {key: randn(rng, *batch, *size, dtype=dtype) for key, size in rows.items()}
    tensors["lse"] = 3 + randn(rng, *batch, queries, dtype=torch.promote_types(dtype, F32))
    if causal and queries > keys:
        tensors["lse"][..., : queries - keys], tensors["out"][..., : queries - keys, :] = -INF, 0.0
    tensors |= {key: given.pop(key).to(tensors[key].dtype) for key in tensors if key in given}
    options = {"causal": causal, "block_q": 2, "block_k": 3} | given
    given = [tensors[key] for key in (tensors if of == BACKWARD else "qkv")]
    return Case(f"{of}: {name}", of=of, given=given, options=options)


def cases(rng):
    small = torch.where(torch.arange(33) == 0, 1.0, 0.00375)[:, None]  # what is added to 1 in bfloat16 is lost
    wide, zero = small.expand(-1, 3), torch.zeros(33, 1)
    for of in (FORWARD, BACKWARD):
        some = partial(attention, rng=rng, of=of)
        for name, sizes in SIZES.items():
            for block_q, block_k in BLOCKS:
                yield some(f"{name}, blocks {block_q}, {block_k}", sizes=sizes, block_q=block_q, block_k=block_k)
        yield some("no batch", batch=(), dim=9)
        yield some("all sizes equal", sizes=(3, 3, False), batch=(3,), dim=3, block_k=1)
        yield some("default blocks", sizes=(66, 70, False), batch=(), block_q=64, block_k=64)
        yield some("5 on 2", sizes=(5, 2, False))
        yield some("no keys", sizes=(2, 0, False))
        for scale in (0.3, 0.0):
            yield some(f"scale {scale}", scale=scale)
        for dtype in (F16, F32):
            yield some(f"in {dtype}", sizes=(7, 10, True), dim=3, dtype=dtype)
        yield some("cost", sizes=(18, 18, True), block_q=6, block_k=2)
        for name, given, options in wrong_calls(of):
            yield Case(f"{of}: wrong {name}", of=of, given=given, options=options)
    for signs in ((1.0, 1, -1), (-1.0, -1, -1), (-1.0, -1, 1)):
        for dtype in (F16, F32):
            loud = {"q": torch.full((4, 16), 224.0), "k": 224 * torch.tensor(signs)[:, None].expand(-1, 16)}
            name = f"loud {signs} in {dtype}"
            yield attention(name, rng, FORWARD, sizes=(4, 3, True), batch=(), dim=16, dtype=dtype, **loud)
    loud = {"q": torch.full((2, 16), 224.0), "k": torch.full((1, 16), 224.0), "lse": torch.tensor([-INF, 200_704.0])}
    yield attention("loud", rng, BACKWARD, (2, 1, True), batch=(), dim=16, dtype=F16, **loud)
    sums = {"batch": (), "dim": 1, "dtype": torch.bfloat16, "block_q": 1, "block_k": 1}
    yield attention("sums", rng, FORWARD, (1, 33, False), **sums, k=zero, v=wide)
    given = {"grad": wide, "q": small, "k": zero[:1], "v": 1 + 0 * wide[:1], "out": 0 * wide, "lse": zero[:, 0]}
    yield attention("sums over queries", rng, BACKWARD, (33, 1, False), **sums, **given)
    given = {"grad": wide[:1], "q": zero[:1], "k": small, "v": 1 + 0 * wide, "out": 0 * wide[:1], "lse": zero[0]}
    yield attention("sums over keys", rng, BACKWARD, (1, 33, False), **sums, **given)
    loud = dict.fromkeys(("grad", "v", "out"), 258 * small[:1]) | {"q": small[:1], "k": zero[:1], "lse": zero[0]}
    yield attention("loud grad", rng, BACKWARD, (1, 1, False), **sums | {"dtype": F16}, **loud)
    for name, given, options in wrong_calls(MERGE):
        yield Case(f"{MERGE}: wrong {name}", of=MERGE, given=given, options=options)
    for name, levels in MERGES.items():
        outs = [randn(rng, 2, 5, 3) * (level > -INF) for level in levels]
        lses = [randn(rng, 2, 5) + level for level in levels]
        yield Case(f"{MERGE}: {name}", of=MERGE, given=[outs, lses], options={})
    outs, lses = [randn(rng, 5, 3, dtype=F32) for _ in "ab"], [randn(rng, 5, dtype=F32) for _ in "ab"]
    yield Case(f"{MERGE}: in float32", of=MERGE, given=[outs, lses], options={})
    yield Case(f"{MERGE}: sums", of=MERGE, given=[[*small[:, None].bfloat16()], [torch.zeros(1)] * 33], options={})


def run(kata, case):
    function = getattr(kata, case.of)
    given = [[t.clone() for t in each] if case.of == MERGE else each.clone() for each in case.given]
    if "cost" in case.name:
        return cost(function, given, case)
    with torch.inference_mode(case.of == BACKWARD):
        result = function(*given, **case.options)
    pairs = zip(given, case.given, strict=True)
    after = [each for a, b in pairs for each in (zip(a, b, strict=True) if case.of == MERGE else [(a, b)])]
    return {"result": list(result), "after": [Pairs(*each) for each in after]}


def cost(function, given, case):
    """Whether it is lean, in numbers that right answers agree in."""
    few, counts = [t[:, :6] for t in given], []
    for inputs, causal in ((given, True), (few, False), ([torch.cat([t] * 4) for t in few], False)):
        with torch.inference_mode(), measure() as spent:
            function(*inputs, **case.options | {"causal": causal})
        counts.append(spent)
    # dim is 4, value_dim 3; a sum of products may count, too. Of 324 scores 171 are seen, in 18 of 27 tiles of 12.
    (least, most), (whole, plain, more) = (7, 7.35) if case.of == FORWARD else (18, 26), counts
    flops = [plain.flops <= 4 * 36 * most, whole.flops >= 0.99 * 4 * 171 * least, whole.flops <= 4 * 18 * 12 * most]
    largest = [whole.largest <= most for most in (2 * 18 * 4, 2 * 6 * 18, 18 * 18)]
    return {"largest": largest, "flops": flops, "loop": more.operators > plain.operators}
