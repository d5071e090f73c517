"""Stage 2. Free, a pool that runs out, many sequences, wrong arguments."""

import pytest
import torch

from dojo.testing import expect_close, expect_equal, expect_raises, randn
from katas.paged_kv_cache import PagedKVCache

from .helpers import HEAD_DIM, HEADS, Tracked, dense, expect_blocks, expect_free, expect_length, table_of


@pytest.mark.parametrize("lengths", [(1, 9, 4), (8, 3, 1), (5, 5, 12)], ids=str)
def test_a_batch_of_unequal_sequences(rng, lengths):
    """Each answer is over that sequence's own tokens; nothing is added by the longest one's, or by padding of tables."""
    tracked = Tracked(rng)
    for seq, length in zip("abc", lengths, strict=True):
        tracked.append(seq, length)
    tracked.check(hint="mask by each sequence's length, not by the longest one's")
    tracked.answers("c", "a", "c", hint="a sequence may be named twice")


def test_padding_of_tables_is_not_attended(rng):
    """Every block but the short sequences' holds 1e4, so whatever stands in for a missing block is loud."""
    tracked = Tracked(rng, 12)
    tracked.append("loud", 16, loud=1e4)
    for seq, n in (("a", 3), ("b", 4)):
        tracked.append(seq, n)
    tracked.append("loud", 14, loud=1e4)
    cache, q = tracked.cache, randn(rng, 3, HEADS, HEAD_DIM)
    got = cache.attend(["a", "loud", "b"], q)
    for row, seq in ((0, "a"), (2, "b")):
        want = dense(q[row], *tracked.held[seq])
        hint = "slots beyond a sequence's length get no weight, whichever block fills its table up"
        expect_close(got[row], want, what=f"the answer of {seq!r} beside a long sequence of 1e4", hint=hint)


def test_free_gives_the_blocks_back(rng):
    """And says which ones, so that an index of prefixes can forget them."""
    tracked = Tracked(rng, 6)
    for seq, n in (("a", 5), ("b", 9), ("c", 1)):
        tracked.append(seq, n)
    expect_free(tracked, 0)
    for seq, free in (("b", 3), ("a", 5)):
        table = table_of(tracked, seq)
        blocks = tracked.free(seq)
        expect_free(tracked, free, hint="free gives all of the sequence's blocks back")
        hint = "all of its blocks: no other sequence has them"
        expect_blocks(blocks, table, what=f"what free({seq!r}) returns", hint=hint)
        tracked.answers("c", hint="the other sequences keep their blocks")
    tracked.create("a")
    expect_length(tracked, "a", hint="a new sequence of an old name is empty")
    expect_equal(tracked.free("a"), [], what="what free returns for an empty sequence", hint="it has no block")


def test_after_all_are_freed_the_cache_is_as_new(rng):
    """Three times: blocks are neither lost nor listed twice."""
    tracked = Tracked(rng, 5)
    for _ in range(3):
        for seq, n in (("a", 7), ("b", 1), ("a", 2), ("b", 7)):
            tracked.append(seq, n)
        tracked.check()
        for seq in ("a", "b"):
            tracked.free(seq)
        expect_free(tracked, 5, hint="every block is free, and each is listed once")


def test_freed_tokens_leave_no_trace(rng):
    """The whole pool was full of 1e4."""
    tracked = Tracked(rng, 4)
    tracked.append("loud", 16, loud=1e4)
    tracked.free("loud")
    for seq, n in (("a", 5), ("b", 2)):
        tracked.append(seq, n)
    tracked.answers("a", "b", hint="attend to the sequence's own tokens alone, not to the rest of a block")


def test_the_pool_may_be_filled_to_the_last_slot(rng):
    """Four blocks of four hold sixteen tokens; and tokens for which a block has room need no free one."""
    tracked = Tracked(rng, 4)
    tracked.append("a", 7)
    tracked.append("b", 5)
    expect_free(tracked, 0)
    tracked.append("a", 1)
    tracked.append("b", 3)
    tracked.append("a", 0)
    tracked.check(hint="use the room in the last block before a new one is asked for")


@pytest.mark.parametrize("n", [2, 6, 40])
def test_a_pool_that_runs_out_changes_nothing(rng, n):
    """One block is free, and append needs it and more (or, at 2, all that was left is gone). A scheduler then frees another
    sequence and tries again, so nothing may be half done."""
    tracked = Tracked(rng, 4)
    tracked.append("a", 7)
    tracked.append("b", 8 if n == 2 else 3)
    free, table = tracked.cache.free_blocks, table_of(tracked, "a")
    k = randn(rng, HEADS, n, HEAD_DIM)
    with expect_raises(MemoryError, what=f"append of {n} tokens with {free} free blocks and room for 1"):
        tracked.cache.append("a", k, k)
    hint = "count the blocks that are missing before anything is taken or written"
    expect_length(tracked, "a", hint=hint)
    expect_equal(table_of(tracked, "a"), table, what="table('a') after a MemoryError", hint=hint)
    expect_free(tracked, free, hint=hint)
    tracked.check(hint=hint)
    tracked.free("b")
    tracked.append("a", 2)
    tracked.check(hint=hint)


def test_nothing_is_appended(rng):
    """No tokens need no block, in an empty sequence and in a full pool too."""
    tracked = Tracked(rng, 2)
    tracked.append("a", 0)
    expect_free(tracked, 2, hint="n = 0 takes no block")
    tracked.append("a", 8)
    tracked.append("a", 0)
    tracked.append("b", 0)
    tracked.check(hint="n = 0 changes nothing")


def test_wrong_arguments_are_errors(rng):
    """Unknown sequences, a name that exists, an answer over nothing, and sizes below 1."""
    tracked = Tracked(rng)
    tracked.append("a", 5)
    cache, k, q = tracked.cache, randn(rng, HEADS, 1, HEAD_DIM), randn(rng, 2, HEADS, HEAD_DIM)
    unknown = {
        "length": lambda: cache.length("x"),
        "table": lambda: cache.table("x"),
        "append": lambda: cache.append("x", k, k),
        "free": lambda: cache.free("x"),
        "attend": lambda: cache.attend(["a", "x"], q),
    }
    for name, call in unknown.items():
        with expect_raises(ValueError, what=f"{name} of a sequence that does not exist"):
            call()
    with expect_raises(ValueError, what="create of a sequence that exists", hint="it would forget what is stored"):
        cache.create("a")
    tracked.create("empty")
    with expect_raises(ValueError, what="attend of an empty sequence", hint="a softmax over nothing has no answer"):
        cache.attend(["a", "empty"], q)
    tracked.free("empty")
    with expect_raises(ValueError, what="a second free of one sequence", hint="its blocks would be listed twice"):
        cache.free("empty")
    tracked.check(hint="an error changes nothing")
    for position, name in enumerate(("blocks", "block_size", "heads", "head_dim")):
        for size in (0, -1):
            sizes = [2, 2, 2, 2]
            sizes[position] = size
            with expect_raises(ValueError, what=f"PagedKVCache with {name}={size}"):
                PagedKVCache(*sizes, dtype=torch.float64)
