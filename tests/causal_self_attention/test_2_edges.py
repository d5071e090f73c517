"""Stage 2. Masks of every shape, more keys than queries, nothing to see, any leading dimensions, wrong arguments."""

import pytest
import torch

from dojo.testing import (
    expect,
    expect_close,
    expect_distribution,
    expect_equal,
    expect_raises,
    expect_unchanged,
    numbers,
    randn,
)
from dojo.testing.attention import some_mask
from katas.causal_self_attention import CausalSelfAttention, attention

from .helpers import qkv, random_layer, revealing_layer

SHAPES = [(5,), (1, 5), (4, 5), (4, 1), (1, 4, 5), (2, 1, 5), (2, 4, 5), (2, 4, 1), (3, 1, 1, 5), (1, 2, 4, 5)]
SHAPES += [(3, 1, 4, 5), (3, 2, 4, 5)]


@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (2, 1, 3)], ids=str)
def test_any_leading_dimensions(rng, batch):
    """Each matrix of queries on its own, as the last two dimensions; none, one or three in front of them."""
    q, k, v = qkv(rng, *batch)
    mask = some_mask(rng, *batch, 4, 5)
    got = attention(q, k, v, mask)
    expect_equal(list(got.shape), [*batch, 4, 2], what=f"the shape of the answers for batch {list(batch)}")
    flat = [t.reshape(-1, *t.shape[-2:]) for t in (got, q, k, v, mask)]
    for row, (answer, *alone) in enumerate(zip(*flat, strict=True)):
        expect_close(answer, attention(*alone), what=f"matrix {row} of batch {list(batch)}, computed alone")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_mask_may_have_any_shape_that_broadcasts(rng, shape):
    """To [*batch, queries, keys], here [3, 2, 4, 5], with and without the triangle (1 key more than there are queries)."""
    q, k, v = qkv(rng, 3, 2)
    mask = some_mask(rng, *shape)
    mask[..., 0] = True
    for causal in (False, True):
        want = attention(q, k, v, mask.expand(3, 2, 4, 5).clone(), causal=causal)
        what = f"attention with a mask {list(shape)}, causal={causal}, against the same mask expanded"
        expect_close(attention(q, k, v, mask, causal=causal), want, what=what, hint="let the mask broadcast")


@pytest.mark.parametrize("queries", [1, 2, 4])
def test_the_last_query_stands_at_the_last_key(rng, queries):
    """A decoder with a cache asks for its newest tokens alone, and has all keys. Aligned to the upper left, as torch's
    is_causal is, one query would see nothing but key 0."""
    q, k, v = qkv(rng, 2, queries=6, keys=6)
    mask = some_mask(rng, 2, 6, 6) | torch.eye(6).bool()
    hint = "query i of T sees key j of S if j <= i + S - T: tril(S - T)"
    for given in (None, mask):
        want = attention(q, k, v, given, causal=True)
        expect_equal(list(want.shape), [2, 6, 2], what="the shape of the answers")
        got = attention(q[:, -queries:], k, v, None if given is None else given[:, -queries:], causal=True)
        what = f"the last {queries} of 6 queries, against all 6 at once"
        expect_close(got, want[:, -queries:], what=what, hint=hint)


NOTHING = {  # the shape of a mask, which of its rows hides everything, which queries see nothing then
    "a query": ((2, 4, 5), (1, 2), (1, 2)),
    "a sample": ((2, 1, 5), 1, 1),
    "a query of each sample": ((4, 5), 2, (slice(None), 2)),
    "a query of each sample, by [queries, 1]": ((4, 1), 2, (slice(None), 2)),
    "all": ((5,), (), ()),
}


