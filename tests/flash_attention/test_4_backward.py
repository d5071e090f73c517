"""Stage 4. The backward pass."""

import math

import pytest
import torch

from dojo.testing import (
    FLOATS,
    HALVES,
    expect,
    expect_close,
    expect_unchanged,
    numbers,
    randn,
    roundings,
)

from .helpers import BLOCKS, by_definition, gradients, merged, qkv, slopes

EVERY = pytest.mark.parametrize("dtype", FLOATS, ids=str)
HINT = "p = exp(s - lse); dscores = p (grad . v - grad . out); dq and dk take the scale, dv does not"
WIDE = "add up in float32, and convert at the end"


def test_a_worked_gradient():
    """q = 1, k = 0 and ln 3, v = 10 and 20: weights 1/4 and 3/4, out = 17.5. For grad = 1 dv is the weights, and the scores
    get 1/4 (10 - 17.5) = -1.875 and 3/4 (20 - 17.5) = 1.875, of which dk is q times and dq the sum with k."""
    q, k, v = numbers(1)[:, None], numbers(0, math.log(3))[:, None], numbers(10, 20)[:, None]
    grad, out, lse = numbers(1)[:, None], numbers(17.5)[:, None], numbers(math.log(4))
    for block_k in (64, 1):
        dq, dk, dv = gradients(grad, q, k, v, out, lse, scale=1.0, block_k=block_k)
        what = f"for q = 1, k = 0, ln 3, v = 10, 20, grad = 1, block_k={block_k}"
        expect_close(dv, numbers(0.25, 0.75)[:, None], what=f"dv {what}", hint="probs^T grad, probs = exp(s - lse)")
        hint = "a softmax's gradient is p (dp - the mean of dp, weighted by p), and that mean is grad . out"
        expect_close(dk, numbers(-1.875, 1.875)[:, None], what=f"dk {what}", hint=hint)
        expect_close(dq, numbers(1.875 * math.log(3))[:, None], what=f"dq {what}", hint=hint)


@pytest.mark.parametrize(("queries", "keys", "causal"), [(7, 10, False), (4, 10, True), (10, 7, True)])
@pytest.mark.parametrize("blocks", BLOCKS, ids=lambda b: f"blocks {b[0]}, {b[1]}")
def test_gradients_are_those_of_attention(rng, queries, keys, causal, blocks):
    """Against autograd through all scores at once. The queries and keys of every block add to dq, dk and dv. With 10
    causal queries on 7 keys, three of them see nothing, and get and give nothing."""
    q, k, v = qkv(rng, queries, keys)
    grad = randn(rng, 2, queries, 3)
    want = slopes(grad, q, k, v, causal=causal)
    got = gradients(
        grad, q, k, v, *by_definition(q, k, v, causal=causal), causal=causal, block_q=blocks[0], block_k=blocks[1]
    )
    what = f"of {queries} queries on {keys} keys, causal={causal}, block_q={blocks[0]}, block_k={blocks[1]}"
    for name, each, right in zip("qkv", got, want, strict=True):
        expect_close(each, right, what=f"d{name} {what}", hint=HINT)


@pytest.mark.parametrize(("batch", "scale"), [((), None), ((2, 3), 0.3), ((), 0.0)], ids=str)
def test_gradients_take_the_scale(rng, batch, scale):
    """Once. With scale=0, every key weighs the same whatever q and k are, so that they get no gradient."""
    q, k, v = qkv(rng, batch=batch, dim=9)
    grad = randn(rng, *batch, 7, 3)
    want = slopes(grad, q, k, v, scale=scale)
    got = gradients(grad, q, k, v, *by_definition(q, k, v, scale=scale), scale=scale, block_q=2, block_k=4)
    for name, each, right in zip("qkv", got, want, strict=True):
        expect_close(each, right, what=f"d{name} for scale={scale} and the batch dimensions {list(batch)}", hint=HINT)


