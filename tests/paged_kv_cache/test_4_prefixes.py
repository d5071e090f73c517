"""Stage 4. The index of prefixes."""

import pytest

from dojo.testing import expect_equal, expect_raises, randint
from katas.paged_kv_cache import PrefixIndex

from .helpers import Tracked, expect_free, table_of

TEXT = [5, 3, 8, 1, 9, 2, 6, 4, 7, 0]
LAST = "of a prompt of n tokens, at most (n - 1) // block_size blocks: its last token must be computed"


def index_of(*chains, block_size=2):
    """An index with these pairs of tokens and blocks."""
    index = PrefixIndex(block_size)
    for tokens, blocks in chains:
        index.insert(tokens, blocks)
    return index


def expect_lookup(index, tokens, blocks, *, note, hint):
    expect_equal(index.lookup(tokens), blocks, what=f"lookup({tokens}) {note}", hint=hint)


def test_lookup_finds_the_longest_prefix():
    """Block by block from the beginning; one other token ends it there."""
    index = index_of((TEXT, [4, 0, 7, 2, 9]))
    note = f"after insert({TEXT}, [4, 0, 7, 2, 9]) with block_size=2"
    expect_lookup(index, [*TEXT, 1], [4, 0, 7, 2, 9], note=note, hint="all five blocks are known")
    for place in range(len(TEXT)):
        tokens = [*TEXT, 1]
        tokens[place] = 11
        want = [4, 0, 7, 2, 9][: place // 2]
        expect_lookup(index, tokens, want, note=note, hint="stop at the first block that is not known")
    gap = [*TEXT[:2], 11, 12, *TEXT[2:6]]
    expect_lookup(index, gap, [4], note=note, hint="nothing is found behind a block that is not known")
    expect_lookup(PrefixIndex(2), TEXT, [], note="in a new index", hint="an index begins empty, and shares nothing")
    expect_lookup(index, [8, 1, 9, 2], [], note=note, hint="a prefix begins at the first token")


def test_the_last_token_of_a_prompt_is_computed():
    """Without it there are no logits. So of a prompt that is known as a whole, the last block is left out."""
    index = index_of((TEXT[:6], [4, 0, 7]))
    for length, want in ((7, [4, 0, 7]), (6, [4, 0]), (5, [4, 0]), (4, [4]), (3, [4]), (2, []), (1, []), (0, [])):
        note = f"after insert({TEXT[:6]}, [4, 0, 7]) with block_size=2"
        expect_lookup(index, TEXT[:length], want, note=note, hint=LAST)
    one = index_of((TEXT[:3], [2, 1, 0]), block_size=1)
    expect_lookup(one, TEXT[:3], [2, 1], note="of a known prompt with block_size=1", hint=LAST)


def test_only_full_blocks_are_known():
    """A block that is not full will get other tokens."""
    for length in (3, 5):
        index = index_of((TEXT[:length], [4, 0, 7][: (length + 1) // 2]))
        want = [4, 0, 7][: length // 2]
        note = f"after {length} tokens were inserted with block_size=2"
        expect_lookup(index, TEXT, want, note=note, hint="the last block is full only at a multiple of block_size")
        for more in ([11], [11, 12]):
            hint = "the last block is full only at a multiple of block_size"
            expect_lookup(index, [*TEXT[:length], *more], want, note=note, hint=hint)


def test_a_block_is_known_by_all_tokens_before_it():
    """Keys and values of a token depend on what came before; the same words after another beginning are other ones."""
    index = index_of(([1, 2, 3, 4], [0, 1]), ([5, 6, 3, 4], [2, 3]))
    note = "after insert([1, 2, 3, 4], [0, 1]) and insert([5, 6, 3, 4], [2, 3])"
    hint = "the key of a block is its own tokens and what stands before it"
    for tokens, want in (([1, 2, 3, 4, 9], [0, 1]), ([5, 6, 3, 4, 9], [2, 3]), ([3, 4, 3, 4, 9], []), ([3, 4, 9], [])):
        expect_lookup(index, tokens, want, note=note, hint=hint)
    repeated = index_of(([1, 2, 1, 2, 1, 2], [6, 5, 4]))
    note = "after insert([1, 2, 1, 2, 1, 2], [6, 5, 4])"
    expect_lookup(repeated, [1, 2, 1, 2, 1, 2, 1, 2, 9], [6, 5, 4], note=note, hint=hint)


def test_prefixes_branch_and_grow():
    """Two prompts with one beginning, one of which goes on. What is known keeps its block."""
    index = index_of(([1, 2, 3, 4], [0, 1]), ([1, 2, 5, 6], [0, 2]))
    index.insert([1, 2, 3, 4, 7, 8], [0, 1, 3])
    hint = "insert adds to what is known"
    for tokens, want in (([1, 2, 3, 4, 7, 8, 9], [0, 1, 3]), ([1, 2, 5, 6, 7, 8, 9], [0, 2])):
        expect_lookup(index, tokens, want, note="after three inserts", hint=hint)
    note, hint = "after the prefix was inserted with blocks [8, 9] too", "a known prefix keeps the block that it has"
    for blocks in ([8, 9], [0, 1]):
        index.insert([1, 2, 3, 4], blocks)
        expect_lookup(index, [1, 2, 3, 4, 9], [0, 1], note=note, hint=hint)
    index.evict(9)
    expect_lookup(index, [1, 2, 3, 4, 9], [0, 1], note="after evict(9), which is not known", hint=hint)


def test_an_evicted_block_is_not_found():
    """It goes back to the pool and gets other tokens. Behind it nothing is found either, since a prefix has no gap."""
    for block, want in ((7, [4, 0]), (0, [4]), (4, [])):
        index = index_of((TEXT[:6], [4, 0, 7]))
        index.evict(block)
        index.evict(11)  # of a sequence that was never inserted
        note = f"after blocks [4, 0, 7] were inserted and evict({block})"
        expect_lookup(index, TEXT, want, note=note, hint="forget the block; the chain ends before it")
        expect_lookup(index, TEXT[2:], [], note=note, hint="a block is found only behind all tokens before it")
        index.evict(7)
        index.evict(block)
        note = f"after blocks [4, 0, 7] were inserted, and evict({block}) and evict(7)"
        expect_lookup(index, TEXT, want, note=note, hint="a block that is not known any more may be evicted too")
        index.insert(TEXT[:6], [4, 0, 7])
        expect_lookup(index, TEXT, [4, 0, 7], note="after the same were inserted again", hint="as if they were new")


def test_a_block_that_is_used_anew_has_no_children():
    """Block 0 is evicted and gets other tokens, while block 1 is still known, behind the old ones."""
    index = index_of(([1, 2, 3, 4], [0, 1]))
    index.evict(0)
    index.insert([5, 6], [0])
    hint = "a block's parent is a prefix of tokens, not the number of a block, which is used again"
    note = "after insert([1, 2, 3, 4], [0, 1]), evict(0) and insert([5, 6], [0])"
    expect_lookup(index, [5, 6, 3, 4, 9], [0], note=note, hint=hint)
    expect_lookup(index, [1, 2, 3, 4, 9], [], note=note, hint="block 0 holds other tokens by now")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([-1, 5], [-2, 5]),
        ([3, 5], [5, 3]),
        ([4, 4], [3, 5]),
        ([-3, 5], [3, 5]),
        ([1, 12], [11, 2]),
        ([3, 5], [65539, 5]),
    ],
    ids=str,
)
def test_tokens_are_compared_not_hashes(one, other):
    """Placeholders of images are negative, and hash(-1) is hash(-2) in Python; the others have equal sums,
    digits or lowest bits. Another user's prompt would be found."""
    index = index_of((one, [4]))
    hint = "compare the tokens themselves, as a dict does with a tuple of them for its key"
    expect_lookup(index, [*other, 9], [], note=f"after insert({one}, [4])", hint=hint)
    expect_lookup(index, [*one, 9], [4], note=f"after insert({one}, [4])", hint=hint)
    index.insert(other, [6])
    for tokens, block in ((one, 4), (other, 6)):
        expect_lookup(index, [*tokens, 9], [block], note=f"after {one} in block 4 and {other} in block 6", hint=hint)


def test_what_lookup_returns_belongs_to_the_caller():
    """And the tokens that were inserted belong to theirs. Tuples are sequences too."""
    text, blocks = TEXT[:4], [3, 1]
    index = index_of((text, blocks))
    text[0] = blocks[0] = 11
    for _ in range(2):
        found = index.lookup(tuple(TEXT))
        expect_equal(found, [3, 1], what="lookup of the tokens as a tuple", hint="keep copies, and return a new list")
        found.clear()
    found = index.lookup(TEXT)
    index.lookup([9])
    expect_equal(found, [3, 1], what="an earlier list of lookup after another lookup", hint="return a new list")


def test_a_prefix_is_served_from_the_cache(rng):
    """The index and the cache together: a second prompt shares two blocks of the first one, and computes the rest."""
    tracked, index, text = Tracked(rng, 6), PrefixIndex(4), randint(rng, 0, 50, 10).tolist()
    tracked.append("a", 10)
    index.insert(text, table_of(tracked, "a"))
    known = index.lookup([*text[:9], 51, 52])
    expect_equal(
        known, table_of(tracked, "a")[:2], what="lookup of a prompt with 9 equal tokens", hint="two full blocks"
    )
    tracked.create("b", known, "a")
    tracked.append("b", 3)
    tracked.check()
    for seq, want in (("a", known), ("b", [])):
        for block in tracked.free(seq):
            index.evict(block)
        what = f"lookup after free({seq!r}) and evict of the blocks that it returned"
        expect_equal(index.lookup([*text[:9], 51]), want, what=what, hint="free returns those that nobody holds now")
    expect_free(tracked, 6)


def test_a_wrong_block_size_is_an_error():
    """No tokens fit into such blocks."""
    for block_size in (0, -1):
        with expect_raises(ValueError, what=f"PrefixIndex({block_size})"):
            PrefixIndex(block_size)
    index = index_of(([7, 8], [1, 0]), block_size=1)
    expect_equal(index.lookup([7, 8, 9]), [1, 0], what="lookup with block_size=1", hint="blocks of one token are right")