@pytest.mark.parametrize(("shape", "row", "queries"), NOTHING.values(), ids=NOTHING)
def test_a_query_that_may_see_nothing_gets_zeros(rng, shape, row, queries):
    """Softmax over nothing is 0 / 0. A mean of what is hidden would be worse than NaN, because nobody would notice."""
    q, k, v = qkv(rng, 2)
    mask = some_mask(rng, *shape)
    want = attention(q, k, v, mask)
    expect_equal(list(want.shape), [2, 4, 2], what="the shape of the answers")
    mask[row] = False
    want[queries] = 0.0
    hint = "zeros where a row of the mask has no True: masked_fill by the mask; the other rows stay as they were"
    what = f"the answers where a row of the mask {list(shape)} hides everything"
    expect_close(attention(q, k, v, mask), want, what=what, hint=hint)


def test_mask_and_causal_together_may_leave_nothing(rng):
    """Query 0 may see key 0 alone, by the triangle, and the mask hides it: left padding does that."""
    q, k, v = qkv(rng, 2, queries=5)
    mask = torch.ones(2, 1, 5).bool()
    mask[1, 0, :2] = False
    got = attention(q, k, v, mask, causal=True)
    expect_equal(list(got.shape), [2, 5, 2], what="the shape of the answers")
    hint = "look for empty rows after the two masks have been combined"
    expect_close(got[1, :2], torch.zeros(2, 2).double(), what="two queries whose keys are all hidden", hint=hint)
    want = attention(q[1, 2:], k[1, 2:], v[1, 2:], causal=True)
    expect_close(got[1, 2:], want, what="the queries behind them, against the keys that are left", hint=hint)


@pytest.mark.parametrize("sizes", [(3, 3, 3), (2, 5, 2), (4, 1, 1)], ids=str)
def test_rows_and_heads_do_not_see_each_other(rng, sizes):
    """At batch == n == heads, too, where a padding mask broadcasts along a wrong axis without an error."""
    batch, n, heads = sizes
    layer, x = random_layer(rng, heads=heads), randn(rng, batch, n, 6)
    padding = torch.arange(n) >= n - torch.arange(1, batch + 1)[:, None]
    got = layer(x, padding)
    expect_equal(list(got.shape), [batch, n, 6], what="the shape of the answers")
    for row in range(batch):
        real = min(row + 1, n)
        want = layer(x[row : row + 1, -real:])[0]
        hint = "padding: [batch, n] -> [batch, 1, 1, n]"
        expect_close(got[row, -real:], want, what=f"row {row} of {batch}, against the row alone", hint=hint)


@pytest.mark.parametrize("where", ["left", "middle", "right"])
def test_padding_may_be_anywhere(rng, where):
    """Real tokens answer as if padded ones were not there; what a padded token answers is free, but no NaN, which the
    next layer would spread."""
    real = {"left": [3, 4, 5], "middle": [0, 1, 4], "right": [0, 1, 2, 3]}[where]
    layer, x, padding = random_layer(rng), randn(rng, 2, 6, 6), torch.ones(2, 6).bool()
    padding[1] = False
    padding[1, real] = True
    got = layer(x, padding)
    want = layer(x[1:, real])[0]
    expect_equal(list(got.shape), [2, 6, 6], what="the shape of the answers")
    hint = "padding hides keys, not queries: a padded query needs no answer, and a real one must not lose its own"
    expect_close(got[1, real], want, what=f"the real tokens of a row padded at the {where}", hint=hint)
    expect_close(got[0], layer(x[:1])[0], what="a row without padding beside it", hint=hint)
    expect(got.isfinite().all(), f"padded tokens ({where}) should answer with finite numbers, but some do not")


def test_a_row_of_padding_stays_finite(rng):
    """The last batch of an epoch is often filled up with such rows. One NaN would make the whole loss NaN."""
    layer, x, padding = random_layer(rng), randn(rng, 2, 4, 6), torch.ones(2, 4).bool()
    padding[0] = False
    got = layer(x, padding)
    expect(got.isfinite().all(), "a row of padding should answer with finite numbers, but some are not")
    expect_close(got[1:], layer(x[1:]), what="the row beside a row of padding")


