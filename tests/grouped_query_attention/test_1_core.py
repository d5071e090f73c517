"""Stage 1. Any number of KV heads, from one to as many as query heads."""

import math

import pytest
import torch

from dojo.testing import expect_close, expect_equal, expect_unchanged, numbers, randint, randn
from dojo.testing.attention import expect_softmax
from katas.grouped_query_attention import grouped_attention

from .helpers import GROUPS, alone, qkv


@pytest.mark.parametrize("dim", [4, 3])
def test_a_worked_example(dim):
    """One head. For q = (sqrt(d) ln 3, 0, ...) and keys that begin with 1 and 0 the scores over sqrt(d) are ln 3 and 0,
    so the weights are 3/4 and 1/4. A query of zeros takes the mean. The values begin with 10 and 20."""
    axis = torch.eye(dim).double()[0]
    long = math.sqrt(dim) * math.log(3)
    q, k, v = (first[:, None] * axis for first in (numbers(long, 0), numbers(1, 0), numbers(10, 20)))
    got = grouped_attention(q[None, None], k[None, None], v[None, None])
    hint = "scores q k^T over sqrt(d), softmax over the keys, the weighted mean of the values"
    want = (numbers(12.5, 15)[:, None] * axis)[None, None]
    what = f"attention of the queries (sqrt({dim}) ln 3, 0, ...) and 0, for d = {dim}"
    expect_close(got, want, what=what, hint=hint)


