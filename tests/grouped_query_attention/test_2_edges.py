"""Stage 2. Causal with a cache, pooled projections, the size of the cache, wrong arguments."""

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, expect_raises, expect_unchanged, numbers, randn, roundings
from katas.grouped_query_attention import grouped_attention, kv_bytes_per_token, pool_kv_heads

from .helpers import GROUPS, alone, qkv


@pytest.mark.parametrize(
    ("heads", "kv_heads", "queries", "keys"),
    [(6, 3, 4, 4), (6, 3, 3, 5), (6, 3, 1, 5), (6, 2, 2, 6), (6, 2, 5, 6), (4, 1, 3, 5), (3, 3, 3, 5)],
)
def test_no_query_sees_the_future(rng, heads, kv_heads, queries, keys):
    """The last query stands at the last key, as in a decoder with a cache; query i of T sees key j of S if j <= i + S - T.
    Where the queries of a group are the rows of one matrix, each head has a triangle of its own in it."""
    q, k, v = qkv(rng, heads, kv_heads, queries=queries, keys=keys)
    got = grouped_attention(q, k, v, causal=True)
    expect_equal(list(getattr(got, "shape", [])), [2, heads, queries, 4], what="the shape of the answers")
    hint = "a mask [queries, keys] for each head, aligned to the lower right; rows of a folded group are no queries"
    for head in range(heads):
        for i in range(queries):
            seen = i + keys - queries + 1
            want = alone(q, k, v, 1, head, slice(i, i + 1), slice(seen))[0]
            what = f"query {i} of {queries} in head {head} of {heads} ({kv_heads} KV heads), on the first {seen} of {keys} keys"
            expect_close(got[1, head, i], want, what=what, hint=hint)


@pytest.mark.parametrize("sizes", [(5,), (2, 3), (4, 1), (1, 1, 1, 1, 1)], ids=str)
def test_chunks_give_what_the_whole_gives(rng, sizes):
    """Prefill in chunks, decoding token by token: the newest queries with all keys up to them."""
    q, k, v = qkv(rng, 6, 2, queries=5, keys=5)
    want, start = grouped_attention(q, k, v, causal=True), 0
    expect_equal(list(getattr(want, "shape", [])), [2, 6, 5, 4], what="the shape of the answers")
    for size in sizes:
        end = start + size
        got = grouped_attention(q[:, :, start:end], k[:, :, :end], v[:, :, :end], causal=True)
        what = f"the queries {start} to {end - 1} with {end} keys, against all 5 at once"
        expect_close(
            got, want[:, :, start:end], what=what, hint="aligned to the lower right: triu(S - T + 1) is hidden"
        )
        start = end


def test_no_argument_is_modified(rng):
    """The cache is read again at the next step."""
    q, k, v = qkv(rng)
    for causal in (False, True):
        with expect_unchanged(q, k, v, what="q, k or v"):
            grouped_attention(q, k, v, causal=causal)
    weight = randn(rng, 6, 3)
    with expect_unchanged(weight, what="the weight"):
        pool_kv_heads(weight, 3, 1)


def test_pooling_takes_the_mean_of_consecutive_heads():
    """4 heads of 2 rows: 1 2 | 3 4 | 5 6 | 7 8. The means of heads 0 and 1 and of heads 2 and 3 are 2 3 | 6 7."""
    got = pool_kv_heads(numbers(1, 2, 3, 4, 5, 6, 7, 8)[:, None], 4, 2)
    hint = "[out, in] -> [kv_heads, group, head_dim, in], and the mean over the group"
    expect_close(got, numbers(2, 3, 6, 7)[:, None], what="the rows 1 2 | 3 4 | 5 6 | 7 8, pooled to 2 heads", hint=hint)


@pytest.mark.parametrize(("heads", "kv_heads"), GROUPS)
def test_pooled_heads_are_the_means_of_their_groups(rng, heads, kv_heads):
    """The heads that will share a KV head, and no others."""
    weight, group = randn(rng, heads * 3, 5), heads // kv_heads
    got = pool_kv_heads(weight, heads, kv_heads)
    expect_equal(list(getattr(got, "shape", [])), [kv_heads * 3, 5], what=f"the shape after pooling {heads} heads of 3")
    for head in range(kv_heads):
        want = weight[3 * group * head : 3 * group * (head + 1)].reshape(group, 3, 5).mean(0)
        what = f"head {head} of {kv_heads}, pooled from {heads}"
        hint = "the mean over each group of heads / kv_heads consecutive blocks of head_dim rows, in no narrower dtype"
        expect_close(got[3 * head : 3 * head + 3], want, what=what, hint=hint, **roundings(8, torch.float64, weight))


