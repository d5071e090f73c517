"""Stage 1. Tokens from an image, two attentions with the same queries, what trains."""

import math

import pytest
import torch

from dojo.testing import backward, expect_close, expect_equal, randn
from dojo.testing.modules import expect_parameters, set_weights
from katas.ip_adapter import DecoupledCrossAttention, ImageProjection

from .helpers import FROM_IMAGE, FROM_TEXT, NEW, attention, change, inputs


def test_the_projection_has_two_layers_that_train():
    """One LayerNorm of context_dim numbers, however many tokens there are."""
    layer = ImageProjection(5, 4, 3)
    shapes = {"proj.weight": [12, 5], "proj.bias": [12], "norm.weight": [4], "norm.bias": [4]}
    hint = "proj: nn.Linear(image_dim, tokens * context_dim); norm: nn.LayerNorm(context_dim)"
    expect_parameters(layer, shapes, what="ImageProjection(5, 4, 3)", hint=hint)
    fixed = [name for name, p in layer.named_parameters() if not p.requires_grad]
    expect_equal(fixed, [], what="the parameters of ImageProjection(5, 4, 3) that cannot train", hint="freeze nothing")


def test_the_submodules_and_which_of_them_train():
    """22 million new parameters in the paper, beside a frozen U-Net: only K' and V' belong to the image."""
    layer = DecoupledCrossAttention(5, 7, 2, 3)
    shapes = {name + ".weight": [6, 7] for name in FROM_TEXT + FROM_IMAGE}
    shapes |= {"to_q.weight": [6, 5], "to_out.weight": [5, 6], "to_out.bias": [5]}
    hint = "nn.Linear layers: bias=False for all but to_out, and the queries are shared; scale is an attribute"
    expect_parameters(layer, shapes, what="DecoupledCrossAttention(5, 7, 2, 3)", hint=hint)
    trains = sorted(name for name, p in layer.named_parameters() if p.requires_grad)
    hint = "requires_grad_(False) on to_q, to_k, to_v and to_out, in the constructor"
    expect_equal(trains, NEW, what="the parameters that train", hint=hint)
    expect_equal(sorted(layer.state_dict()), sorted(shapes), what="the state dict's keys", hint="scale is an attribute")


def test_each_image_token_is_normalised_on_its_own(rng):
    """Mean 0 and variance 1 (LayerNorm's eps apart) in each token: the text encoder's last layer is a norm, too.
    Before the reshape, the norm would leave loud and quiet tokens."""
    layer = ImageProjection(5, 16, 3).double()
    with torch.no_grad():
        layer.proj.weight *= torch.tensor([10.0, 30.0, 100.0]).repeat_interleave(16)[:, None]
    got = layer(3 * randn(rng, 4, 5))
    expect_equal(list(got.shape), [4, 3, 16], what="the tokens' shape", hint="[batch, tokens, context_dim]")
    hint = "reshape to [batch, tokens, context_dim] first, then LayerNorm over the last dimension"
    zeros, ones = torch.zeros(4, 3).double(), torch.ones(4, 3).double()
    expect_close(got.mean(-1), zeros, what="the mean of each token", hint=hint)
    close = {"rtol": 1e-3, "atol": 0.0}  # eps = 1e-5 beside variances that are far above 0.1
    expect_close(got.var(-1, correction=0), ones, what="the variance of each token", hint=hint, **close)


def test_token_j_is_the_jth_block_of_the_projection(rng):
    """3 tokens are 3 projections of one token each, with the blocks of rows of proj: checkpoints are laid out so."""
    layer, embedding = ImageProjection(5, 4, 3).double(), randn(rng, 2, 5)
    with torch.no_grad():
        layer.norm.weight.copy_(randn(rng, 4))
        layer.norm.bias.copy_(randn(rng, 4))
    got = layer(embedding)
    for token in range(3):
        rows = slice(4 * token, 4 * token + 4)
        single = ImageProjection(5, 4, 1).double()
        state = {"proj.weight": layer.proj.weight[rows], "proj.bias": layer.proj.bias[rows]}
        single.load_state_dict(state | {"norm.weight": layer.norm.weight, "norm.bias": layer.norm.bias})
        hint = "[batch, tokens * context_dim] -> [batch, tokens, context_dim], tokens first; norm has weight and bias"
        expect_close(got[:, token], single(embedding)[:, 0], what=f"token {token} of 3", hint=hint)


def test_a_worked_example():
    """One head, d = 4, x = ln 3, so q = (2 ln 3, 0, 0, 0). Text: keys 1 and 0, logits ln 3 and 0, weights 3/4 and 1/4,
    values 10 and 20: 12.5. Image: keys 0 and 1, weights 1/4 and 3/4, values 100 and 200: 175. With scale 0.1 that is
    12.5 + 17.5 = 30, and to_out makes 2 x 30 + 100 of it. For x = 0 all weights are 1/2: 15 + 0.1 x 150 = 30 again."""
    layer = DecoupledCrossAttention(1, 2, 1, 4, scale=0.1).double()
    first, key, value = torch.eye(4)[:, :1], torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    set_weights(
        layer, to_q=2 * first, to_k=first * key, to_v=first * value, to_k_image=first * key, to_v_image=first * value
    )
    set_weights(layer, to_out=2 * first.T, bias=100.0)
    x = torch.tensor([math.log(3), 0.0], dtype=torch.float64).reshape(1, 2, 1)
    context = torch.tensor([[[1.0, 10.0], [0.0, 20.0]]], dtype=torch.float64)
    image_tokens = torch.tensor([[[0.0, 100.0], [1.0, 200.0]]], dtype=torch.float64)
    expect_close(
        layer(x, context, image_tokens).flatten(),
        torch.tensor([160.0, 160.0], dtype=torch.float64),
        what="the answers to x = [ln 3, 0]",
        hint="text + scale * image, a softmax for each, to_out (and its bias) once, at the end",
    )


