"""Stage 3. Scores of +-2e5, every dtype."""

import math

import pytest
import torch

from dojo.testing import FLOATS, HALVES, expect_close, numbers, roundings

from .helpers import attend, by_definition, merged, qkv

LOUD = 200_704.0  # 224 * 224 * 16 / 4: a score for dim 16, exact in float32, and q and k are exact in every dtype
EVERY = pytest.mark.parametrize("dtype", FLOATS, ids=str)
HINT = "subtract the running maximum before exp; compute in float32 at least, where float16 inputs are halves (65504 at most)"
SENTINEL = (
    "the maximum begins at -inf or the lowest float32: 0, -1e4 or -5e4 lies above real scores, and then exp gives 0"
)
WIDE = "convert to float32 before anything is computed, and convert out back at the end; lse stays in float32"


def loud(signs, dtype):
    """k for which the query (224, ...) of size 16 has scores of +-200 704, or 0."""
    return 224 * torch.tensor(signs, dtype=dtype)[:, None].expand(-1, 16)


@EVERY
@pytest.mark.parametrize(("signs", "want"), [((1, 1, -1), (0.5, 0.5, 0)), ((-1, -1), (0.5, 0.5))], ids=str)
def test_huge_scores_are_fine(dtype, signs, want):
    """200 704 is more than float16 holds, and exp of it more than anything. -200 704 is the best score where all are, and
    lies below many a number that is taken for minus infinity."""
    q, k = torch.full((1, 16), 224.0, dtype=dtype), loud(signs, dtype)
    v = torch.eye(len(signs), dtype=dtype)
    for block_k in (1, 64):
        out, lse = attend(q, k, v, block_k=block_k)
        what = f"in {dtype} for the scores {[sign * LOUD for sign in signs]}, block_k={block_k}"
        hint = SENTINEL if max(signs) < 0 else HINT
        expect_close(out, torch.tensor([want], dtype=dtype), what=f"out {what}", hint=hint)
        best = numbers(max(signs) * LOUD + math.log(signs.count(max(signs))), dtype=lse.dtype)
        expect_close(lse, best, what=f"lse {what}", hint=hint, **roundings(2, lse.dtype, LOUD))


@EVERY
def test_hidden_scores_lose_to_the_lowest_ones(dtype):
    """What a query sees scores -200 704, what is hidden +200 704 or 0, and its values are loud. The first of 4 queries on
    3 keys sees nothing."""
    q = torch.full((4, 16), 224.0, dtype=dtype)
    k = loud((-1, -1, 1), dtype)
    v = torch.tensor([[1.0], [3.0], [1e4]], dtype=dtype)
    for block_q, block_k in ((1, 1), (2, 2), (64, 64)):
        out, lse = attend(q, k, v, causal=True, block_q=block_q, block_k=block_k)
        what = f"in {dtype} behind scores of -200704, before a hidden one of 200704, blocks {block_q}, {block_k}"
        want = torch.tensor([[0.0], [1.0], [2.0], [1e4]], dtype=dtype)
        expect_close(out, want, what=f"out {what}", hint="hidden scores are -inf")
        best = numbers(-math.inf, -LOUD, -LOUD + math.log(2), LOUD, dtype=lse.dtype)
        expect_close(lse, best, what=f"lse {what}", hint="hidden scores are -inf", **roundings(2, lse.dtype, LOUD))


def test_a_loud_query_leaves_the_others_alone(rng):
    """With one maximum for a whole tile, the exponentials of quiet queries would all be 0."""
    q, k, v = qkv(rng, 4, 6)
    q[:, 1] *= 1e4
    out, lse = attend(q, k, v, block_q=4, block_k=3)
    want = by_definition(q, k, v)
    hint = "amax(-1, keepdim=True): each query has its own maximum"
    expect_close(out, want[0], what="out of 4 queries, one of them 1e4 times as long", hint=hint)
    expect_close(lse, want[1], what="lse of 4 queries, one of them 1e4 times as long", hint=hint)


def test_scores_that_all_rise_raise_lse_alone(rng):
    """q has a 1 and k a 500 at one more place: each score is 500 higher. Tolerance: 4 roundings of 500."""
    q, k, v = qkv(rng)
    want = attend(q, k, v, scale=1.0, block_k=4)
    q, k = (torch.cat([t, each * torch.ones(*t.shape[:-1], 1)], -1) for t, each in ((q, 1.0), (k, 500.0)))
    got = attend(q, k, v, scale=1.0, block_k=4)
    close = roundings(4, torch.float64, 500)
    expect_close(got[0], want[0], what="out after all scores rose by 500", hint=HINT, **close)
    expect_close(got[1], want[1] + 500, what="lse after all scores rose by 500", hint=HINT, **close)


