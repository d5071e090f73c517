"""Stage 3. Dtypes, uninitialised memory, no graph."""

import pytest
import torch

from dojo.testing import FLOATS, called_for, expect, expect_close, expect_equal, expect_no_graph, randn, roundings
from katas.paged_kv_cache import PagedKVCache

from .helpers import HEAD_DIM, HEADS, dense


def filled(rng, stored, given, lengths=(5, 2)):
    """A pool, its sequences' names, and their keys and values."""
    cache, held = PagedKVCache(6, 4, HEADS, HEAD_DIM, dtype=stored), {}
    for number, length in enumerate(lengths):
        held[number] = [randn(rng, length, HEADS, HEAD_DIM, dtype=given).transpose(0, 1) for _ in range(2)]
        cache.create(number)
        cache.append(number, *held[number])
    return cache, held


@pytest.mark.parametrize("stored", FLOATS, ids=lambda dtype: f"pool {dtype}")
def test_pool_and_queries_have_any_dtypes(rng, stored):
    """Keys and values are rounded to the pool's dtype; the attention is computed in q's. Tolerance: 8 roundings."""
    for dtype in FLOATS:
        cache, held = filled(rng, stored, dtype)
        q = randn(rng, len(held), HEADS, HEAD_DIM, dtype=dtype)
        what = f"the answers to queries in {dtype} from a pool in {stored}"
        with called_for(f"queries in {dtype} and a pool in {stored}"):
            got = cache.attend(list(held), q)
        hint = "cast k and v to the pool's dtype in append, and back to q's in attend"
        want = [dense(q[seq].double(), *(part.to(stored).double() for part in held[seq])) for seq in held]
        largest = max(float(v.abs().max()) for _, v in held.values())
        expect_close(got, torch.stack(want).to(dtype), what=what, hint=hint, **roundings(8, dtype, largest))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_copied_block_keeps_every_bit(rng, dtype):
    """One token of a shared block that is then copied: with one token the answer is its value."""
    cache = PagedKVCache(3, 4, HEADS, HEAD_DIM, dtype=dtype)
    k, v, q = (
        randn(rng, *shape, dtype=dtype) for shape in ((HEADS, 1, HEAD_DIM), (HEADS, 1, HEAD_DIM), (1, HEADS, HEAD_DIM))
    )
    cache.create("a")
    cache.append("a", k, v)
    cache.fork("a", "b")
    cache.append("b", -k, v)
    expect_equal(cache.attend(["a"], q), v.transpose(0, 1), what=f"the answer over one token, in {dtype}")
    want = dense(q[0].double(), *(torch.cat([x, y], 1).double() for x, y in ((k, -k), (v, v)))).to(dtype)[None]
    what = f"the fork's answer over two tokens of one value, in {dtype}"
    expect_close(cache.attend(["b"], q), want, what=what, **roundings(4, dtype, v))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_huge_logits_stay_finite(rng, dtype):
    """Logits up to 2e4, and all below -1e4: float16 holds them, not their exponentials. The largest takes all the weight."""
    for keys, hint in (([1.0, 25.0, -50.0], "torch.softmax"), ([-50.0, -30.0, -55.0], "mask with -inf, not with -1e4")):
        cache, v = PagedKVCache(2, 2, 1, 4, dtype=dtype), randn(rng, 1, 3, 4, dtype=dtype)
        k = torch.tensor(keys, dtype=dtype)[:, None].expand(1, 3, 4)
        cache.create("a")
        cache.append("a", k, v)
        got = cache.attend(["a"], torch.full((1, 1, 4), 200.0, dtype=dtype))
        what = f"the answer where the logits are {[400 * key for key in keys]}, in {dtype}"
        expect_close(got, v[None, :, 1], what=what, hint=hint)


def test_uninitialised_memory_has_no_influence(rng):
    """torch.empty may hold NaN, and a masked slot's weight 0 times NaN is NaN. Here torch fills such memory with NaN."""
    torch.set_deterministic_debug_mode("error")
    try:
        cache, held = filled(rng, torch.float64, torch.float64, (5, 2, 9))
    finally:
        torch.set_deterministic_debug_mode("default")
    q = randn(rng, 3, HEADS, HEAD_DIM)
    want = torch.stack([dense(q[seq], *held[seq]) for seq in held])
    hint = "begin with zeros, or leave slots beyond the length out of the values too"
    expect_close(cache.attend(list(held), q), want, what="the answers where free memory holds NaN", hint=hint)


def test_the_pool_carries_no_graph(rng):
    """In training mode too: a graph from token to token would keep every activation alive."""
    cache = PagedKVCache(4, 2, HEADS, HEAD_DIM, dtype=torch.float64)
    cache.create("a")
    k, v, q = randn(rng, HEADS, 3, HEAD_DIM), randn(rng, HEADS, 3, HEAD_DIM), randn(rng, 1, HEADS, HEAD_DIM)
    cache.append("a", k.requires_grad_(), v.requires_grad_())
    answer = cache.attend(["a"], q)
    expect_no_graph(answer, what="attend to keys that were appended with a graph")
    expect(torch.is_grad_enabled(), "gradients should be enabled after attend, but are off")
