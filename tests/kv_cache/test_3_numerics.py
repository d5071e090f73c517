"""Stage 3. Truncate, reorder, memory that was never written, dtypes, no graph."""

import pytest
import torch
from torch.nn import functional as F

from dojo.testing import (
    FLOATS,
    expect,
    expect_close,
    expect_no_graph,
    expect_raises,
    expect_unchanged,
    randn,
    roundings,
)
from katas.kv_cache import KVCache, cached_forward, generate

from .helpers import alone, cache_for, expect_lengths, expect_logits, feed, new_decoder, qkv, step, texts_of


def test_truncate_then_rewrite_is_as_if_never_written(rng):
    """Speculative decoding: 4 drafts are written, of which the rows keep 3, 0 and 4; then each goes on with a chunk."""
    decoder = new_decoder(rng)
    cache, texts = cache_for(decoder, 3), texts_of(rng, 8, 5, 8)
    feed(decoder, cache, [text[:2] for text in texts])
    feed(decoder, cache, [[*texts[0][2:5], 1], texts_of(rng, 4)[0], texts[2][2:6]])
    kept = torch.tensor([5, 2, 6])
    with expect_unchanged(kept, what="the lengths that truncate was given"):
        cache.truncate(kept)
        expect_lengths(cache, [5, 2, 6], when="after truncate")
        rows = feed(decoder, cache, [text[start:] for text, start in zip(texts, (5, 2, 6), strict=True)])
        hint = "the tail is forgotten: it is neither seen nor counted, and new tokens overwrite it"
        wanted = [alone(decoder, text)[start:] for text, start in zip(texts, (5, 2, 6), strict=True)]
        expect_logits(rows, wanted, note="after truncate", hint=hint)
    expect_lengths(cache, [8, 5, 8], when="after truncate and 3, 3 and 2 new tokens")
    cache.truncate(kept)
    kept.zero_()
    expect_lengths(cache, [5, 2, 6], when="after truncate, when the caller has changed its tensor", hint="copy it")


def test_what_lies_beyond_the_lengths_has_no_influence(rng):
    """Every place first holds 1e4, in keys and values. Whatever a mask lets through would drown the rest."""
    cache, full = KVCache(1, 2, 2, 6, 4, dtype=torch.float64), torch.tensor([6, 6])
    cache.write(0, *(1e4 * part for part in qkv(rng, 2, 6)[1:]), full)
    cache.advance(full)
    cache.truncate(torch.tensor([0, 0]))
    q, k, v = qkv(rng, 2, 4)
    counts = torch.tensor([3, 1])
    step(cache, q[:, :, :3], k[:, :, :3], v[:, :, :3], counts)
    cache.advance(counts)
    got = step(cache, q[:, :, 3:], k[:, :, 3:], v[:, :, 3:], torch.tensor([1, 1]))
    for row, places in enumerate(([0, 1, 2, 3], [0, 3])):
        want = F.scaled_dot_product_attention(q[row, :, 3:], k[row, :, places], v[row, :, places])
        hint = "a query sees the places up to its own, in its row; masked logits are -inf"
        expect_close(got[row], want, what=f"the answer in row {row} of a cache that was full before", hint=hint)


def test_uninitialised_memory_has_no_influence(rng):
    """torch.empty may return NaN, and a weight of 0 times NaN is NaN. Here every uninitialised float is one."""
    torch.set_deterministic_debug_mode("error")  # torch then fills uninitialised memory
    try:
        cache = KVCache(1, 2, 2, 6, 4, dtype=torch.float64)
    finally:
        torch.set_deterministic_debug_mode("default")
    q, k, v = qkv(rng, 2, 3)
    got = step(cache, q, k, v, torch.tensor([3, 2]))
    for row, count in enumerate((3, 2)):
        want = F.scaled_dot_product_attention(q[row], k[row], v[row], is_causal=True)[:, :count]
        hint = "allocate zeros, or never read what was not written"
        expect_close(got[row, :, :count], want, what=f"the answers in row {row} of a fresh cache", hint=hint)


@pytest.mark.parametrize("order", [[2, 0, 1], [1, 2, 2], [0, 0, 0], [1, 1, 2]], ids=str)
def test_reorder_is_as_if_the_rows_had_been_so_from_the_start(rng, order):
    """Beam search: some beams have several children, others none. Row after row in place would copy copies."""
    decoder = new_decoder(rng)
    cache, texts = cache_for(decoder, 3), texts_of(rng, 4, 2, 3)
    feed(decoder, cache, texts)
    rows = torch.tensor(order)
    with expect_unchanged(rows, what="rows"):
        cache.reorder(rows)
    expect_lengths(cache, [(4, 2, 3)[row] for row in order], when=f"after reorder({order})", hint="lengths move too")
    texts = [texts[row] + new for row, new in zip(order, texts_of(rng, 2, 1, 3), strict=True)]
    starts = [(4, 2, 3)[row] for row in order]
    got = feed(decoder, cache, [text[start:] for text, start in zip(texts, starts, strict=True)])
    want = [alone(decoder, text)[start:] for text, start in zip(texts, starts, strict=True)]
    hint = "keys, values and lengths of every layer, all of them copied before any is overwritten"
    expect_logits(got, want, note=f"after reorder({order})", hint=hint)


