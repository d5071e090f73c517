"""Stage 4. What the forward pass costs."""

import pytest

from dojo.testing import expect, expect_flat_operators, randn
from dojo.testing.alive import Alive
from katas.flash_attention import flash_attention, flash_backward

from .helpers import attend, by_definition, gradients, tiles_seen

HINT_SKIP = "query i of a block sees nothing beyond key i + S - T: end the loop over the keys at the block's last query"
HINT_TILE = "one tile at a time: slices of k and v, and nothing of the size of queries x keys, masks included"


def at_scale(rng, queries, keys, dim=8, batch=2):
    """q, k and v in float32, all of one size."""
    return [randn(rng, batch, n, dim).float() for n in (queries, keys, keys)]


@pytest.mark.parametrize("causal", [False, True], ids=["plain", "causal"])
def test_no_tensor_has_queries_x_keys_numbers(rng, cost, causal):
    """32 queries and keys, blocks of 16 and 4: a tile has 64 scores a sample, all queries with a block of keys 128, and
    all keys 1024. Not even a block of queries with all keys, 512, may exist at a time."""
    q, k, v = at_scale(rng, 32, 32, dim=4)
    with cost() as spent:
        attend(q, k, v, causal=causal, block_q=16, block_k=4)
    most = 2 * 32 * 4
    sentence = (
        f"the largest tensor should have at most {most} elements (batch x queries x block_k), but has {spent.largest}"
    )
    expect(spent.largest <= most, sentence, hint=HINT_TILE)


def test_each_score_is_computed_once(rng, cost):
    """2 queries keys (dim + value_dim) FLOPs for each sample. A first pass for the maximum would need half as many again."""
    q, k, v = at_scale(rng, 32, 32)
    with cost() as spent:
        attend(q, k, v, block_q=16, block_k=8)
    work = spent.flops / (2 * 2 * 32 * 32 * (8 + 8))
    sentence = f"torch operators should do the work, but only {work:.2f}x its FLOPs were seen"
    expect(work >= 0.99, sentence, hint="q k^T and weights v are matrix products")
    sentence = f"the forward pass should take q k^T and weights v once, but took {work:.2f}x their FLOPs"
    expect(work <= 1.02, sentence, hint="one pass over the keys: what is summed is rescaled when the maximum rises")


@pytest.mark.parametrize(("queries", "keys", "blocks"), [(16, 16, (4, 4)), (8, 16, (4, 2)), (16, 8, (2, 4))])
def test_tiles_that_are_hidden_are_skipped(rng, cost, queries, keys, blocks):
    """With 4 x 4 tiles 6 of 16 lie wholly in the future, and their scores need no product."""
    q, k, v = at_scale(rng, queries, keys)
    with cost() as spent:
        attend(q, k, v, causal=True, block_q=blocks[0], block_k=blocks[1])
    tiles, seen = tiles_seen(queries, keys, *blocks)
    unit = 2 * 2 * (8 + 8)
    what = f"of {queries} causal queries on {keys} keys in blocks of {blocks[0]} and {blocks[1]}"
    sentence = (
        f"every score {what} that counts should be computed, but FLOPs were seen for {spent.flops // unit} of {seen}"
    )
    expect(spent.flops >= 0.99 * unit * seen, sentence, hint="do not skip the tiles on the diagonal")
    scores = tiles * blocks[0] * blocks[1]
    sentence = f"{scores} scores {what} lie in tiles that anything sees, but FLOPs were spent on {spent.flops // unit}"
    expect(spent.flops <= 1.01 * unit * scores, sentence, hint=HINT_SKIP)


def test_memory_grows_with_the_length_alone(rng):
    """With twice the queries and keys, twice as much exists at a time; tiles that are kept in a list make it four times."""
    peaks = []
    for n in (32, 64):
        with Alive() as alive:
            attend(*at_scale(rng, n, n, dim=2), causal=True, block_q=16, block_k=8)
        peaks.append(alive.peak)
    sentence = (
        f"{peaks[0]} numbers exist at a time for 32 queries and keys, and for 64 at most 2.5 times as many should"
    )
    hint = "forget a tile before the next, and make no mask [queries, keys]"
    expect(peaks[1] <= 2.5 * peaks[0], f"{sentence}, but {peaks[1]} do", hint=hint)


def test_there_is_no_loop_over_the_batch(rng):
    """A Python loop launches operators one by one."""
    expect_flat_operators(
        lambda *given: flash_attention(*given, causal=True, block_q=4, block_k=4),
        lambda batch: at_scale(rng, 8, 8, batch=batch),
        (2, 16),
        what="flash_attention with more samples",
        hint="all samples at once: the batch dimensions stay in front of a tile's",
    )


def test_the_backward_pass_is_tiled_as_well(rng, cost):
    """No tensor of queries x keys, no hidden tile, and what exists at a time grows with the length alone. A tile takes 5
    products, or 7 in two loops; without lse it would need more."""
    peaks = []
    for n in (32, 64):
        q, k, v = at_scale(rng, n, n, dim=2)
        given = randn(rng, *q.shape).float(), q, k, v, *by_definition(q, k, v, causal=True)
        with Alive() as alive, cost() as spent:
            gradients(*given, causal=True, block_q=16, block_k=8)
        peaks.append(alive.peak)
        most = 2 * n * 8
        sentence = (
            f"the largest tensor of {n} queries and keys should have at most {most} elements, but has {spent.largest}"
        )
        expect(spent.largest <= most, sentence, hint=HINT_TILE)
        tiles, seen = tiles_seen(n, n, 16, 8)
        unit = 2 * 2 * 2
        sentence = f"a score should take 5 to 7 products, but took {spent.flops / unit / seen:.2f}"
        hint = "q k^T, grad v^T, dscores k, dscores^T q, probs^T grad"
        expect(spent.flops >= 4.95 * unit * seen, sentence, hint=hint)
        products = spent.flops / unit / (tiles * 16 * 8)
        sentence = f"a score in a tile that anything sees should take 5 to 7 products, but took {products:.2f}"
        expect(products <= 7.2, sentence, hint=f"{hint}, for tiles that are not hidden")
    sentence = (
        f"{peaks[0]} numbers exist at a time for 32 queries and keys, and for 64 at most 2.5 times as many should"
    )
    expect(peaks[1] <= 2.5 * peaks[0], f"{sentence}, but {peaks[1]} do", hint="forget a tile before the next")
    expect_flat_operators(
        lambda *each: flash_backward(*each, block_q=4, block_k=4),
        lambda batch: (randn(rng, batch, 8, 8).float(), *(g := at_scale(rng, 8, 8, batch=batch)), *by_definition(*g)),
        (2, 16),
        what="flash_backward with more samples",
        hint="all samples at once: the batch dimensions stay in front of a tile's",
    )
