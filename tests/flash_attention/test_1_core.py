"""Stage 1. The forward pass, for blocks of any size."""

import inspect
import math

import pytest
import torch

from dojo.testing import expect, expect_close, expect_own_work, expect_unchanged, numbers
from katas import flash_attention as kata

from .helpers import BLOCKS, attend, by_definition, qkv
from .probe import FORBIDDEN

HINT = "when the maximum rises, what was summed before shrinks by exp(old - new): the sum of exponentials and that of values"
AT_ONCE = "softmax(scale q k^T) v, and the natural log of the sum of exp(scale q k^T)"
EACH = pytest.mark.parametrize("blocks", BLOCKS, ids=lambda b: f"blocks {b[0]}, {b[1]}")


def scored(*scores):
    """q, k for one query of size 1 that has these scores with scale=1, and keys of their own."""
    return numbers(1)[:, None], numbers(*scores)[:, None]


def test_one_block_is_a_softmax():
    """Scores ln 1 and ln 3: weights 1/4 and 3/4 of the values 10 and 20, and lse = ln 4."""
    q, k = scored(0, math.log(3))
    out, lse = attend(q, k, numbers(10, 20)[:, None], scale=1.0)
    what = "for the scores 0 and ln 3 and the values 10 and 20, in one block"
    expect_close(out, numbers(17.5)[:, None], what=f"out {what}", hint="the mean of the values, weighted by softmax")
    hint = "the log of the sum of exp(score), natural: the maximum and the log of the shifted sum"
    expect_close(lse, numbers(math.log(4)), what=f"lse {what}", hint=hint)


@pytest.mark.parametrize("order", ["rising", "falling", "highest in the middle"])
def test_one_key_at_a_time(order):
    """Scores ln 1, ln 2, ln 5: weights 1/8, 2/8, 5/8 and lse = ln 8, whichever comes first. Rising scores raise the
    maximum with every block; falling ones never do."""
    odds = {"rising": (1, 2, 5), "falling": (5, 2, 1), "highest in the middle": (1, 5, 2)}[order]
    q, k = scored(*(math.log(each) for each in odds))
    v = numbers(*(80 * (each == 1) + 8 * (each == 2) for each in odds))[:, None]
    what = f"for the scores ln {odds[0]}, ln {odds[1]}, ln {odds[2]}, in blocks of one key"
    out, lse = attend(q, k, v, scale=1.0, block_k=1)
    expect_close(out, numbers(12)[:, None], what=f"out {what}", hint=HINT)
    expect_close(lse, numbers(math.log(8)), what=f"lse {what}", hint=HINT)


def test_the_inputs_are_not_modified(rng):
    """k and v are a cache, and everything is needed again in the backward pass."""
    q, k, v = qkv(rng)
    with expect_unchanged(q, k, v, what="q, k or v"):
        attend(q, k, v, scale=0.3, block_q=2, block_k=3)


@EACH
def test_blocks_of_any_size_give_exact_attention(rng, blocks):
    """7 queries, 10 keys: blocks of single rows, blocks that divide them and that do not, longer than everything."""
    q, k, v = qkv(rng)
    out, lse = attend(q, k, v, block_q=blocks[0], block_k=blocks[1])
    want = by_definition(q, k, v)
    what = f"of 7 queries and 10 keys with block_q={blocks[0]}, block_k={blocks[1]}, against all scores at once"
    hint = f"{HINT}; the last block may be short" if blocks[1] < 10 else AT_ONCE
    expect_close(out, want[0], what=f"out {what}", hint=hint)
    expect_close(lse, want[1], what=f"lse {what}", hint=hint)