def test_rows_that_were_copied_go_separate_ways(rng):
    """Two children of one beam have a common past, not a common memory."""
    decoder = new_decoder(rng)
    cache, texts = cache_for(decoder, 2), texts_of(rng, 3, 3)
    feed(decoder, cache, texts)
    cache.reorder(torch.tensor([1, 1]))
    for token in (3, 7):
        children = [[token], [token + 1]]
        got = feed(decoder, cache, children)
        texts = [texts[1] + children[0], texts[1] + children[1]]
        want = [alone(decoder, text)[-1:] for text in texts]
        expect_logits(got, want, note="that was row 1", hint="copy; do not share")
        cache.truncate(torch.tensor([3, 3]))
        texts = [texts[0][:3], texts[1][:3]]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_floating_dtype_works(rng, dtype):
    """Cache and tokens in this dtype, unequal rows. Tolerance: 8 roundings of the largest value."""
    cache, counts = KVCache(1, 2, 2, 6, 4, dtype=dtype), torch.tensor([3, 1])
    q, k, v = qkv(rng, 2, 4, dtype=dtype)
    step(cache, q[:, :, :3], k[:, :, :3], v[:, :, :3], counts)
    cache.advance(counts)
    got = step(cache, q[:, :, 3:], k[:, :, 3:], v[:, :, 3:], torch.tensor([1, 1]))
    for row, places in enumerate(([0, 1, 2, 3], [0, 3])):
        exact = F.scaled_dot_product_attention(
            q[row, :, 3:].double(), k[row, :, places].double(), v[row, :, places].double()
        )
        what = f"the answer in row {row}, in {dtype}"
        expect_close(got[row], exact.to(dtype), what=what, **roundings(8, dtype, v))


@pytest.mark.parametrize("stored", FLOATS, ids=lambda dtype: f"cache {dtype}")
@pytest.mark.parametrize("dtype", FLOATS, ids=lambda dtype: f"queries {dtype}")
def test_the_cache_may_have_another_dtype(rng, stored, dtype):
    """Half of the bytes for a rounding of keys and values; the attention itself is computed in q's dtype."""
    cache, counts = KVCache(1, 2, 2, 6, 4, dtype=stored), torch.tensor([3, 3])
    q, k, v = qkv(rng, 2, 3, dtype=dtype)
    rounded = [part.to(stored).double() for part in (k, v)]
    want = F.scaled_dot_product_attention(q.double(), *rounded, is_causal=True).to(dtype)
    what = f"the answers to queries in {dtype} from a cache in {stored}"
    hint = "k and v are cast to the cache's dtype in write, and back to q's in attend"
    expect_close(step(cache, q, k, v, counts), want, what=what, hint=hint, **roundings(8, dtype, v))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_huge_logits_stay_finite(rng, dtype):
    """Logits around 2e4: float16 holds them, but not their exponentials. The largest takes all the weight."""
    cache, counts = KVCache(1, 1, 1, 4, 4, dtype=dtype), torch.tensor([3])
    q = torch.full((1, 1, 3, 4), 200.0, dtype=dtype)
    k = torch.tensor([1.0, 25.0, -50.0], dtype=dtype)[:, None].expand(1, 1, 3, 4)
    v = randn(rng, 1, 1, 3, 4, dtype=dtype)
    got = step(cache, q, k, v, counts)
    want = v[:, :, [0, 1, 1]]
    expect_close(got, want, what=f"the answers where one logit is far ahead, in {dtype}", hint="torch.softmax, -inf")


def test_the_cache_carries_no_graph(rng):
    """In training mode too: a graph from step to step would keep every activation alive, and grow."""
    decoder, texts = new_decoder(rng), texts_of(rng, 3, 2)
    cache = cache_for(decoder, 2)
    for number in range(2):
        logits = cached_forward(decoder, torch.tensor([[1, 2], [3, 4]]), torch.tensor([2, 1]), cache)
        expect_no_graph(logits, what=f"cached_forward, call {number + 1},")
    generate(decoder, texts, 3)
    expect(torch.is_grad_enabled(), "gradients should be enabled again after generate, but are off")
    cache, counts = KVCache(1, 2, 2, 4, 4, dtype=torch.float64), torch.tensor([2, 2])
    q, k, v = qkv(rng, 2, 2)
    answers = step(cache, q, k.requires_grad_(), v.requires_grad_(), counts)
    expect_no_graph(answers, what="attend to keys that were written with a graph")


def test_wrong_lengths_are_errors(rng):
    """What is not stored cannot be kept."""
    decoder = new_decoder(rng)
    cache, texts = cache_for(decoder, 2), texts_of(rng, 3, 2)
    feed(decoder, cache, texts)
    for lengths in ([4, 2], [3, 3], [-1, 2]):
        with expect_raises(ValueError, what=f"truncate({lengths}) of rows with 3 and 2 tokens"):
            cache.truncate(torch.tensor(lengths))
    expect_lengths(cache, [3, 2], when="after truncations that were refused")
    cache.truncate(torch.tensor([3, 0]))
    expect_lengths(cache, [3, 0], when="after truncate([3, 0])")
