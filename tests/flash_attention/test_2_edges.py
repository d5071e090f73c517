"""Stage 2. Short last blocks, causal, queries without a key, merge, wrong arguments."""

import math

import pytest
import torch

from dojo.testing import expect_close, expect_equal, expect_raises, expect_unchanged, numbers, randn
from katas.flash_attention import flash_attention, flash_backward, merge

from .helpers import BLOCKS, attend, by_definition, merged, qkv
from .probe import BACKWARD, FORWARD, MERGE, wrong_calls

INF = math.inf
EACH = pytest.mark.parametrize("blocks", BLOCKS, ids=lambda b: f"blocks {b[0]}, {b[1]}")
HINT_LAST = "what lies beyond the end of the last block is no key with a score of 0: cut the block, or hide it by -inf"
HINT_CAUSAL = "query i of T sees key j of S if j <= i + S - T, by their numbers in the whole, not in the block"
HINT_EMPTY = "out 0 and lse -inf: subtract a finite number where the maximum is -inf, and do not divide by 0"
HINT_MERGE = "weigh each out by exp(lse - the highest lse), and divide by the sum of these weights"


def test_a_short_last_block_holds_nothing_else(rng):
    """3 keys in blocks of 2, with scores of -9: a key of zeros in the empty place would take nearly everything."""
    q, k = numbers(3)[:, None], numbers(-3, -3, -3)[:, None]
    for block_k in (2, 64):
        out, lse = attend(q, k, numbers(1, 2, 3)[:, None], scale=1.0, block_k=block_k)
        what = f"for 3 keys with scores of -9 and block_k={block_k}"
        expect_close(out, numbers(2)[:, None], what=f"out {what}", hint=HINT_LAST)
        expect_close(lse, numbers(math.log(3) - 9), what=f"lse {what}", hint=HINT_LAST)


@EACH
@pytest.mark.parametrize(("queries", "keys"), [(7, 7), (1, 10), (4, 10)])
def test_no_query_sees_the_future(rng, queries, keys, blocks):
    """The last query stands at the last key, as in a decoder with a cache. Blocks cross the diagonal anywhere."""
    q, k, v = qkv(rng, queries, keys)
    out, lse = attend(q, k, v, causal=True, block_q=blocks[0], block_k=blocks[1])
    want = by_definition(q, k, v, causal=True)
    what = f"of {queries} causal queries on {keys} keys, block_q={blocks[0]}, block_k={blocks[1]}"
    expect_close(out, want[0], what=f"out {what}", hint=HINT_CAUSAL)
    expect_close(lse, want[1], what=f"lse {what}", hint=HINT_CAUSAL)


@EACH
@pytest.mark.parametrize(("queries", "keys"), [(10, 7), (3, 0)])
def test_queries_without_a_key_are_empty(rng, queries, keys, blocks):
    """Causal with more queries than keys: the first T - S see nothing. Some share a block with queries that do."""
    q, k, v = qkv(rng, queries, keys)
    out, lse = attend(q, k, v, causal=True, block_q=blocks[0], block_k=blocks[1])
    want = by_definition(q, k, v, causal=True)
    what = f"of {queries} causal queries on {keys} keys, block_q={blocks[0]}, block_k={blocks[1]},"
    none = queries - keys
    expect_equal(
        out[:, :none], torch.zeros(2, none, 3).double(), what=f"out {what} before the first key", hint=HINT_EMPTY
    )
    expect_equal(
        lse[:, :none], torch.full((2, none), -INF).double(), what=f"lse {what} before the first key", hint=HINT_EMPTY
    )
    expect_close(out[:, none:], want[0][:, none:], what=f"out {what} from the first key on", hint=HINT_CAUSAL)
    expect_close(lse[:, none:], want[1][:, none:], what=f"lse {what} from the first key on", hint=HINT_CAUSAL)


def test_without_causal_nothing_is_hidden(rng):
    """Whatever the sizes are; and without keys there is nothing to see, causal or not."""
    for queries, keys in ((10, 3), (3, 10)):
        q, k, v = qkv(rng, queries, keys)
        out, lse = attend(q, k, v, block_q=4, block_k=2)
        want = by_definition(q, k, v)
        expect_close(
            out, want[0], what=f"out of {queries} queries on {keys} keys", hint="hidden are only causal scores"
        )
        expect_close(
            lse, want[1], what=f"lse of {queries} queries on {keys} keys", hint="hidden are only causal scores"
        )
    out, lse = attend(*qkv(rng, 2, 0), block_q=1)
    expect_equal(out, torch.zeros(2, 2, 3).double(), what="out of 2 queries without keys", hint=HINT_EMPTY)
    expect_equal(lse, torch.full((2, 2), -INF).double(), what="lse of 2 queries without keys", hint=HINT_EMPTY)


def test_a_hidden_key_is_not_heard(rng):
    """Its value is loud, and its score the highest of all, yet earlier queries do not change."""
    q, k, v = qkv(rng, 6, 6)
    want = attend(q, k, v, causal=True, block_q=4, block_k=4)
    k, v = k.clone(), v.clone()
    k[:, 5], v[:, 5] = 1e4 * q[:, 4], 1e4
    got = attend(q, k, v, causal=True, block_q=4, block_k=4)
    for name, one, other in zip(("out", "lse"), got, want, strict=True):
        what = f"{name} of the queries 0 to 4, after key 5 became loud"
        expect_close(one[:, :5], other[:, :5], what=what, hint="hidden scores are -inf before the maximum is taken")


