"""Inputs of grouped attention, and one query head by itself."""

from dojo.testing import expect_equal, randn
from katas.grouped_query_attention import grouped_attention

# Query heads and KV heads. Where there is one KV head or as many as query heads, every order of the heads is the same;
# where their number is the size of a group, the two cannot be told apart.
GROUPS = [(6, 3), (6, 2), (4, 2), (4, 1), (3, 3)]


def qkv(rng, heads=6, kv_heads=3, *, batch=2, queries=4, keys=5, dim=4):
    """q, k and v in float64."""
    shapes = (batch, heads, queries, dim), *[(batch, kv_heads, keys, dim)] * 2
    return tuple(randn(rng, *shape) for shape in shapes)


def alone(q, k, v, sample, head, queries=slice(None), keys=slice(None)):
    """One sample's query head with its KV head: [queries, dim], with all queries and keys unless told otherwise."""
    kv_head = head // (q.shape[1] // k.shape[1])
    own = (slice(sample, sample + 1), slice(kv_head, kv_head + 1), keys)
    got = grouped_attention(q[sample : sample + 1, head : head + 1, queries], k[own], v[own])
    shape = list(q[sample : sample + 1, head : head + 1, queries].shape)
    expect_equal(list(getattr(got, "shape", [])), shape, what="the shape of one head's answers")
    return got[0, 0]
