"""Stage 3. Fork, copy on write, any order of calls."""

import pytest

from dojo.testing import expect_equal, expect_raises, randint, randn

from .helpers import HEAD_DIM, HEADS, Tracked, expect_blocks, expect_free, expect_length, table_of

COPY = "before a write: does another table hold this block? Then copy it, and write into the copy"


@pytest.mark.parametrize("length", [6, 8, 0])
def test_a_fork_shares_all_blocks(rng, length):
    """The last one too, full or not. Nothing is taken until somebody writes."""
    tracked = Tracked(rng)
    tracked.append("a", length)
    free = tracked.cache.free_blocks
    tracked.fork("a", "b")
    expect_length(tracked, "b", hint="the child has all of the parent's tokens")
    expect_equal(table_of(tracked, "b"), table_of(tracked, "a"), what="the table of a fork", hint="share, do not copy")
    expect_free(tracked, free, hint="a fork takes no block")
    tracked.check()


@pytest.mark.parametrize("first", ["child", "parent"])
@pytest.mark.parametrize("length", [6, 8])
def test_fork_and_diverge(rng, length, first):
    """Both go on with tokens of their own. With a block that is not full, the first to write gets a copy of it, and the other
    one, by then alone, writes where it is. Full blocks stay shared for good."""
    tracked = Tracked(rng)
    tracked.append("parent", length)
    tracked.fork("parent", "child")
    shared = table_of(tracked, "parent")
    second = "parent" if first == "child" else "child"
    tracked.append(first, 1)
    tracked.answers("parent", "child", hint=COPY)
    expect_equal(table_of(tracked, second), shared, what=f"table({second!r}) after the {first} wrote", hint=COPY)
    full = shared[: length // 4]
    what = f"the full blocks in table({first!r})"
    expect_equal(table_of(tracked, first)[: len(full)], full, what=what, hint="full blocks are never copied")
    expect_free(tracked, 12 - 3, hint="the write took one block: a copy, or a new one behind full ones")
    tracked.append(second, 1)
    own = 12 - (3 if length == 6 else 4)
    hint = "a block that one table holds is written to where it is: it is not shared any more"
    expect_free(tracked, own, hint=hint)
    what = f"the beginning of table({second!r}) after the {second} wrote"
    expect_equal(table_of(tracked, second)[: len(shared)], shared, what=what, hint=hint)
    for seq, n in ((first, 5), (second, 2)):
        tracked.append(seq, n)
    tracked.check(hint=COPY)


@pytest.mark.parametrize("length", [5, 8])
def test_many_forks_of_one_prompt(rng, length):
    """n samples of a prompt: its blocks are there once. Then each that writes into a shared block needs one more."""
    tracked, samples = Tracked(rng, 12), ["b", "c", "d"]
    tracked.append("a", length)
    for seq in samples:
        tracked.fork("a", seq)
    expect_free(tracked, 10, hint="n forks take no block")
    for seq in samples:
        tracked.append(seq, 1)
        tracked.check(hint=COPY)
    expect_free(tracked, 7, hint="one more block for each fork that wrote")
    tracked.append("a", 1)
    expect_free(tracked, 7 if length == 5 else 6, hint="the last one that holds a block writes into it")
    tracked.check(hint=COPY)


def test_forks_of_forks(rng):
    """A tree: each level writes a little, and what came before stays as it was."""
    tracked = Tracked(rng, 12)
    tracked.append("0", 3)
    for level in range(1, 5):
        tracked.fork(str(level - 1), str(level))
        tracked.append(str(level), 2)
        tracked.check(hint=COPY)
    tracked.append("0", 3)
    tracked.check(hint=COPY)


def test_a_shared_block_outlives_each_of_its_sequences(rng):
    """It is free when the last table that holds it is gone, and given away no earlier; and a last owner needs no copy."""
    for first, second in (("a", "b"), ("b", "a")):
        tracked = Tracked(rng, 4)
        tracked.append("a", 6)
        tracked.fork("a", "b")
        table = table_of(tracked, "a")
        blocks = tracked.free(first)
        expect_blocks(blocks, [], what=f"what free({first!r}) returns", hint=f"{second!r} still holds all blocks")
        expect_free(tracked, 2, hint=f"{second!r} still holds the blocks of {first!r}")
        tracked.append("c", 8, loud=1e4)  # takes whatever is free
        tracked.answers(second, hint="a block is free when nobody holds it: count, do not ask who created it")
        tracked.append(second, 1)
        hint = "this sequence alone holds its last block by now, so it writes there"
        expect_equal(
            table_of(tracked, second), table, what=f"table({second!r}), the last owner's, after append", hint=hint
        )
        blocks = tracked.free(second)
        expect_blocks(blocks, table, what=f"what free({second!r}) returns", hint="nobody else holds them any more")
        expect_free(tracked, 2, hint="each block is free once")


def test_free_after_a_copy_on_write(rng):
    """The copy and the block that it was made of have one owner each."""
    tracked = Tracked(rng, 4)
    tracked.append("a", 6)
    tracked.fork("a", "b")
    tracked.append("b", 1)
    full, last = table_of(tracked, "a")
    own = table_of(tracked, "b")[1]
    expect_blocks(tracked.free("a"), [last], what="what free returns for the parent", hint="the full block is shared")
    tracked.answers("b", hint="the child's blocks are not the parent's to give back")
    expect_blocks(tracked.free("b"), [full, own], what="what free returns for the child", hint="both are its alone now")
    expect_free(tracked, 4, hint="every block is free, and each once")


def test_no_token_copies_no_block(rng):
    """An append of 0 tokens writes nothing, so what is shared stays shared."""
    tracked = Tracked(rng, 2)
    tracked.append("a", 6)
    tracked.fork("a", "b")
    tracked.append("b", 0)
    expect_equal(table_of(tracked, "b"), table_of(tracked, "a"), what="a fork's table after an append of 0 tokens")
    tracked.check(hint="n = 0 changes nothing")


@pytest.mark.parametrize("n", [1, 3, 7])
def test_a_copy_needs_a_free_block_too(rng, n):
    """The copy, and new blocks behind it: one block too few, and nothing changes."""
    missing = 1 if n == 1 else 2 if n == 3 else 3  # of 4 slots in a block, 2 are taken
    tracked = Tracked(rng, 1 + missing)
    tracked.append("a", 2)
    tracked.fork("a", "b")
    tracked.append("c", 1)  # takes one of those that append would need
    table, k = table_of(tracked, "a"), randn(rng, HEADS, n, HEAD_DIM)
    what = f"append of {n} tokens to a shared block with room for 2, with {missing - 1} free blocks"
    with expect_raises(MemoryError, what=what, hint="count the copy too"):
        tracked.cache.append("b", k, k)
    hint = "count the copy and the new blocks before anything is taken or written"
    for seq in ("a", "b"):
        expect_equal(table_of(tracked, seq), table, what=f"table({seq!r}) after a MemoryError", hint=hint)
    tracked.check(hint=hint)
    tracked.free("c")
    tracked.append("b", n)
    tracked.check(hint="with one block more, the tokens have room")


def test_a_sequence_begins_with_blocks_of_another(rng):
    """create(seq, blocks) is how a prefix is used again: its full blocks are shared, and outlive their first owner."""
    tracked = Tracked(rng, 8)
    tracked.append("a", 10)
    prefix = table_of(tracked, "a")[:2]
    given = list(prefix)
    tracked.create("b", given, "a")
    expect_length(tracked, "b", hint="block_size tokens for each of the blocks")
    expect_free(tracked, 5, hint="create shares the blocks")
    given.clear()
    tracked.append("b", 3)
    expect_equal(
        table_of(tracked, "b")[:2], prefix, what="the beginning of table('b')", hint="the blocks that were given"
    )
    tracked.check()
    (last,) = table_of(tracked, "a")[2:]
    expect_blocks(tracked.free("a"), [last], what="what free returns for the first owner", hint="two blocks are shared")
    tracked.append("c", 12, loud=1e4)
    tracked.answers("b", hint="a block that create was given counts as held")
    tracked.free("b")
    expect_free(tracked, 5)


@pytest.mark.parametrize("block_size", [1, 3])
def test_any_order_of_calls(rng, block_size):
    """Sixty random calls. Free blocks and the blocks in tables are all blocks; every answer is that over the own tokens."""
    tracked = Tracked(rng, 16, block_size)
    for number in range(60):
        action, pick, n = randint(rng, 0, 2**16, 3).tolist()
        names = list(tracked.held)
        seq = names[pick % len(names)] if names else "0"
        if not names or action % 8 == 0:
            tracked.create(f"{number}")
        elif action % 8 == 1:
            tracked.fork(seq, f"{number}")
        elif action % 8 == 2 or tracked.cache.free_blocks < 7:
            tracked.free(seq)
        else:
            tracked.append(seq, n % (5 * block_size + 1))
        tracked.check(hint=COPY)


def test_wrong_forks_are_errors(rng):
    """A parent that does not exist, a child that does, and blocks that nobody holds."""
    tracked = Tracked(rng, 4)
    tracked.append("a", 6)
    tracked.append("b", 1)
    cache = tracked.cache
    with expect_raises(ValueError, what="fork of a sequence that does not exist"):
        cache.fork("x", "c")
    for parent, child in (("a", "b"), ("a", "a")):
        with expect_raises(ValueError, what=f"fork({parent!r}, {child!r}) where {child!r} exists"):
            cache.fork(parent, child)
    used = table_of(tracked, "a")
    (free,) = {0, 1, 2, 3} - {*used, *table_of(tracked, "b")}
    for block in (free, 4, -1):
        with expect_raises(ValueError, what=f"create('c', [{used[0]}, {block}]), of which no table holds {block}"):
            cache.create("c", [used[0], block])
    with expect_raises(ValueError, what="create of a sequence that exists, with blocks"):
        cache.create("b", used[:1])
    with expect_raises(ValueError, what="length of a sequence whose create or fork was refused"):
        cache.length("c")
    tracked.check(hint="an error changes nothing, no count either")
    tracked.append("b", 4)
    with expect_raises(
        ValueError, what="create('c', [-1]) where all blocks are held", hint="blocks are numbered from 0"
    ):
        cache.create("c", [-1])
    tracked.free("a")
    expect_free(tracked, 2, hint="an error changes nothing, no count either")