@pytest.mark.parametrize(("heads", "kv_heads"), [(6, 3), (6, 2), (4, 1)])
def test_heads_that_were_equal_can_be_pooled_without_a_loss(rng, heads, kv_heads):
    """If the K and V heads of each group are equal, the grouped model is the multi-head model."""
    x, q = randn(rng, 2, 5, 7), randn(rng, 2, heads, 4, 3)
    few = [randn(rng, kv_heads, 3, 7) for _ in range(2)]
    many = [w.repeat_interleave(heads // kv_heads, 0).flatten(0, 1) for w in few]  # [heads * 3, 7]
    pooled = [pool_kv_heads(w, heads, kv_heads) for w in many]
    for got, w in zip(pooled, few, strict=True):
        expect_close(
            got, w.flatten(0, 1), what=f"equal heads, pooled from {heads} to {kv_heads}", hint="the mean, not the sum"
        )
    want = grouped_attention(q, *((x @ w.T).unflatten(-1, (heads, 3)).transpose(1, 2) for w in many))
    got = grouped_attention(q, *((x @ w.T).unflatten(-1, (kv_heads, 3)).transpose(1, 2) for w in pooled))
    expect_equal(list(getattr(want, "shape", [])), [2, heads, 4, 3], what="the shape of the answers")
    what = f"attention after pooling {heads} heads, of which groups are equal, to {kv_heads}"
    expect_close(got, want, what=what, hint="pool the heads that attention lets share a KV head")


@pytest.mark.parametrize(
    ("model", "sizes", "want"),
    [
        ("Llama 3 8B", (32, 8, 128), 131_072),
        ("Llama 3 70B", (80, 8, 128), 327_680),
        ("Llama 3 8B in float32", (32, 8, 128, 4), 262_144),
        ("Llama 3 8B in 8 bits", (32, 8, 128, 1), 65_536),
        ("Llama 2 7B", (32, 32, 128), 524_288),
        ("a model of one layer and one KV head of size 3", (1, 1, 3), 12),
    ],
)
def test_bytes_of_one_token(model, sizes, want):
    """K and V, in every layer. At 8192 tokens Llama 3 8B needs 1 GiB; with its 32 query heads it would be 4."""
    what = f"kv_bytes_per_token{sizes}, {model}"
    got = kv_bytes_per_token(*sizes)
    expect_equal(got, want, what=what, hint="two tensors, layers x kv_heads x head_dim numbers each")
    expect(isinstance(got, int), f"{what} should be an int, but is a {type(got).__name__}", hint="// and not /")


def test_wrong_sizes_are_errors(rng):
    """A batch of 1 would be broadcast silently, and values of another length be cut or fail somewhere else."""
    q, k, v = qkv(rng)
    wrong = {
        "k of another batch": (q, k[:1], v[:1]),
        "q of another batch": (q[:1], k, v),
        "k and v of another dim than q": (q, k[..., :3], v[..., :3]),
        "v of another dim than k": (q, k, v[..., :3]),
        "more keys than values": (q, k, v[:, :, :3]),
        "fewer keys than values": (q, k[:, :, :3], v),
        "fewer KV heads in v than in k": (q, k, v[:, :1]),
        "fewer KV heads in k than in v": (q, k[:, :1], v),
        "v of another batch than k": (q, k, v[:1]),
    }
    for name, given in wrong.items():
        with expect_raises(ValueError, what=f"grouped_attention with {name}", hint="k.shape == v.shape, batch, dim"):
            grouped_attention(*given)


def test_heads_that_cannot_be_grouped_are_an_error(rng):
    """Also more KV heads than query heads: 3 query heads cannot share 6. And none at all."""
    for heads, kv_heads in ((6, 4), (5, 2), (2, 4), (1, 2), (3, 6), (4, 0)):
        for causal in (False, True):
            with expect_raises(ValueError, what=f"grouped_attention of {heads} query heads on {kv_heads} KV heads"):
                grouped_attention(*qkv(rng, heads, kv_heads), causal=causal)


def test_more_queries_than_keys_are_an_error_if_causal(rng):
    """The first query would see nothing."""
    hint = "which keys would query 0 see?"
    for queries, keys in ((4, 3), (2, 1), (6, 5)):
        with expect_raises(ValueError, what=f"causal attention of {queries} queries and {keys} keys", hint=hint):
            grouped_attention(*qkv(rng, queries=queries, keys=keys), causal=True)


def test_heads_that_cannot_be_pooled_are_an_error():
    """12 rows are no 5 heads, 4 heads make no 3 groups, and pooling only makes heads fewer."""
    wrong = [
        (12, 4, 3),
        (12, 2, 4),
        (12, 5, 1),
        (10, 4, 2),
        (12, 0, 1),
        (12, 4, 0),
        (12, 0, 0),
        (12, -4, -2),
        (12, 4, -2),
    ]
    for rows, heads, kv_heads in wrong:
        with expect_raises(ValueError, what=f"pool_kv_heads of {rows} rows, heads={heads}, kv_heads={kv_heads}"):
            pool_kv_heads(torch.ones(rows, 3), heads, kv_heads)
