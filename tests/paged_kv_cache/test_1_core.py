"""Stage 1. Append, tables, attention."""

import math

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, randn
from dojo.testing.describe import describe
from katas.paged_kv_cache import PagedKVCache

from .helpers import HEAD_DIM, HEADS, Tracked, dense, expect_free, expect_length, table_of

SPLITS = [(9,), (1,) * 9, (4, 5), (8, 1), (3, 1, 5), (2, 0, 7)]


def test_a_new_cache_has_all_blocks_free(rng):
    """An empty sequence needs none of them."""
    tracked = Tracked(rng, 5)
    expect_free(tracked, 5)
    tracked.create("a")
    expect_length(tracked, "a")
    expect_equal(tracked.cache.table("a"), [], what="the table of an empty sequence", hint="no token, no block")
    expect_free(tracked, 5)


def test_a_worked_example():
    """head_dim 1, blocks of one token. One token: its value, 10. Logits 0 and ln 3: 10 / 4 + 3 x 20 / 4 = 17.5."""
    cache = PagedKVCache(3, 1, 1, 1, dtype=torch.float64)
    cache.create("a")
    for number, (key, value, answer) in enumerate(((0.0, 10.0, 10.0), (math.log(3), 20.0, 17.5))):
        q, k, v = (torch.full((1, 1), size).double() for size in (1.0, key, value))
        cache.append("a", k[None], v[None])
        hint = "softmax over all tokens of the sequence, the newest included"
        expect_close(cache.attend(["a"], q[None])[0], torch.full_like(v, answer), what=f"answer {number}", hint=hint)


@pytest.mark.parametrize("block_size", [1, 3, 4])
def test_a_block_is_taken_when_the_last_one_is_full(rng, block_size):
    """Token by token. ceil(length / block_size) blocks, at exact multiples too; the table only grows, at its end."""
    tracked, before = Tracked(rng, 12, block_size), []
    for length in range(1, 10):
        tracked.append("a", 1)
        expect_length(tracked, "a")
        table = table_of(tracked, "a")
        what = f"the beginning of table('a') at {length} tokens"
        expect_equal(table[: len(before)], before, what=what, hint="what is stored stays in its blocks")
        expect_free(tracked, 12 - len(table), hint="each block of the table is taken, and no other")
        before = table


@pytest.mark.parametrize("split", SPLITS, ids=str)
def test_any_split_is_attention_over_the_whole(rng, split):
    """Nine tokens in blocks of four, in one call or in many; every table has one block that is not full."""
    tracked = Tracked(rng)
    for n in split:
        tracked.append("a", n)
        expect_length(tracked, "a")
        table_of(tracked, "a")
        tracked.answers("a", hint="token p: block table[p // block_size], slot p % block_size; attend to length tokens")


def test_other_sizes(rng):
    """Every size differs from every other one, so that no two can be taken for each other."""
    cache = PagedKVCache(7, 3, 2, 5, dtype=torch.float64)
    k, v, q = randn(rng, 2, 8, 5), randn(rng, 2, 8, 5), randn(rng, 1, 2, 5)
    cache.create("a")
    cache.append("a", k, v)
    hint = "k and v are [heads, n, head_dim]; a head's keys are nothing to another head"
    expect_close(cache.attend(["a"], q), dense(q[0], k, v)[None], what="attend with 2 heads of 5 numbers", hint=hint)


def test_each_sequence_has_its_own_blocks(rng):
    """Three sequences grow in turns. Their tables share nothing, and a batch may name them in any order."""
    tracked = Tracked(rng)
    for n in (3, 1, 2):
        for seq in ("a", "b", "c"):
            tracked.append(seq, n)
    tables = {seq: table_of(tracked, seq) for seq in "abc"}
    shared = [block for block in tables["a"] if block in tables["b"] + tables["c"]]
    expect(not shared, f"blocks {shared} stand in the tables of unrelated sequences: {tables}")
    expect_free(tracked, 6)
    tracked.answers("a", "b", "c", hint="row i of q is the query of seqs[i], over that sequence's own tokens")
    tracked.answers("c", "a", hint="row i of q is the query of seqs[i], not of the i-th sequence of the cache")


def test_what_was_given_is_stored_as_it_was(rng):
    """The pool holds copies: models reuse their buffers."""
    cache = PagedKVCache(3, 4, HEADS, HEAD_DIM, dtype=torch.float64)
    k, v, q = randn(rng, HEADS, 4, HEAD_DIM), randn(rng, HEADS, 4, HEAD_DIM), randn(rng, 1, HEADS, HEAD_DIM)
    want = dense(q[0], k, v)[None]
    cache.create("a")
    cache.append("a", k, v)
    k.zero_()
    v.zero_()
    expect_close(cache.attend(["a"], q), want, what="the answer after the caller has reused k and v", hint="copy")


def test_the_table_belongs_to_the_caller(rng):
    """A scheduler pads and edits it."""
    tracked = Tracked(rng)
    tracked.append("a", 6)
    table = table_of(tracked, "a")
    before = list(table)
    table.reverse()
    hint = "return a copy of the list"
    expect_equal(tracked.cache.table("a"), before, what="the table after the caller has changed the list", hint=hint)
    tracked.answers("a", hint=hint)


def test_attend_changes_nothing(rng):
    """Only append stores."""
    tracked = Tracked(rng)
    tracked.append("a", 3)
    before = table_of(tracked, "a")
    for _ in range(2):
        tracked.answers("a")
    expect_length(tracked, "a", hint="attend stores nothing")
    expect_equal(table_of(tracked, "a"), before, what="the table after attend")


def test_caches_share_nothing_and_number_alike(rng):
    """Two layers of a model: memory of their own, and the same tables, because the calls are the same."""
    layers = [Tracked(rng), Tracked(rng)]
    for seq, n in (("a", 5), ("b", 2), ("a", 4), ("b", 3)):
        for tracked in layers:
            tracked.append(seq, n)
    for tracked in layers:
        tracked.answers("a", "b", hint="another cache has a pool of its own")
    for seq in ("a", "b"):
        tables = [table_of(tracked, seq) for tracked in layers]
        what = f"the table of {seq!r} in the second of two caches that got equal calls"
        expect_equal(tables[1], tables[0], what=what, hint="choose blocks by a rule, not at random")


@pytest.mark.parametrize("names", [(0, ("user", 1)), ("", frozenset("x")), (None, 2.5)], ids=str)
def test_any_hashable_names_a_sequence(rng, names):
    """Numbers, tuples, an empty text, None."""
    tracked = Tracked(rng)
    for seq in names:
        tracked.append(seq, 3)
    for seq in names:
        got = tracked.cache.length(seq)
        expect(got == 3, f"length({seq!r}) should be 3, but is {describe(got)}", hint="look names up in a dict")
    tracked.answers(*names)