def test_gradients_have_default_blocks(rng):
    """70 keys are more than one block of 64."""
    q, k, v = qkv(rng, 66, 70, batch=())
    grad = randn(rng, 66, 3)
    got, want = gradients(grad, q, k, v, *by_definition(q, k, v)), slopes(grad, q, k, v)
    for name, each, right in zip("qkv", got, want, strict=True):
        expect_close(each, right, what=f"d{name} of 66 queries on 70 keys, with the default blocks", hint=HINT)


def test_parts_of_the_keys_have_their_gradients(rng):
    """Ring attention: out and lse are merged from all parts, and each part finds its own dk and dv, and its share of dq."""
    q, k, v = qkv(rng)
    grad = randn(rng, 2, 7, 3)
    dq, dk, dv = slopes(grad, q, k, v)
    whole = by_definition(q, k, v)
    total = torch.zeros_like(q)
    hint = "use the out and lse that are given: they know all keys, k and v only a part"
    for part in (slice(0, 4), slice(4, 10)):
        got = gradients(grad, q, k[:, part], v[:, part], *whole, block_q=2, block_k=3)
        what = f"of the keys {part.start} to {part.stop - 1} of 10, with out and lse of all"
        expect_close(got[1], dk[:, part], what=f"dk {what}", hint=hint)
        expect_close(got[2], dv[:, part], what=f"dv {what}", hint=hint)
        total += got[0]
    expect_close(total, dq, what="dq, added up over two parts of the keys", hint=hint)
    parts = [by_definition(q, k[:, part], v[:, part]) for part in (slice(0, 4), slice(4, 10))]
    got = gradients(grad, q, k, v, *merged(*zip(*parts, strict=True)))
    expect_close(got[0], dq, what="dq from a merged out and lse", hint=hint)


def test_the_backward_pass_modifies_nothing(rng):
    """What is given may be given again, for another part of the keys. grad may be one number expanded, as it is after sum()."""
    q, k, v = (t.transpose(0, 1).contiguous().transpose(0, 1) for t in qkv(rng))
    grad, (out, lse) = torch.ones((), dtype=torch.float64).expand(2, 7, 3), by_definition(q, k, v, causal=True)
    with expect_unchanged(grad, q, k, v, out, lse, what="an argument"):
        got = gradients(grad, q, k, v, out, lse, causal=True, block_q=3, block_k=3)
    for name, each, right in zip("qkv", got, slopes(grad, q, k, v, causal=True), strict=True):
        expect_close(each, right, what=f"d{name} for an expanded grad and transposed inputs", hint=HINT)


def test_the_backward_pass_is_made_by_hand(rng):
    """No graph: under torch.inference_mode() autograd records nothing."""
    q, k, v = qkv(rng)
    given = randn(rng, 2, 7, 3), q, k, v, *by_definition(q, k, v)
    want = gradients(*given)
    try:
        with torch.inference_mode():
            got = gradients(*(t.clone() for t in given))
    except RuntimeError as error:
        expect(False, f"flash_backward should do without autograd, but needs it: {error}", hint=HINT)
    for name, each, right in zip("qkv", got, want, strict=True):
        expect_close(each.clone(), right, what=f"d{name} under torch.inference_mode()", hint=HINT)


