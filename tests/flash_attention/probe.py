"""What can be seen of flash attention: results and gradients for blocks of all sizes, merges, cost. Most cases show one
thing, and float64 in the digits of float32: what is wrong elsewhere, or rounded, has cases of its own."""

import copy
from functools import partial

import torch

from dojo.testing import measure, randn
from dojo.testing.probes import Case

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
F16, F32, F64, INF = torch.float16, torch.float32, torch.float64, torch.inf
FORWARD, MERGE, BACKWARD = "flash_attention", "merge", "flash_backward"
SIZES = {"5 on 7": (5, 7, False), "causal": (5, 5, True), "causal, 4 on 7": (4, 7, True), "empty": (7, 4, True)}
BLOCKS = {FORWARD: (("out", 1, 2), ("lse", 1, 2), ("out", 3, 64), ("lse", 3, 64), ("out", 4, 1), ("lse", 2, 3))}
BLOCKS[BACKWARD] = (("dk", 4, 1), ("dq", 1, 2), ("dv", 3, 64), ("dk", 2, 3))
RESULTS = {FORWARD: ("out", "lse"), BACKWARD: ("dq", "dk", "dv"), MERGE: ("out", "lse")}
SINGLE = {"no batch": {"batch": (), "dim": 9}, "5 on 2": {"sizes": (5, 2, False)}, "scale 0.3": {"scale": 0.3}}
SINGLE |= {"all equal": {"sizes": (3, 3, False), "batch": (3,), "dim": 3, "block_k": 1}, "scale 0": {"scale": 0.0}}
SINGLE |= {"default blocks": {"sizes": (66, 70, False), "batch": (), "block_q": 64, "block_k": 64}}
SINGLE |= {"no keys": {"sizes": (2, 0, False), "show": "none"}}
SINGLE |= {f"in {dtype}": {"sizes": (7, 10, True), "dim": 3, "dtype": dtype} for dtype in (F16, F32)}
SINGLE |= {f"empty, block_k {n}": {"sizes": (7, 4, True), "block_k": n, "show": "none"} for n in (3, 64)}
MERGES = {"three": (0, 1, 2), "one": (0,), "high": (1000, 1000), "low": (-1000, -1000), "apart": (-1000, 1000)}
MERGES |= {"with nothing": (0, -INF), "after nothing": (-INF, 0), "nothing": (-INF, -INF)}
SHAPES = {"grad": (2, 7, 3), "q": (2, 7, 4), "k": (2, 10, 4), "v": (2, 10, 3), "out": (2, 7, 3), "lse": (2, 7)}
OUT, LSE = SHAPES["out"], SHAPES["lse"]
WRONG = {f"{name}={size}": {name: size} for name in ("block_q", "block_k") for size in (0, -2)}  # not SHAPES
WRONG |= {"q of another batch": {"q": (1, 7, 4)}, "v of another batch": {"v": (1, 10, 3)}}
WRONG |= {"k and v of another batch": {"k": (1, 10, 4), "v": (1, 10, 3)}, "k of another dim": {"k": (2, 10, 1)}}
WRONG |= {"more batch dimensions in q": {"q": (1, 2, 7, 4)}, "more keys than values": {"v": (2, 9, 3)}}
WRONG |= {"fewer keys than values": {"k": (2, 9, 4)}}
LATER = {"grad of another value_dim": {"grad": (2, 7, 1)}, "grad of fewer queries": {"grad": (2, 1, 3)}}
LATER |= {"out of fewer queries": {"out": (2, 1, 3)}, "lse of another batch": {"lse": (1, 7)}}
LATER |= {"grad and out of another value_dim": {"grad": (2, 7, 1), "out": (2, 7, 1)}}
WRONG_BACKWARD = WRONG | LATER | {"lse with a dimension more": {"lse": (2, 7, 1)}}
WRONG_MERGES = {"no parts": ((), ()), "an out too many": ((OUT, OUT), (LSE,)), "an lse too many": ((OUT,), (LSE, LSE))}
WRONG_MERGES |= {"outs of different queries": ((OUT, (2, 1, 3)), (LSE, (2, 1)))}
WRONG_MERGES |= {"an out of another value_dim": ((OUT, (2, 7, 1)), (LSE, LSE))}
WRONG_MERGES |= {"an lse of other queries": ((OUT, OUT), (LSE, (2, 1)))}
WRONG_MERGES |= {"every lse with a dimension more": ((OUT, OUT), ((2, 7, 1), (2, 7, 1)))}