@EVERY
def test_every_floating_dtype_works(rng, dtype):
    """Against float64. Tolerance: for out 2 roundings of the largest value (weights may be rounded to the inputs' dtype
    before they meet v); for lse 20 of the largest score in float32 (float64 for float64)."""
    q, k, v = qkv(rng, dim=3, dtype=dtype)
    out, lse = attend(q, k, v, causal=True, block_q=2, block_k=3)
    want = by_definition(q.double(), k.double(), v.double(), causal=True)
    what = f"in {dtype}"
    few = 2 if dtype in HALVES else 20
    expect_close(out, want[0].to(dtype), what=f"out {what}", hint=WIDE, **roundings(few, dtype, v))
    largest = (q.double() @ k.double().mT).abs().max()
    expect_close(lse, want[1].to(lse.dtype), what=f"lse {what}", hint=WIDE, **roundings(20, lse.dtype, largest))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_sums_over_blocks_do_not_run_in_half_precision(dtype):
    """33 keys that weigh the same, one in a block: 16 small values, then 1, then 16 small ones, each a quarter of the
    distance between 1 and the next number in the dtype, so that the last ones would be lost. Tolerance: one rounding."""
    v = torch.full((33, 1), torch.finfo(dtype).eps / 4, dtype=dtype)
    v[16] = 1.0
    out, lse = attend(torch.zeros(1, 4, dtype=dtype), torch.zeros(33, 4, dtype=dtype), v, block_k=1)
    want = v.double().mean(0, keepdim=True).to(dtype)
    what = f"out of 33 keys with equal scores, in blocks of one, in {dtype}"
    expect_close(
        out / want, torch.ones_like(out), what=f"{what}, over the mean of the values", hint=WIDE, **roundings(1, dtype)
    )
    what = f"lse of 33 keys with scores of 0, in {dtype}"
    expect_close(
        lse, numbers(math.log(33), dtype=torch.float32), what=what, hint=WIDE, **roundings(4, torch.float32, 4)
    )


@EVERY
def test_merge_survives_lse_of_any_size(dtype):
    """exp(100 000) overflows and exp(-100 000) is 0: only differences between the parts count. For some queries their lse
    are equal, for others far apart. Tolerance: what a rounding of 1e5 in the dtype of lse makes of a weight."""
    wide = torch.promote_types(dtype, torch.float32)
    a, b = numbers(1e5, -1e5, 1e5, -1e5, -math.inf, dtype=wide), numbers(1e5, -1e5, -1e5, 0, -1e5, dtype=wide)
    outs = torch.tensor([4.0, 4, 4, 4, 0], dtype=dtype)[:, None], torch.full((5, 1), 8.0, dtype=dtype)
    out, lse = merged(list(outs), [a, b])
    what = f"merged from 4 (lse {a.tolist()}) and 8 (lse {b.tolist()}), out in {dtype}"
    hint = "for each query, subtract the higher lse before exp"
    close = {"rtol": 0.0, "atol": 8 * (2e5 * torch.finfo(wide).eps + torch.finfo(dtype).eps)}
    want = torch.tensor([[6.0], [6], [4], [8], [8]], dtype=dtype)
    expect_close(out, want, what=f"out {what}", hint=hint, **close)
    best = torch.maximum(a, b) + math.log(2) * (a == b).to(wide)
    expect_close(lse, best, what=f"lse {what}", hint=hint, **roundings(2, wide, 1e5))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_merge_adds_up_in_float32(dtype):
    """33 parts of equal weight: 16 small outs, then 1, then 16 small ones. Tolerance: one rounding of the result."""
    values = [torch.finfo(dtype).eps / 4] * 16 + [1.0] + [torch.finfo(dtype).eps / 4] * 16
    outs = [torch.tensor([[value]], dtype=dtype) for value in values]
    out, lse = merged(outs, [torch.zeros(1)] * 33)
    want = torch.tensor([[sum(values) / 33]], dtype=dtype)
    what = f"out merged from 33 parts of equal lse in {dtype}, over the mean of their outs"
    hint = "add up in float32, and convert the sum"
    expect_close(out / want, torch.ones_like(out), what=what, hint=hint, **roundings(1, dtype))
    expect_close(lse, torch.full((1,), math.log(33)), what=f"lse of 33 parts in {dtype}", hint=hint)