def test_block_sizes_have_defaults(rng):
    """70 keys are more than one block of 64."""
    for name in ("flash_attention", "flash_backward"):
        parameters = inspect.signature(getattr(kata, name)).parameters
        for block in {"block_q", "block_k"} & set(parameters):
            given = parameters[block].default
            expect(given == 64, f"the default {block} of {name} should stay 64, but is {given}")
    q, k, v = qkv(rng, 66, 70, batch=())
    out, lse = attend(q, k, v)
    want = by_definition(q, k, v)
    expect_close(out, want[0], what="out of 66 queries and 70 keys, with the default blocks", hint=HINT)
    expect_close(lse, want[1], what="lse of 66 queries and 70 keys, with the default blocks", hint=HINT)


@pytest.mark.parametrize(("dim", "scale"), [(4, None), (9, None), (9, 0.1), (4, 0.0)])
def test_scores_are_scaled(rng, dim, scale):
    """By 1 / sqrt(dim), or by what is given; with 0 all keys weigh the same. lse is that of the scaled scores."""
    q, k, v = qkv(rng, dim=dim)
    out, lse = attend(q, k, v, scale=scale, block_k=3)
    want = by_definition(q, k, v, scale=scale)
    hint = "None, and only None, stands for 1 / sqrt(dim), dim the size of q and k; scale once, before the maximum"
    expect_close(out, want[0], what=f"out for dim={dim}, scale={scale}", hint=hint)
    expect_close(lse, want[1], what=f"lse for dim={dim}, scale={scale}", hint=hint)


@pytest.mark.parametrize("batch", [(), (3,), (2, 1, 2)], ids=lambda b: str(list(b)))
def test_any_batch_dimensions(rng, batch):
    """None, or several, as batch and heads are."""
    q, k, v = qkv(rng, batch=batch)
    out, lse = attend(q, k, v, block_q=2, block_k=3)
    want = by_definition(q, k, v)
    hint = "index from the end: [..., rows, :], .mT, amax(-1); each sample has its own maximum"
    expect_close(out, want[0], what=f"out for the batch dimensions {list(batch)}", hint=hint)
    expect_close(lse, want[1], what=f"lse for the batch dimensions {list(batch)}", hint=hint)


def test_sizes_that_are_all_equal_are_kept_apart(rng):
    """3 samples, 3 queries, 3 keys, size 3: no wrong axis raises an error."""
    q, k, v = qkv(rng, 3, 3, batch=(3,), dim=3)
    out, lse = attend(q, k, v, block_q=3, block_k=1)
    want = by_definition(q, k, v)
    expect_close(out, want[0], what="out where all sizes are 3", hint=AT_ONCE)
    expect_close(lse, want[1], what="lse where all sizes are 3", hint=AT_ONCE)


def test_inputs_may_lie_in_memory_as_they_like(rng):
    """Heads come as a transpose of [batch, n, heads, dim]."""
    q, k, v = qkv(rng, batch=(2, 3))
    want = by_definition(q, k, v)
    q, k, v = (t.transpose(1, 2).contiguous().transpose(1, 2) for t in (q, k, v))
    out, lse = attend(q, k, v, block_q=2, block_k=3)
    hint = "reshape, not view, where the memory may be in another order"
    expect_close(out, want[0], what="out of transposed inputs", hint=hint)
    expect_close(lse, want[1], what="lse of transposed inputs", hint=hint)


def test_the_order_of_the_keys_does_not_matter(rng):
    """Attention is a sum over keys: in another order they fall into other blocks, and the result is the same."""
    q, k, v = qkv(rng)
    out, lse = attend(q, k, v, block_k=3)
    order = torch.randperm(10, generator=rng)
    again = attend(q, k[:, order], v[:, order], block_k=3)
    expect_close(again[0], out, what=f"out with the keys in the order {order.tolist()}", hint=HINT)
    expect_close(again[1], lse, what=f"lse with the keys in the order {order.tolist()}", hint=HINT)


def test_the_work_is_your_own(rng):
    """One call of torch's own attention would be the answer."""
    attend(*qkv(rng))
    expect_own_work(kata, FORBIDDEN)