def wrong_calls(of):
    """(name, arguments, options) of the calls that raise ValueError."""
    for name, parts in (WRONG_MERGES if of == MERGE else {}).items():
        yield name, [[torch.zeros(shape) for shape in shapes] for shapes in parts], {}
    for name, changed in {FORWARD: WRONG, BACKWARD: WRONG_BACKWARD, MERGE: {}}[of].items():
        given = [torch.zeros(changed.get(key, SHAPES[key])) for key in (SHAPES if of == BACKWARD else "qkv")]
        yield name, given, {key: value for key, value in changed.items() if key not in SHAPES}


def attention(name, rng, of, sizes=(7, 10, False), *, batch=(2,), dim=4, dtype=F64, show="", **given):
    """One case of the forward or of the backward pass. out and lse are drawn, too, as if of more keys than are given."""
    queries, keys, causal = sizes
    none = max(queries - keys, 0) if causal or not keys else 0  # so many queries see no key
    rows = {"grad": (queries, 3), "q": (queries, dim), "k": (keys, dim), "v": (keys, 3), "out": (queries, 3)}
    tensors = {key: randn(rng, *batch, *size, dtype=dtype) for key, size in rows.items()}
    tensors["lse"] = 3 + randn(rng, *batch, queries, dtype=torch.promote_types(dtype, F32))
    tensors["lse"][..., :none], tensors["out"][..., :none, :] = -INF, 0.0
    tensors["grad"][..., :none, :] *= show == "none"
    for key in tensors.keys() & given.keys():
        tensors[key].copy_(torch.as_tensor(given.pop(key)))
    options = {"causal": causal, "block_q": 2, "block_k": 3} | given
    given = [tensors[key] for key in (tensors if of == BACKWARD else "qkv")]
    return Case(f"{of}: {name} {show}", of=of, given=given, options=options, show=show, none=none)