def test_two_halves_are_merged_by_their_weight():
    """One half has lse = ln 3 and answers 10, the other lse = ln 1 and answers 2: together 3/4 and 1/4, and ln 4."""
    parts = [numbers(10)[:, None], numbers(2)[:, None]], [numbers(math.log(3)), numbers(0)]
    out, lse = merged(*parts)
    expect_close(out, numbers(8)[:, None], what="merge of 10 (lse ln 3) and 2 (lse 0)", hint=HINT_MERGE)
    hint = "the parts' lse add up under the log: log(exp(a) + exp(b))"
    expect_close(lse, numbers(math.log(4)), what="lse of a merge of ln 3 and 0", hint=hint)


@pytest.mark.parametrize("sizes", [(1, 9), (4, 0, 3, 3)], ids=str)
def test_parts_of_the_keys_merge_to_the_whole(rng, sizes):
    """Any number of parts of any size, also one without keys, in any order."""
    q, k, v = qkv(rng, batch=(2, 2))
    want = by_definition(q, k, v)
    parts = [attend(q, *kv, block_k=2) for kv in zip(k.split(sizes, -2), v.split(sizes, -2), strict=True)]
    for order in (parts, parts[::-1]):
        outs, lses = zip(*order, strict=True)
        out, lse = merged(list(outs), list(lses))
        expect_close(out, want[0], what=f"out merged from parts of {sizes} keys, against the whole", hint=HINT_MERGE)
        expect_close(lse, want[1], what=f"lse merged from parts of {sizes} keys, against the whole", hint=HINT_MERGE)


def test_a_merge_can_be_merged_again(rng):
    """Parts arrive one by one in ring attention: ((a, b), c) is (a, b, c), and so is (a, (b, c))."""
    q, k, v = qkv(rng, keys=9)
    outs, lses = zip(*[attend(q, *kv) for kv in zip(k.split(3, 1), v.split(3, 1), strict=True)], strict=True)
    want = merged(outs, lses)
    left, right = merged(outs[:2], lses[:2]), merged(outs[1:], lses[1:])
    for name, got in (
        ("((a, b), c)", merged((left[0], outs[2]), (left[1], lses[2]))),
        ("(a, (b, c))", merged((outs[0], right[0]), (lses[0], right[1]))),
    ):
        expect_close(got[0], want[0], what=f"out of {name}, against (a, b, c)", hint=HINT_MERGE)
        expect_close(got[1], want[1], what=f"lse of {name}, against (a, b, c)", hint=HINT_MERGE)


def test_merging_with_nothing_changes_nothing(rng):
    """An empty part has out 0 and lse -inf. Only some queries of a part may be empty; where all parts are, so is the result."""
    out, lse = randn(rng, 2, 5, 3), 3 * randn(rng, 2, 5)
    lse[:, 0], out[:, 0] = -INF, 0.0
    nothing = torch.zeros_like(out), torch.full_like(lse, -INF)
    other = randn(rng, 2, 5, 3), nothing[1].clone()
    other[1][:, 2] = 1.0
    other[0][:, torch.tensor([0, 1, 3, 4])] = 0.0
    for name, parts in (("with an empty part", [(out, lse), nothing]), ("after an empty part", [nothing, (out, lse)])):
        got = merged(*map(list, zip(*parts, strict=True)))
        expect_close(got[0], out, what=f"out merged {name}; query 0 is empty in both", hint=HINT_EMPTY)
        expect_close(got[1], lse, what=f"lse merged {name}; query 0 is empty in both", hint=HINT_EMPTY)
    got = merged([out, other[0]], [lse, other[1]])
    kept = torch.tensor([0, 1, 3, 4])
    expect_close(got[0][:, kept], out[:, kept], what="out where the other part is empty", hint=HINT_EMPTY)
    expect_close(got[1][:, kept], lse[:, kept], what="lse where the other part is empty", hint=HINT_EMPTY)


def test_one_part_is_itself(rng):
    """And the batch dimensions may be none."""
    out, lse = randn(rng, 5, 3), randn(rng, 5)
    got = merged([out], [lse])
    expect_close(got[0], out, what="out of a merge of one part", hint=HINT_MERGE)
    expect_close(got[1], lse, what="lse of a merge of one part", hint=HINT_MERGE)


def test_the_parts_are_not_modified(rng):
    """Another device may still be reading them."""
    outs, lses = [randn(rng, 5, 3) for _ in range(3)], [randn(rng, 5) for _ in range(3)]
    with expect_unchanged(*outs, *lses, what="a part"):
        merged(outs, lses)


def test_wrong_blocks_and_shapes_are_errors():
    """A loop over blocks of 0 or of -1 ends in an error elsewhere, or runs over nothing. A batch of 1 would be broadcast."""
    for name, given, options in wrong_calls(FORWARD):
        with expect_raises(
            ValueError, what=f"flash_attention with {name}", hint="block_q, block_k >= 1; equal batch, dim, keys"
        ):
            flash_attention(*given, **options)


def test_parts_that_do_not_fit_are_an_error():
    """Broadcasting would merge them silently, and zip would drop some."""
    for name, parts, _ in wrong_calls(MERGE):
        with expect_raises(
            ValueError, what=f"merge with {name}", hint="at least one part, equal shapes, an lse for each"
        ):
            merge(*parts)


def test_wrong_arguments_of_the_backward_pass_are_errors():
    """An lse or a grad of another shape would be broadcast silently."""
    for name, given, options in wrong_calls(BACKWARD):
        with expect_raises(
            ValueError, what=f"flash_backward with {name}", hint="each shape is one that flash_attention has"
        ):
            flash_backward(*given, **options)