@pytest.mark.parametrize(("heads", "kv_heads"), GROUPS)
def test_consecutive_heads_share_a_kv_head(rng, heads, kv_heads):
    """With a single key every query takes its value, whatever the scores are. So 4 query heads on the values 10 and 20
    answer 10, 10, 20, 20; tiled they would answer 10, 20, 10, 20, which is another model."""
    q, k, _ = qkv(rng, heads, kv_heads, batch=1, queries=1, keys=1, dim=1)
    values = 10 * (1 + torch.arange(kv_heads)).double()
    want = numbers(*(10 * (1 + head // (heads // kv_heads)) for head in range(heads)))
    got = grouped_attention(q, k, values[None, :, None, None])
    what = f"the answers of {heads} query heads to one key, whose value is {values.tolist()} in the {kv_heads} KV heads"
    hint = "query head h reads KV head h // (heads / kv_heads): repeat_interleave, not repeat"
    expect_close(got, want[None, :, None, None], what=what, hint=hint)


def test_q_k_and_v_are_not_modified(rng):
    """The cache is read again at the next step."""
    q, k, v = qkv(rng)
    with expect_unchanged(q, k, v, what="q, k or v"):
        grouped_attention(q, k, v)


@pytest.mark.parametrize(("heads", "kv_heads"), GROUPS)
def test_each_query_finds_its_own_key(rng, heads, kv_heads):
    """A query that is 500 at one place and 0 elsewhere finds the key with its 1 at that place, however scores are scaled,
    and answers with its value. Each KV head has the same keys in another order."""
    place = randint(rng, 0, 5, 2, heads, 4)
    own = torch.arange(heads)[:, None] // (heads // kv_heads)  # each query head's KV head
    k = torch.stack([torch.eye(5).double().roll(kv_head, 0) for kv_head in range(kv_heads)]).expand(2, -1, -1, -1)
    sample, kv_head, key = (torch.arange(n).double() for n in (2, kv_heads, 5))
    values = 100 * sample[:, None, None] + 10 * kv_head[:, None] + key
    want = 100 * sample[:, None, None] + 10 * own + (place + own) % 5
    q = 500 * torch.nn.functional.one_hot(place, 5).double()
    got = grouped_attention(q, k, values[..., None].repeat(1, 1, 1, 5))
    what = f"100 sample + 10 KV head + key, as each query of {heads} heads on {kv_heads} KV heads should find it,"
    hint = "queries and heads, [kv_heads, group], go back in the order in which they were folded; k is transposed, not viewed"
    expect_close(got, want[..., None].expand(2, heads, 4, 5), what=what, hint=hint)


@pytest.mark.parametrize(("heads", "kv_heads"), GROUPS)
def test_weights_are_a_softmax_of_dot_products_over_the_root_of_dim(rng, heads, kv_heads):
    """With the identity as values, attention answers with its weights. The root is of one head's size."""
    q, k, _ = qkv(rng, heads, kv_heads, queries=4, keys=9, dim=9)
    weights = grouped_attention(q, k, torch.eye(9).double().expand(2, kv_heads, 9, 9))
    expect_equal(list(getattr(weights, "shape", [])), [2, heads, 4, 9], what="the shape of the answers")
    hint = "divide q k^T by sqrt(d), once; d is the last size of q. Where six digits are right, something is in float32"
    for head in range(heads):
        kv_head = head // (heads // kv_heads)
        what = f"of query head {head} of {heads}, which reads KV head {kv_head} of {kv_heads}, for d = 9"
        expect_softmax(weights[:, head], q[:, head] @ k[:, kv_head].mT / 3, what=what, hint=hint)


@pytest.mark.parametrize(("heads", "kv_heads"), GROUPS)
def test_each_head_answers_as_if_it_were_alone(rng, heads, kv_heads):
    """With its own KV head. A group shares keys and values, but neither queries nor weights; samples share nothing."""
    q, k, v = qkv(rng, heads, kv_heads)
    got = grouped_attention(q, k, v)
    expect_equal(list(getattr(got, "shape", [])), [2, heads, 4, 4], what="the shape of the answers")
    for sample in range(2):
        for head in range(heads):
            what = f"query head {head} of {heads} on {kv_heads} KV heads, in sample {sample}, against this head alone"
            hint = "heads are split as [kv_heads, group]: the group is the inner one, and goes back in the same order"
            expect_close(got[sample, head], alone(q, k, v, sample, head), what=what, hint=hint)


def test_without_causal_there_may_be_more_queries_than_keys(rng):
    """As in cross-attention to a short text: each query sees all keys."""
    q, k, v = qkv(rng, 6, 2, batch=1, queries=5, keys=3)
    got = grouped_attention(q, k, v)
    expect_equal(list(getattr(got, "shape", [])), [1, 6, 5, 4], what="the shape of the answers")
    for head in range(6):
        what = f"the answers of query head {head} of 6 on 2 KV heads to 5 queries on 3 keys, against this head alone"
        expect_close(got[0, head], alone(q, k, v, 0, head), what=what, hint="without causal nothing is hidden")


def test_sizes_that_are_all_equal_are_kept_apart(rng):
    """2 samples, 2 KV heads in groups of 2, 2 queries, 2 keys of size 2: no wrong reshape or axis raises an error."""
    q, k, v = qkv(rng, 4, 2, queries=2, keys=2, dim=2)
    got = grouped_attention(q, k, v)
    expect_equal(list(getattr(got, "shape", [])), [2, 4, 2, 2], what="the shape of the answers")
    for sample in range(2):
        for head in range(4):
            what = f"query head {head} of 4 on 2 KV heads, in sample {sample}, against this head alone"
            hint = "[batch, heads, queries, dim] -> [batch, kv_heads, group * queries, dim], and back the same way"
            expect_close(got[sample, head], alone(q, k, v, sample, head), what=what, hint=hint)


@pytest.mark.parametrize(("heads", "kv_heads"), [(6, 3), (4, 1)])
def test_inputs_may_lie_in_memory_as_they_like(rng, heads, kv_heads):
    """A projection gives [batch, n, heads, dim], and a transpose of it is what arrives; a cache is longer than its text."""
    q, k, v = qkv(rng, heads, kv_heads)
    want = grouped_attention(q, k, v)
    expect_equal(list(getattr(want, "shape", [])), [2, heads, 4, 4], what="the shape of the answers")
    transposed = (t.transpose(1, 2).contiguous().transpose(1, 2) for t in (q, k, v))
    hint = "reshape and transpose, not view, where the memory may be in another order"
    expect_close(grouped_attention(*transposed), want, what="attention of transposed inputs", hint=hint)
    memory = [torch.cat([t, randn(rng, 2, kv_heads, 3, 4)], 2)[:, :, :5] for t in (k, v)]
    expect_close(grouped_attention(q, *memory), want, what="attention over slices of a longer cache", hint=hint)
