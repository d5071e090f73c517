"""Stage 1. Attention with and without masks; the layer, heads, padding."""

import math

import pytest
import torch
from torch import nn

from dojo.testing import expect_close, expect_equal, expect_own_work, numbers, randn
from dojo.testing.attention import expect_softmax, some_mask
from dojo.testing.modules import fill
from katas import causal_self_attention
from katas.causal_self_attention import CausalSelfAttention, attention

from .helpers import qkv, random_layer
from .probe import FORBIDDEN


def test_a_worked_example():
    """d = 4. For q = (2 ln 3, 0, 0, 0) and keys that begin with 1 and 0 the scores are 2 ln 3 / sqrt(4) = ln 3 and 0,
    so the weights are 3/4 and 1/4. A query of zeros takes the mean. The values are 10 and 20."""
    axis = numbers(1, 0, 0, 0)
    q, k = numbers(2 * math.log(3), 0)[:, None] * axis, numbers(1, 0)[:, None] * axis
    hint = "scores q k^T over sqrt(d), softmax over the keys, the weighted mean of the values"
    what = "attention of the queries (2 ln 3, 0, 0, 0) and 0"
    expect_close(attention(q, k, numbers(10, 20)[:, None]), numbers(12.5, 15)[:, None], what=what, hint=hint)


def test_weights_are_a_softmax_of_dot_products_over_the_root_of_dim(rng):
    """With the identity as values, attention answers with its weights. Without the root, scores grow with d and the
    softmax saturates; with d in place of its root it is nearly flat."""
    q, k, _ = qkv(rng, 2, dim=9)
    weights = attention(q, k, torch.eye(5).double().expand(2, 5, 5))
    expect_equal(list(weights.shape), [2, 4, 5], what="the shape of the answers", hint="one for each query")
    hint = "divide q k^T by sqrt(d), once; d is the last size of q (and the softmax stays in float64)"
    expect_softmax(weights, q @ k.transpose(1, 2) / 3, what="for d = 9", hint=hint)


def test_hidden_keys_might_as_well_not_be_there(rng):
    """True = attend. Each query equals that query alone with the keys that it may see."""
    q, k, v = qkv(rng, 2)
    mask = some_mask(rng, 2, 4, 5)
    got = attention(q, k, v, mask)
    hint = "True = attend; hidden scores become -inf before the softmax, so that the other weights sum to 1"
    for b, t in ((b, t) for b in range(2) for t in range(4)):
        want = attention(q[b, t : t + 1], k[b, mask[b, t]], v[b, mask[b, t]])[0]
        expect_close(got[b, t], want, what=f"query {t} of sample {b}, against the keys that it sees alone", hint=hint)


def test_no_query_sees_the_future(rng):
    """Query i with causal=True equals that query alone with the keys 0 to i, itself included."""
    q, k, v = qkv(rng, 2, queries=5)
    got = attention(q, k, v, causal=True)
    hint = "query i sees key j if j <= i: tril(), the diagonal included"
    for t in range(5):
        want = attention(q[:, t : t + 1], k[:, : t + 1], v[:, : t + 1])
        expect_close(got[:, t : t + 1], want, what=f"query {t} of causal attention", hint=hint)


def test_mask_and_causal_both_hold(rng):
    """A query sees what both allow. The mask is no replacement for the triangle, nor the triangle for the mask."""
    q, k, v = qkv(rng, 2, queries=5)
    mask = some_mask(rng, 2, 5, 5) | torch.eye(5).bool()
    want = attention(q, k, v, mask & torch.ones(5, 5).bool().tril())
    hint = "combine the two masks with &"
    expect_close(attention(q, k, v, mask, causal=True), want, what="attention with a mask and causal", hint=hint)


@pytest.mark.parametrize("causal", [False, True], ids=["mask", "mask and causal"])
def test_a_score_of_zero_is_a_score(rng, causal):
    """A query or a key of zeros has scores of 0, which hide nothing: a query of zeros takes the mean of all that it sees.
    On random numbers nobody notices `scores[scores == 0] = -inf`."""
    q, k, v = qkv(rng, 2, queries=5)
    q[:, 2:4], k[1, 3] = 0.0, 0.0
    mask = some_mask(rng, 2, 5, 5) | torch.eye(5).bool()
    visible = (mask.tril() if causal else mask).double()
    want = (visible @ v / visible.sum(-1, keepdim=True))[:, 2:4]
    got = attention(q, k, v, mask, causal=causal)
    expect_equal(list(got.shape), [2, 5, 2], what="the shape of the answers")
    hint = "what is hidden is known by the mask alone: masked_fill(~mask, -inf); a score may be 0 by itself"
    expect_close(got[:, 2:4], want, what="the answers to two queries of zeros", hint=hint)
    seen = visible[1, 4].bool()
    want = attention(q[1, 4:], k[1, seen], v[1, seen])
    expect_close(got[1, 4:], want, what="a query's answer with a key of zeros", hint=hint)