def cases(rng):
    small = torch.where(torch.arange(33) == 0, 1.0, 0.00375)[:, None]  # what is added to 1 in bfloat16 is lost
    most = torch.tensor([[2.0**30 + 1], [-(2.0**30)]], dtype=F64)  # float32 lacks the 1
    for of in (FORWARD, BACKWARD):
        some = partial(attention, rng=rng, of=of)
        for name, sizes in SIZES.items():
            for show, *blocks in BLOCKS[of]:
                options = dict(zip(("block_q", "block_k"), blocks, strict=True))
                yield some(f"{name}, blocks {blocks}", sizes=sizes, show=show, **options)
        yield from (some(name, **options) for name, options in SINGLE.items())
        for show in ("inputs", "lean", "loop"):
            yield some("18 on 18", sizes=(18, 18, True), block_q=6, block_k=2, show=show)
        exact = {"q": 0.0, "k": 0.0, "lse": 0.0, "out": 0.0, "grad": most, "v": most if of == FORWARD else 0.0}
        yield some("exactly", sizes=(2, 2, False), batch=(), dim=1, show="digits", **exact)
    for signs in ((1.0, 1, -1), (-1.0, -1, -1), (-1.0, -1, 1)):
        for dtype in (F16, F32):
            loud = {"dim": 16, "dtype": dtype, "q": 224.0, "k": 224 * torch.tensor(signs)[:, None]}
            yield attention(f"loud {signs} in {dtype}", rng, FORWARD, (4, 3, True), batch=(), **loud)
    loud = {"q": 224.0, "k": 224.0, "lse": torch.tensor([-INF, 200_704.0])}
    yield attention("loud", rng, BACKWARD, (2, 1, True), batch=(), dim=16, dtype=F16, **loud)
    sums = {"batch": (), "dim": 1, "dtype": torch.bfloat16, "block_q": 1, "block_k": 1}
    yield attention("sums", rng, FORWARD, (1, 33, False), **sums, k=0.0, v=small)
    sums |= {"out": 0.0, "lse": 0.0}
    yield attention("sums over queries", rng, BACKWARD, (33, 1, False), **sums, grad=small, q=small, k=0.0, v=1.0)
    yield attention("sums over keys", rng, BACKWARD, (1, 33, False), **sums, grad=1.0, q=0.0, k=small, v=1.0)
    loud = dict.fromkeys(("grad", "v", "out"), 258.0) | {"q": 1.0, "k": 0.0, "dtype": F16}
    yield attention("loud grad", rng, BACKWARD, (1, 1, False), **sums | loud)
    some = partial(Case, of=MERGE, options={}, show="")
    for name, levels in MERGES.items():
        outs = [randn(rng, 2, 5, 3) * (level > -INF) for level in levels]
        yield some(f"{MERGE}: {name}", given=[outs, [randn(rng, 2, 5) + level for level in levels]])
    outs, lses = [randn(rng, 5, 3, dtype=F32) for _ in "ab"], [randn(rng, 5, dtype=F32) for _ in "ab"]
    yield some(f"{MERGE}: in float32", given=[outs, lses])
    yield some(f"{MERGE}: inputs", given=[outs, lses], show="inputs")
    yield some(f"{MERGE}: sums", given=[[*small[:, None].bfloat16()], [torch.zeros(1)] * 33])
    for of in RESULTS:
        for name, given, options in wrong_calls(of):
            yield Case(f"{of}: wrong {name}", of=of, given=given, options=options, show="", none=0)


def run(kata, case):
    function, given = getattr(kata, case.of), copy.deepcopy(case.given)
    if case.show in ("lean", "loop"):
        return cost(function, given, case)
    with torch.inference_mode(case.of == BACKWARD):
        result = function(*given, **case.options)
    if case.show == "inputs":
        pairs = zip(given, case.given, strict=True)
        return {"after": [torch.equal(torch.stack([*a]), torch.stack([*b])) for a, b in pairs]}
    if case.of == FORWARD:  # what the queries see that see anything; or of the others, where all wrong lse are equal
        (out, lse), rows = result, slice(case.none) if case.show == "none" else slice(case.none, None)
        out, lse = out[..., rows, :], lse[..., rows]
        result = out, lse.where(~lse.isfinite() | (lse == 0), 1.0) if case.show == "none" else lse
    wide = F64 if case.show == "digits" else F32
    result = [part.to(wide) if part.dtype in (F32, F64) else part for part in result]
    parts = zip(RESULTS[case.of], result, strict=True)
    return {name: part for name, part in parts if case.show in (name, "", "none", "digits")}


def cost(function, given, case):
    """Whether it is lean, in numbers that right answers agree in."""
    few, counts = [t[:, :6] for t in given], []
    for inputs in (few, [torch.cat([t] * 4) for t in few]) if case.show == "loop" else (given,):
        with torch.inference_mode(), measure() as spent:
            function(*inputs, **case.options | {"causal": case.show != "loop"})
        counts.append(spent)
    # dim is 4, value_dim 3; a sum of products may count, too. Of 324 scores 171 are seen, in 18 of 27 tiles of 12.
    (least, most), spent = (7, 7.35) if case.of == FORWARD else (18, 26), counts[0]
    if case.show == "loop":
        return {"loop": counts[1].operators > spent.operators, "flops": spent.flops <= 4 * 36 * most}
    largest = [spent.largest <= size for size in (2 * 18 * 4, 2 * 6 * 18, 18 * 18)]
    return {"largest": largest, "flops": [0.99 * 4 * 171 * least <= spent.flops, spent.flops <= 4 * 18 * 12 * most]}