def test_evaluation_drops_nothing(rng):
    """Nor does it forget, behind one evaluation, to drop again in training."""
    layer, x = random_layer(rng, dropout=0.5), randn(rng, 4, 5, 6)
    exact = CausalSelfAttention(6, 2).double()
    exact.load_state_dict(layer.state_dict())
    hint = "self.training decides: nn.Dropout knows it, F.dropout has to be told"
    expect_close(layer(x), exact(x), what="the answers with dropout 0.5 in evaluation", hint=hint)
    dropped = layer.train()(x)
    expect(not torch.allclose(dropped, exact(x)), "with dropout 0.5 training should drop weights, but drops none")
    expect(not torch.allclose(dropped, layer(x)), "two calls in training should drop other weights, but drop the same")
    expect_close(layer.eval()(x), exact(x), what="the answers back in evaluation", hint=hint)


def test_dropout_removes_whole_weights_behind_the_softmax(rng):
    """A weight is 0 or w / (1 - p): as it was, apart from the factor. Behind a dropout of scores, or with a sum of 1
    after it, the weights that stay would be others; a dropout of answers or values would tear a token's value apart."""
    layer, x = revealing_layer(rng, dropout=0.25)
    weights, dropped = layer.eval()(x), layer.train()(x.expand(50, -1, -1))
    expect_equal(list(dropped.shape), [50, 3, 12], what="the shape of the answers")
    zero = (dropped == 0).double()
    hint = "self.dropout(softmax(scores)) @ v"
    want = (1 - zero) * weights / 0.75
    expect_close(dropped, want, what="the weights in training: 0, or w / (1 - 0.25)", hint=hint)
    one, other = dropped.unflatten(-1, (2, 2, 3)).unbind(2 + 1)  # [50, queries, heads, keys], a token's two features
    expect_close(one, other, what="what a weight does to the second feature of a value", hint=hint)


def test_each_weight_is_dropped_by_itself(rng):
    """With probability p, and whatever happens to its neighbours: other keys, queries, heads and rows of the batch.
    Of 2000 rows; chi-square, 1e-6 false alarms each."""
    layer, x = revealing_layer(rng, dropout=0.25)
    dropped = layer(x.expand(2000, -1, -1))
    expect_equal(list(dropped.shape), [2000, 3, 12], what="the shape of the answers")
    zero = (dropped == 0).long().unflatten(-1, (2, 2, 3))[:, :, :, 0]  # [rows, queries, heads, keys]
    probs = numbers(0.75, 0.25)
    hint = "nn.Dropout(dropout) on the weights [batch, heads, n, n]"
    expect_distribution(zero[:, 2], probs, what="dropped weights (1) and others (0)", hint=hint)
    pairs = {
        "two keys": (zero[:, 2, 0, 0], zero[:, 2, 0, 1]),
        "two queries": (zero[:, 1, 0, 0], zero[:, 2, 0, 0]),
        "two heads": (zero[:, 2, 0, 0], zero[:, 2, 1, 0]),
        "two rows": (zero[::2, 2, 0, 0], zero[1::2, 2, 0, 0]),
    }
    for name, (one, other) in pairs.items():
        both = (probs[:, None] * probs).flatten()
        expect_distribution(2 * one + other, both, what=f"weights of {name}, dropped (1) or not, as 2 a + b", hint=hint)


def test_the_length_may_change_from_call_to_call(rng):
    """A triangle that is kept from the first call is too small for the next, or has to be cut out anew."""
    layer, x = random_layer(rng), randn(rng, 2, 5, 6)
    want = layer(x)
    for n in (2, 1, 4):
        expect_close(layer(x[:, :n]), want[:, :n], what=f"the first {n} of 5 tokens, after other lengths", hint="tril")
    fresh = CausalSelfAttention(6, 2).double()
    fresh.load_state_dict(layer.state_dict())
    for n in (2, 5):
        what = f"{n} tokens, where the first call had 2"
        expect_close(fresh(x[:, :n]), want[:, :n], what=what, hint="make the triangle for the length at hand")