def test_the_submodules_and_their_shapes():
    """The names are the interface: checkpoints are loaded by them. A triangle as a buffer would be saved with them."""
    layer = CausalSelfAttention(6, 2, 0.5)
    want = {"qkv.weight": [18, 6], "qkv.bias": [18], "out.weight": [6, 6], "out.bias": [6]}
    hint = "nn.Linear(dim, 3 * dim) and nn.Linear(dim, dim), both with bias, and nothing else"
    shapes = {name: list(parameter.shape) for name, parameter in layer.named_parameters()}
    expect_equal(shapes, want, what="the parameters of CausalSelfAttention(6, 2)", hint=hint)
    state = {name: list(tensor.shape) for name, tensor in layer.state_dict().items()}
    expect_equal(state, want, what="the state_dict of CausalSelfAttention(6, 2)", hint="make the triangle in forward")


def test_equal_scores_give_running_means(rng):
    """With queries of zeros token i answers with the mean of the values 0 to i, behind `out`. Values are qkv's last
    third; a token answers with itself, too, and its answer has out's bias."""
    layer, x = random_layer(rng), randn(rng, 2, 5, 6)
    for parameter in (layer.qkv.weight, layer.qkv.bias):
        fill(parameter[:6], 0.0)
    values = nn.functional.linear(x, layer.qkv.weight[12:], layer.qkv.bias[12:])
    want = layer.out(values.cumsum(1) / torch.arange(1, 6)[:, None])
    hint = "j <= i, values from the last third of qkv's outputs, heads side by side, then out"
    expect_close(layer(x), want, what="the layer with queries of zeros: out(running mean of v)", hint=hint)


def test_one_head_is_attention_between_two_projections(rng):
    """The thirds of qkv's outputs are q, k and v, in this order: a score is q_i . k_j, not k_i . q_j."""
    layer, x = random_layer(rng, heads=1), randn(rng, 2, 5, 6)
    want = layer.out(attention(*layer.qkv(x).chunk(3, dim=-1), causal=True))
    expect_close(layer(x), want, what="a layer with one head: out(attention(q, k, v, causal=True))", hint="q, k, v")


def test_each_head_works_alone_on_its_block(rng):
    """3 heads are 3 layers of one head, added up, each with one block of q, k, v and out and zeros elsewhere; there
    the root is of 6 features instead of 2, which q makes up for. Heads that are interleaved, or a root of dim, show."""
    layer, x = random_layer(rng, heads=3), randn(rng, 2, 5, 6)
    weight, bias = layer.qkv.weight.detach(), layer.qkv.bias.detach()
    scale = torch.cat([torch.full((6,), 3**0.5), torch.ones(12)]).double()
    total = layer.out.bias.detach()
    for head in range(3):
        own = (torch.arange(6) // 2 == head).double()
        single = CausalSelfAttention(6, 1).double()
        fill(single.qkv.weight, weight * (scale * own.repeat(3))[:, None])
        fill(single.qkv.bias, bias * scale * own.repeat(3))
        fill(single.out.weight, layer.out.weight * own)
        fill(single.out.bias, 0.0)
        total = total + single(x)
    hint = "[batch, n, dim] -> [batch, n, heads, d] -> swap n and heads, and the same way back; the root is of d"
    expect_close(layer(x), total, what="a layer with 3 heads, against 3 layers of one head", hint=hint)


def test_padding_hides_tokens_as_keys(rng):
    """Prompts in a batch differ in length: each answers as if it were alone. They are padded on the left, as for
    generation; tokens on the right would be hidden by the triangle already, whatever `padding` did."""
    layer, x = random_layer(rng), randn(rng, 3, 5, 6)
    lengths = (3, 5, 4)
    padding = torch.arange(5) >= 5 - torch.tensor(lengths)[:, None]
    got = layer(x, padding)
    expect_equal(list(got.shape), [3, 5, 6], what="the shape of the answers")
    for row, length in enumerate(lengths):
        want = layer(x[row : row + 1, -length:])[0]
        hint = "[batch, n] -> [batch, 1, 1, n], True = a real token; and the triangle still holds"
        expect_close(got[row, -length:], want, what=f"row {row}, against its {length} real tokens alone", hint=hint)


def test_the_work_is_your_own(rng):
    """F.scaled_dot_product_attention is the answer; a file may compare with it where only running the file gets to it."""
    attention(*qkv(rng))
    expect_own_work(causal_self_attention, FORBIDDEN)