@EVERY
def test_gradients_work_in_every_dtype(rng, dtype):
    """Against float64. Tolerance: 8 roundings of the largest number on the way: out is rounded to the dtype, and so may be
    the factors of the products."""
    q, k, v = qkv(rng, dtype=dtype)
    grad = randn(rng, 2, 7, 3, dtype=dtype)
    exact = [t.double() for t in (q, k, v)]
    out, lse = by_definition(*exact, causal=True)
    lse = lse.to(torch.promote_types(dtype, torch.float32))
    got = gradients(grad, q, k, v, out.to(dtype), lse, causal=True, block_q=3, block_k=3)
    for name, each, right in zip("qkv", got, slopes(grad.double(), *exact, causal=True), strict=True):
        largest = max(right.abs().max().item(), grad.abs().max().item() * v.abs().max().item())
        close = roundings(8, dtype, largest)
        expect_close(each, right.to(dtype), what=f"d{name} in {dtype}", hint=WIDE, **close)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_gradients_are_added_up_in_float32(dtype):
    """All scores are 0. The sums over 33 blocks have 16 small terms, then 1, then 16 small ones, each a quarter of the
    distance between 1 and the next number in the dtype. Tolerance: 2 roundings."""
    sizes = torch.full((33, 1), torch.finfo(dtype).eps / 4, dtype=dtype)
    sizes[16] = 1.0
    zero, one = torch.zeros(33, 1, dtype=dtype), torch.ones(1, 1, dtype=dtype)
    total = sizes.double().sum().to(dtype)
    close = roundings(2, dtype)
    hint = f"{WIDE}: over the blocks of queries for dk and dv, of keys for dq"
    # Two keys, v = 1 and -1, 33 queries: weights 1/2, out 0, and dscores = +-grad / 2.
    both, q = torch.cat([one, -one]), torch.ones(33, 1, dtype=dtype)
    lse = torch.full((33,), math.log(2))
    _, dk, dv = gradients(sizes, q, both * 0, both, zero, lse, scale=2.0, block_q=1, block_k=1)
    for name, got, want in (("dk", dk, both * total), ("dv", 2 * dv, both.abs() * total)):
        expect_close(got, want, what=f"{name} of 2 keys from 33 blocks of one query in {dtype}", hint=hint, **close)
    # 33 keys with v = 1, and 33 with v = -1 and k = 0: weights 1/66, out 0, and dscores = +-grad / 66.
    k, v = torch.cat([sizes, zero]), torch.cat([one.expand(33, 1), -one.expand(33, 1)])
    lse = torch.full((1,), math.log(66))
    dq, _, _ = gradients(66 * one, 0 * one, k, v, 0 * one, lse, scale=1.0, block_q=1, block_k=1)
    what = f"dq of one query from 66 blocks of one key in {dtype}"
    expect_close(dq, total[None, None], what=what, hint=hint, **close)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_grad_times_out_is_added_up_in_float32(dtype):
    """One key with the score 0, so that out = v = 258, and grad is 258, too. grad . out is 66 564: more than float16 holds,
    and bfloat16 has only 66 560. A softmax over one key is always 1, so that dk is 0."""
    one, loud = torch.ones(1, 1, dtype=dtype), torch.full((1, 1), 258.0, dtype=dtype)
    _, dk, _ = gradients(loud, one, 0 * one, loud, loud, torch.zeros(1), scale=1.0)
    hint = "convert grad and out to float32 before they are multiplied, as grad v^T is"
    expect_close(dk, 0 * one, what=f"dk in {dtype} of a single key, for grad = out = v = 258", hint=hint)


@EVERY
def test_gradients_survive_huge_scores(dtype):
    """Scores of +-200 704: one key has all the weight, so that dv is grad there and nothing else has a gradient. The first
    of 3 causal queries on 2 keys sees nothing. Tolerance: 2 roundings of a score in float32, as an exponent."""
    q, k = torch.full((3, 16), 224.0, dtype=dtype), torch.full((2, 16), 224.0, dtype=dtype)
    k[0] *= -1
    v, grad = torch.eye(2, dtype=dtype), torch.tensor([[64, 64], [3, 5], [2, -1]], dtype=dtype)
    out = torch.cat([torch.zeros(1, 2, dtype=dtype), v])
    lse = numbers(-math.inf, -200_704, 200_704, dtype=torch.promote_types(dtype, torch.float32))
    close = {"rtol": 0.0, "atol": 5 * max(torch.finfo(dtype).eps, 2 * 200_704 * torch.finfo(lse.dtype).eps)}
    hint = "exp(s - lse), and where lse is -inf subtract something finite: -inf - (-inf) is NaN"
    for block in (1, 64):
        got = gradients(grad, q, k, v, out, lse, causal=True, block_q=block, block_k=block)
        for name, each, want in zip("qkv", got, (0 * q, 0 * k, grad[1:]), strict=True):
            what = f"d{name} in {dtype} for scores of -200704, 200704, blocks of {block}"
            expect_close(each, want, what=what, hint=hint, **close)
