"""Stage 1. Heads, padding masks, self-attention."""

import math

import pytest
import torch

from dojo.testing import expect, expect_close, randn
from dojo.testing.attention import expect_softmax
from dojo.testing.modules import expect_parameters, set_weights
from katas.cross_attention import CrossAttention

from .helpers import attention, revealing


def test_the_submodules_and_their_shapes():
    """inner = heads x head_dim is a choice of its own. Checkpoints and LoRA find the layers by these names."""
    shapes = {"to_q.weight": [6, 5], "to_k.weight": [6, 7], "to_v.weight": [6, 7], "to_out.weight": [5, 6]}
    hint = "bias=False for to_q, to_k and to_v, and nothing else that has parameters"
    what = "CrossAttention(5, 7, 2, 3)"
    expect_parameters(CrossAttention(5, 7, 2, 3), shapes | {"to_out.bias": [5]}, what=what, hint=hint)


def test_a_worked_example():
    """One head with d = 4. For x = ln 3: q = (2 ln 3, 0, 0, 0), the keys begin with 1 and 0, so the logits are
    2 ln 3 / sqrt(4) = ln 3 and 0, the weights 3/4 and 1/4. The values are 10 and 20, and to_out adds 100."""
    layer = CrossAttention(1, 2, 1, 4).double()
    first = torch.tensor([1.0, 0, 0, 0])[:, None]
    set_weights(layer, to_q=2 * first, to_k=first * torch.tensor([1.0, 0]), to_v=first * torch.tensor([0, 1.0]))
    set_weights(layer, to_out=first.T, bias=100.0)
    x = torch.tensor([math.log(3), 0.0], dtype=torch.float64).reshape(1, 2, 1)
    context = torch.tensor([[[1.0, 10.0], [0.0, 20.0]]], dtype=torch.float64)
    expect_close(
        layer(x, context).flatten(),
        torch.tensor([112.5, 115.0], dtype=torch.float64),
        what="the answers to x = [ln 3, 0]",
        hint="logits over sqrt(head_dim), softmax over the keys, the weighted mean of the values, to_out with its bias",
    )


def test_weights_are_a_softmax_of_dot_products_over_the_root_of_head_dim(rng):
    """The log of two weights' ratio is (q . k_i - q . k_j) / sqrt(d). Without the root, logits grow with d and the
    softmax saturates; with the softmax over the queries, the weights of a query would not add up to 1."""
    layer, context = revealing(rng)
    x, content = randn(rng, 2, 3, 4), randn(rng, 2, 4, 6)
    weights = layer(x, context(content))
    logits = layer.to_q(x) @ layer.to_k(context(content)).transpose(1, 2)
    expect_softmax(weights, logits / 2, what="for head_dim 4", hint="divide q k^T by sqrt(head_dim), once")


def test_each_head_works_alone_on_its_block(rng):
    """3 heads are 3 one-head layers, each with its block of rows of to_q, to_k, to_v and its block of columns of
    to_out, added up. A root of inner instead of head_dim, or heads that are interleaved, show here."""
    layer, x, context = attention(rng, heads=3, head_dim=2), randn(rng, 2, 4, 5), randn(rng, 2, 6, 7)
    total = layer.to_out.bias.detach()
    for head in range(3):
        block = slice(2 * head, 2 * head + 2)
        rows = {name: getattr(layer, name).weight[block] for name in ("to_q", "to_k", "to_v")}
        single = set_weights(
            CrossAttention(5, 7, 1, 2).double(), **rows, to_out=layer.to_out.weight[:, block], bias=0.0
        )
        total = total + single(x, context)
    hint = "[batch, n, heads * head_dim] -> [batch, n, heads, head_dim] -> swap n and heads, and the same way back"
    expect_close(layer(x, context), total, what="3 heads, against 3 layers of one head", hint=hint)


@pytest.mark.parametrize("head_dim", [1, 3])
def test_one_token_answers_every_query(rng, head_dim):
    """The softmax over one token is 1: the answer is to_out(to_v(token)), whatever the query is."""
    layer, x, context = attention(rng, head_dim=head_dim), randn(rng, 2, 4, 5), randn(rng, 2, 1, 7)
    want = layer.to_out(layer.to_v(context)).expand(2, 4, 5)
    expect_close(layer(x, context), want, what="the answers from one token", hint="keys and values from the context")


def test_without_a_context_it_is_self_attention(rng):
    """The same class serves both kinds in a transformer block."""
    layer, x = attention(rng, 5, 5), randn(rng, 2, 4, 5)
    expect_close(layer(x), layer(x, x), what="layer(x)", hint="context None: x is the context")
    other = layer(x, randn(rng, 2, 4, 5))
    expect(not torch.allclose(layer(x), other), "a context should count, but layer(x, context) equals layer(x)")


def test_masked_tokens_might_as_well_not_be_there(rng):
    """True = attend. Padding an answer's context must not change it: prompts in a batch differ in length."""
    layer, x, context = attention(rng), randn(rng, 2, 4, 5), randn(rng, 2, 6, 7)
    mask = torch.tensor([[1, 1, 0, 1, 0, 0], [0, 1, 1, 1, 1, 1]]).bool()
    got = layer(x, context, mask)
    hint = "True = attend; mask the logits with -inf before the softmax, so that the kept weights add up to 1"
    for row in range(2):
        want = layer(x[row : row + 1], context[row : row + 1, mask[row]])[0]
        expect_close(got[row], want, what=f"sample {row}, against its context without the masked tokens", hint=hint)
