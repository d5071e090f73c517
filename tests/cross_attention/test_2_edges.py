"""Stage 2. Masks for each query, nothing to attend, any sizes, wrong arguments."""

import pytest
import torch

from dojo.testing import expect_close, expect_equal, expect_raises, expect_unchanged, randn
from dojo.testing.attention import some_mask
from katas.cross_attention import CrossAttention

from .helpers import attention, revealing

SIZES = [(2, 4, 6), (3, 3, 3), (1, 5, 2), (4, 1, 4), (4, 4, 7)]  # batch, queries, keys


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_each_query_has_a_mask_of_its_own(rng, sizes):
    """A [batch, queries, keys] mask: every query equals that query alone with its row as a [batch, keys] mask."""
    batch, queries, keys = sizes
    layer, x, context = attention(rng), randn(rng, batch, queries, 5), randn(rng, batch, keys, 7)
    mask = some_mask(rng, batch, queries, keys)
    got = layer(x, context, mask)
    for n in range(queries):
        want = layer(x[:, n : n + 1], context, mask[:, n])
        hint = "[batch, queries, keys] -> [batch, 1, queries, keys], the same for every head"
        expect_close(got[:, n : n + 1], want, what=f"query {n} with its row of the mask", hint=hint)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["no mask", "mask"])
def test_samples_and_queries_do_not_see_each_other(rng, sizes, masked):
    """Each sample has its own context and mask, at batch == queries == keys too, where a mask broadcasts silently."""
    batch, queries, keys = sizes
    layer, x, context = attention(rng), randn(rng, batch, queries, 5), randn(rng, batch, keys, 7)
    mask = some_mask(rng, batch, keys) if masked else None
    with expect_unchanged(x, context, *[mask] * masked, what="an argument"):
        got = layer(x, context, mask)
    expect_equal(list(got.shape), [batch, queries, 5], what="the output's shape", hint="one answer for each query")
    for row in range(batch):
        one = slice(row, row + 1)
        for n in range(queries):
            want = layer(x[one, n : n + 1], context[one], mask[one] if masked else None)
            hint = "[batch, keys] -> [batch, 1, 1, keys]; merge the heads by swapping the axes back first"
            expect_close(got[one, n : n + 1], want, what=f"query {n} of sample {row}, computed alone", hint=hint)


def test_the_order_of_the_tokens_does_not_matter(rng):
    """A set of tokens, with the mask moved along; no causal mask, and positions are the text encoder's business."""
    layer, x, context, mask = attention(rng), randn(rng, 2, 4, 5), randn(rng, 2, 6, 7), some_mask(rng, 2, 6)
    order = torch.tensor([3, 5, 0, 2, 4, 1])
    got = layer(x, context[:, order], mask[:, order])
    expect_close(got, layer(x, context, mask), what="the output for tokens in another order")


@pytest.mark.parametrize("kind", ["a sample", "a query"])
def test_a_query_with_nothing_to_attend_gives_the_bias(rng, kind):
    """Softmax over nothing is 0 / 0: one empty prompt in a batch would turn the whole loss into NaN. Averaging over
    tokens that were masked would let padding speak."""
    layer, x, context = attention(rng), randn(rng, 2, 4, 5), randn(rng, 2, 6, 7)
    mask = some_mask(rng, 2, 6) if kind == "a sample" else some_mask(rng, 2, 4, 6)
    want = layer(x, context, mask).detach()
    empty = (1,) if kind == "a sample" else (1, 2)
    mask[empty] = False
    want[empty] = layer.to_out.bias.detach()
    hint = "zeros before to_out, so to_out's bias after it; the other rows stay as they were"
    expect_close(layer(x, context, mask), want, what=f"the output where {kind} has nothing to attend", hint=hint)


def test_a_masked_token_has_no_influence_however_loud_it_is(rng):
    """Its weight is exactly 0: with -1e4 in place of -inf, a token that fits no better than -2e4 loses to the mask."""
    layer, context = revealing(rng)
    x, content, mask = randn(rng, 2, 3, 4), randn(rng, 2, 4, 6), torch.tensor([[1, 1, 0, 1], [0, 1, 1, 1]]).bool()
    want = layer(x, context(content), mask)
    loud = content + 1e5 * randn(rng, 2, 4, 6) * ~mask[..., None]
    got = layer(x, context(loud), mask)
    expect_close(got, want, what="the weights after the masked tokens have changed", hint="masked logits are -inf")
    hidden = layer(x, context(1e5 * randn(rng, 2, 4, 6)), mask)[(~mask)[:, None].expand(2, 3, 4)]
    expect_close(hidden, torch.zeros(6).double(), what="the weights of masked tokens", hint="-inf, not -1e4")


def test_wrong_arguments_are_errors(rng):
    """A float mask may be meant as 0/1 or as 0/-inf, and a transposed one broadcasts: better to refuse than to guess."""
    layer, x, context = attention(rng), randn(rng, 2, 4, 5), randn(rng, 2, 6, 7)
    for heads, head_dim in ((0, 3), (2, 0), (-1, 3)):
        with expect_raises(ValueError, what=f"CrossAttention(5, 7, heads={heads}, head_dim={head_dim})"):
            CrossAttention(5, 7, heads, head_dim)
    with expect_raises(ValueError, what="layer(x) with query_dim 5 and context_dim 7", hint="x cannot be the context"):
        layer(x)
    masks = {
        "float": torch.ones(2, 6),
        "int64": torch.ones(2, 4, 6).long(),
        "[keys]": torch.ones(6).bool(),
        "[batch, queries]": torch.ones(2, 4).bool(),
        "[batch, keys, queries]": torch.ones(2, 6, 4).bool(),
        "[batch, heads, queries, keys]": torch.ones(2, 2, 4, 6).bool(),
    }
    for kind, mask in masks.items():
        with expect_raises(ValueError, what=f"layer(x, context, mask) with a mask that is {kind}"):
            layer(x, context, mask)