def test_scale_zero_is_plain_cross_attention(rng):
    """The base model is still there: no image matters, and from one word everything is to_out(to_v(word))."""
    layer, (x, context, image_tokens) = attention(rng, scale=0.0), inputs(rng)
    got, other = layer(x, context, image_tokens), layer(x, context, randn(rng, 2, 5, 7))
    hint = "text + scale * image: the text's half is never weighed down"
    expect_close(got, other, what="the output at scale 0, for two images", hint=hint)
    word = context[:, :1]
    want = layer.to_out(layer.to_v(word)).expand(2, 4, 5)
    expect_close(layer(x, word, image_tokens), want, what="the output at scale 0 for one word", hint=hint)


def test_one_image_token_adds_the_same_to_every_query(rng):
    """The softmax over one token is 1, so the change is scale x W_o W_v' token, whatever the queries and the text."""
    layer, (x, context, image_tokens) = attention(rng), inputs(rng, tokens=1)
    want = 0.7 * layer.to_v_image(image_tokens) @ layer.to_out.weight.T
    hint = "values from to_v_image; a softmax of its own; scale on the answer; to_out's bias once"
    got = change(layer, x, context, image_tokens)
    expect_close(got, want.expand(2, 4, 5), what="what one image token adds at scale 0.7", hint=hint)


def test_the_image_takes_nothing_from_the_text(rng):
    """Decoupled: what the image adds does not depend on the text. In one joint softmax they compete."""
    layer, (x, context, image_tokens) = attention(rng), inputs(rng)
    got = change(layer, x, context, image_tokens)
    want = change(layer, x, 3 * randn(rng, 2, 2, 7), image_tokens)
    hint = "two softmaxes, over the text's keys and over the image's; do not concatenate the keys"
    expect_close(got, want, what="what the image adds, beside two different texts", hint=hint)


@pytest.mark.parametrize("half", ["text", "image"])
def test_weights_are_a_softmax_of_dot_products_over_the_root_of_head_dim(rng, half):
    """Values that reveal the weights: token j carries, behind its content, a 1 at place j. The log of two weights'
    ratio is (q . k_i - q . k_j) / sqrt(d), with the same q for text and image."""
    layer = attention(rng, 4, 10, 1, 4, scale=1.0)
    reads_place = torch.cat([torch.zeros(4, 6), torch.eye(4)], 1)
    key, value, silent = (*FROM_TEXT, "to_v_image") if half == "text" else (*FROM_IMAGE, "to_v")
    set_weights(layer, **{value: reads_place, silent: 0.0}, to_out=torch.eye(4), bias=0.0)
    tokens = torch.cat([randn(rng, 2, 4, 6), torch.eye(4).double().expand(2, -1, -1)], -1)
    x, other = randn(rng, 2, 3, 4), randn(rng, 2, 2, 10)
    weights = layer(x, tokens, other) if half == "text" else layer(x, other, tokens)
    hint = "softmax over the half's own tokens, and to_out once"
    expect_close(weights.sum(-1), torch.ones(2, 3).double(), what=f"each query's sum of {half} weights", hint=hint)
    logits = layer.to_q(x) @ getattr(layer, key)(tokens).transpose(1, 2)
    hint = f"q from to_q, keys from {key}, divided by sqrt(head_dim); the scale is no part of the logits"
    ratio = weights.log() - weights.log()[..., :1]
    want = (logits - logits[..., :1]) / 2
    expect_close(ratio, want, what=f"log(weight_j / weight_0) of the {half} for head_dim 4", hint=hint)


def test_training_moves_the_new_layers_and_nothing_else(rng):
    """AdamW with weight decay over *all* parameters, as people call it: what has no gradient must not move."""
    layer, projection = attention(rng), ImageProjection(8, 7, 3).double()
    x, context, _ = inputs(rng)
    embedding, slope = randn(rng, 2, 8), randn(rng, 2, 4, 5)
    parameters = dict(layer.named_parameters()) | dict(projection.named_parameters())
    before = {name: p.detach().clone() for name, p in parameters.items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.01, weight_decay=0.1)
    backward((layer(x, context, projection(embedding)) * slope).sum())
    optimizer.step()
    moved = sorted(name for name, p in parameters.items() if not torch.equal(p, before[name]))
    want = sorted([*NEW, "proj.weight", "proj.bias", "norm.weight", "norm.bias"])
    hint = "freeze to_q, to_k, to_v and to_out; detach neither image_tokens nor the image's keys and values"
    expect_equal(moved, want, what="the parameters that one training step has moved", hint=hint)