def test_the_arguments_are_not_modified(rng):
    """Queries and masks are used again, by the next layer or the next step."""
    q, k, v = qkv(rng, 2, queries=5)
    for mask in (torch.ones(2, 5, 5).bool(), some_mask(rng, 5)):
        with expect_unchanged(q, k, v, mask, what="an argument of attention"):
            attention(q, k, v, mask)
            attention(q, k, v, mask, causal=True)
    layer, x, padding = random_layer(rng), randn(rng, 2, 5, 6), torch.ones(2, 5).bool()
    with expect_unchanged(x, padding, what="an argument of the layer"):
        layer(x, padding)


def test_views_with_any_strides_work(rng):
    """Heads are split by a transpose, a mask is often expanded, and tokens come as [n, batch, dim]."""
    q, k, v = qkv(rng, 2, 3)
    views = [t.transpose(0, 2).contiguous().transpose(0, 2) for t in (q, k, v)]
    mask = some_mask(rng, 1, 5).expand(4, 5)
    expect_close(attention(*views, mask), attention(q, k, v, mask), what="attention of views", hint="reshape, not view")
    layer, x = random_layer(rng), randn(rng, 2, 5, 6)
    view = x.transpose(0, 1).contiguous().transpose(0, 1)
    expect_close(layer(view), layer(x), what="the layer's answers to a transpose", hint="reshape, not view")


def test_wrong_masks_are_errors(rng):
    """A float mask may be meant as 0/1 or as 0/-inf, and one with a larger batch would broadcast the answers."""
    q, k, v = qkv(rng, 2)
    wrong = {"float": torch.ones(4, 5), "int64": torch.ones(4, 5).long()}
    shapes = [(5, 4), (4,), (4, 4), (3, 4, 5), (2, 2, 4, 5), (1, 2, 4, 5), (2, 1, 4, 1)]
    for kind, mask in {**wrong, **{str(list(shape)): torch.ones(shape).bool() for shape in shapes}}.items():
        for causal in (False, True):
            hint = "boolean, and no size but 1 or that of [2, 4, 5]"
            with expect_raises(ValueError, what=f"attention for [2, 4, 5] with a mask {kind}", hint=hint):
                attention(q, k, v, mask, causal=causal)
    for mask in (None, torch.ones(4, 3).bool()):
        with expect_raises(
            ValueError, what="causal attention of 4 queries and 3 keys", hint="which keys would they see?"
        ):
            attention(q, k[:, :3], v[:, :3], mask, causal=True)


def test_wrong_arguments_of_the_layer_are_errors(rng):
    """dim 6 in 4 heads would leave two features over. A dropout of 1 drops everything and divides by zero."""
    for dim, heads in ((6, 0), (6, -2), (6, 4), (6, 12)):
        with expect_raises(ValueError, what=f"CausalSelfAttention({dim}, heads={heads})"):
            CausalSelfAttention(dim, heads)
    for dropout in (-0.1, 1.0, 1.5, float("nan")):
        with expect_raises(ValueError, what=f"CausalSelfAttention(6, 2, dropout={dropout})", hint="0 <= dropout < 1"):
            CausalSelfAttention(6, 2, dropout)
    layer, x = random_layer(rng), randn(rng, 2, 5, 6)
    shapes = [(5,), (1, 5), (5, 2), (2, 4), (2, 5, 5), (2, 1, 1, 5)]
    wrong = {"float": torch.ones(2, 5), **{str(list(shape)): torch.ones(shape).bool() for shape in shapes}}
    for kind, padding in wrong.items():
        with expect_raises(ValueError, what=f"the layer with padding {kind} for x [2, 5, 6]", hint="bool [batch, n]"):
            layer(x, padding)
