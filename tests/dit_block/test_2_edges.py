"""Stage 2. Heads, samples and tokens, sizes, wrong arguments."""

import warnings

import pytest
import torch

from dojo.testing import expect_close, expect_equal, expect_raises, numbers, randn
from dojo.testing.attention import expect_softmax
from dojo.testing.modules import expect_parameters, fill
from katas.dit_block import DiTBlock, FinalLayer

from .helpers import (
    DIM,
    HEADS,
    LAST,
    alone,
    normed,
    random_block,
    random_final,
    set_modulation,
    transparent_block,
)

LAYOUT = "qkv(z) is [q | k | v], dim each, and each third is [heads, head_dim], head by head"


def test_attention_weights_are_a_softmax_for_each_head(rng):
    """v is made so that token t has a one in place t of each head: then each head answers with its weights. Nothing is
    masked, and each head has a softmax of its own."""
    x, wq, wk = randn(rng, 1, 3, DIM), 0.4 * randn(rng, DIM, DIM), 0.4 * randn(rng, DIM, DIM)
    z = normed(x)[0]
    wv = (torch.linalg.pinv(z) @ torch.eye(3).double().repeat(1, 2)).mT
    block = set_modulation(transparent_block(DIM, HEADS), gate1=1.0)
    fill(block.get_parameter("qkv.weight"), torch.cat([wq, wk, wv]))
    got = (block(x.clone(), randn(rng, 1, DIM)) - x)[0]
    hint = f"softmax of q k^T / sqrt(head_dim) along the keys, without a mask; {LAYOUT}"
    for head in range(HEADS):
        rows = slice(3 * head, 3 * head + 3)
        scores = (z @ wq[rows].mT) @ (z @ wk[rows].mT).mT / 3**0.5
        what = f"the weights of head {head}, [queries, keys],"
        expect_softmax(got[:, rows], scores, what=what, hint=hint)


def test_equal_scores_give_the_mean_of_all_tokens(rng):
    """Of one sample's tokens, those that come later included. proj comes behind it."""
    x, proj = randn(rng, 2, 5, DIM), randn(rng, DIM, DIM)
    block = set_modulation(transparent_block(DIM, HEADS), gate1=1.0)
    fill(block.get_parameter("proj.weight"), proj)
    got = block(x.clone(), randn(rng, 2, DIM)) - x
    want = (normed(x).mean(1, keepdim=True) @ proj.mT).expand_as(x)
    hint = "attention runs over the tokens of a sample, not over samples or heads, and sees all of them"
    expect_close(got, want, what="what attention adds where q and k are 0 and v is what is read", hint=hint)


@pytest.mark.parametrize("heads", [1, 2, 3, 6])
def test_heads_are_put_together_as_they_were_taken_apart(rng, heads):
    """With one token each head answers with its own part of v, so that all of them together are v."""
    block, x, c = random_block(rng, DIM, heads), randn(rng, 3, 1, DIM), randn(rng, 3, DIM)
    z = randn(rng, DIM)
    got = set_modulation(block, shift1=z, scale1=-1.0, gate1=1.0)(x.clone(), c.clone()) - x
    want = block.proj(block.qkv(z)[2 * DIM :]).expand_as(x)
    expect_close(got, want, what=f"what attention of {heads} heads adds for one token", hint=LAYOUT)


@pytest.mark.parametrize(("batch", "tokens"), [(3, 3), (2, 4), (4, 2), (1, 3), (3, 1), (6, 6)], ids=str)
def test_each_sample_is_computed_as_if_alone(rng, batch, tokens):
    """Its own tokens, and its own row of c for all of them. Where there are as many tokens as samples, [batch, dim]
    broadcasts along the wrong dimension, and nobody complains."""
    x, c = randn(rng, batch, tokens, DIM), randn(rng, batch, DIM)
    for name, module in (("the block", random_block(rng)), ("the final layer", random_final(rng))):
        got = module(x.clone(), c.clone())
        expect_equal(
            list(got.shape[:2]), [batch, tokens], what=f"the shape of {name} of x {list(x.shape)}, but features,"
        )
        hint = "row i of c is for sample i: [batch, dim] -> [batch, 1, dim]"
        expect_close(got, alone(module, x, c), what=f"{name} of {list(x.shape)}, against samples alone", hint=hint)


def test_each_row_of_c_touches_its_own_sample(rng):
    """Another row 1 changes every token of sample 1 and no other sample."""
    x, c = randn(rng, 3, 3, DIM), randn(rng, 3, DIM)
    other = c.clone()
    other[1] = randn(rng, DIM)
    for name, module in (("the block", random_block(rng)), ("the final layer", random_final(rng))):
        change = (module(x.clone(), other.clone()) - module(x.clone(), c.clone())).abs().amax(-1)
        expect_equal(list(change.shape), [3, 3], what=f"the shape of {name} of x [3, 3, 6], but features,")
        hint = "[batch, dim] -> [batch, 1, dim]: c is for a sample, not for a token"
        changed = (change > 1e-9).tolist()
        want = [[row == 1] * 3 for row in range(3)]
        expect_equal(
            changed, want, what=f"which tokens of {name} change with row 1 of c, [samples, tokens],", hint=hint
        )


def test_tokens_in_another_order_give_answers_in_that_order(rng):
    """No positions inside and no mask: the model adds positions to its patches before the first block."""
    x, c = randn(rng, 2, 5, DIM), randn(rng, 2, DIM)
    order = torch.tensor([3, 0, 4, 2, 1])
    for name, module in (("the block", random_block(rng)), ("the final layer", random_final(rng))):
        what = f"{name} of the tokens [3, 0, 4, 2, 1]"
        hint = "no mask and no positions; merge heads by transpose, then reshape"
        expect_close(module(x[:, order], c.clone()), module(x.clone(), c.clone())[:, order], what=what, hint=hint)


def test_only_attention_mixes_tokens(rng):
    """With gate1 = 0, and in the final layer, every token goes by itself."""
    x, c, z = randn(rng, 2, 4, DIM), randn(rng, 2, DIM), randn(rng, DIM)
    block = set_modulation(random_block(rng), shift2=z, scale2=z, gate2=z)
    for name, module in (("the block with gate1 = 0", block), ("the final layer", random_final(rng))):
        got = torch.cat([module(x[:, i : i + 1].clone(), c.clone()) for i in range(4)], 1)
        hint = "the norm runs along the last dimension alone"
        expect_close(
            got, module(x.clone(), c.clone()), what=f"{name} of single tokens, against four together", hint=hint
        )


def test_a_constant_on_all_features_passes_through(rng):
    """f(x + a) = f(x) + a: the norm takes it out of what the branches read, and nothing else touches the stream."""
    block, x, c = random_block(rng), randn(rng, 2, 3, DIM), randn(rng, 2, DIM)
    a = 5 * randn(rng, 2, 3, 1)
    what = "the block of x + a, where a is one number for all features of a token,"
    hint = "the stream is only ever added to, and branches read it through their norms"
    expect_close(block(x + a, c.clone()), block(x.clone(), c.clone()) + a, what=what, hint=hint)
    layer = random_final(rng)
    expect_close(layer(x + a, c.clone()), layer(x.clone(), c.clone()), what="the final layer of x + a", hint=LAST)


def test_views_with_any_strides_work(rng):
    """x as [tokens, batch, dim] turned round, and one c for all samples by expand."""
    x, c = randn(rng, 3, 4, DIM), randn(rng, 1, DIM).expand(3, DIM)
    view, sliced = x.transpose(0, 1).contiguous().transpose(0, 1), randn(rng, 3, 2 * DIM)
    for name, module in (("the block", random_block(rng)), ("the final layer", random_final(rng))):
        want = module(x.clone(), c.clone())
        expect_close(
            module(view.clone(), c), want, what=f"{name} of a transpose, with an expanded c", hint="reshape, not view"
        )
        want = module(x.clone(), sliced[:, ::2].clone())
        expect_close(module(view.clone(), sliced[:, ::2]), want, what=f"{name} with every second number of a wider c")


def test_training_and_evaluation_are_the_same(rng):
    """No dropout, and no dropped conditions: whoever trains for guidance does that before."""
    x, c = randn(rng, 8, 5, DIM), randn(rng, 8, DIM)
    for name, module in (("the block", random_block(rng)), ("the final layer", random_final(rng))):
        want = module.eval()(x.clone(), c.clone())
        for _ in range(2):
            expect_close(module.train()(x.clone(), c.clone()), want, what=f"{name} in training", hint="no dropout")


def test_modules_share_nothing(rng):
    """Every block has a modulation of its own. (PixArt shares one to save a third of the weights: another model.)"""
    for name, make in (("block", lambda: DiTBlock(DIM, HEADS, 1.5)), ("final layer", lambda: FinalLayer(DIM, 2, 3))):
        one, two = make().double(), make().double()
        before = {key: value.clone() for key, value in two.state_dict().items()}
        for parameter in one.parameters():
            fill(parameter, randn(rng, *parameter.shape))
        for key, value in two.state_dict().items():
            what = f"{key} of a {name} after another {name} has been changed"
            expect_equal(value, before[key], what=what, hint="make every layer in __init__")


@pytest.mark.parametrize(("dim", "ratio", "hidden"), [(6, 1.25, 7), (6, 4.0, 24), (10, 0.5, 5), (7, 1.99, 13)], ids=str)
def test_the_hidden_size_is_truncated(dim, ratio, hidden):
    """int(mlp_ratio * dim); 4 by default."""
    shapes = {"fc1.weight": [hidden, dim], "fc1.bias": [hidden], "fc2.weight": [dim, hidden], "fc2.bias": [dim]}
    for arguments in ((dim, 1, ratio), (dim, 1)):
        if len(arguments) == 3 or ratio == 4.0:
            block = DiTBlock(*arguments)
            rest = {n: p.shape for n, p in block.named_parameters() if not n.startswith("fc")}
            expect_parameters(block, shapes | rest, what=f"DiTBlock{arguments}", hint="int(mlp_ratio * dim)")


def test_the_output_of_the_final_layer_is_patch_size_squared_times_channels(rng):
    """A patch is a square."""
    for dim, patch_size, channels in ((6, 1, 1), (5, 2, 4), (1, 3, 2), (4, 4, 1)):
        got = FinalLayer(dim, patch_size, channels)(randn(rng, 2, 3, dim).float(), randn(rng, 2, dim).float())
        what = f"the shape of FinalLayer({dim}, {patch_size}, {channels}) of x [2, 3, {dim}]"
        expect_equal(list(got.shape), [2, 3, patch_size**2 * channels], what=what, hint="patch_size^2 * out_channels")


def test_a_sequence_of_one_feature_is_its_shift():
    """dim = 1: norm gives 0, so that the branches read their shifts alone."""
    block = set_modulation(transparent_block(1), shift1=2.0, scale1=7.0, gate1=1.0, shift2=-3.0, scale2=7.0, gate2=0.5)
    got = block(numbers(5, -4)[None, :, None], numbers(1)[None])
    what = "the block of tokens [5], [-4], where attention adds its shift 2 and the mlp half of its shift -3"
    expect_close(got, numbers(5.5, -3.5)[None, :, None], what=what, hint="norm(x) * (1 + scale) + shift")


@pytest.mark.parametrize(
    "arguments", [(6, 4), (4, 6), (0, 1), (-4, 2), (-4, 2, -1.0), (4, 0), (4, -2), (4, 2, 0.0), (4, 2, 0.2)], ids=str
)
def test_wrong_sizes_of_the_block_are_errors(arguments):
    """4 % -2 is 0 in Python, and a hidden size of 0 makes an empty layer, with no more than a warning."""
    hint = "dim, heads and int(mlp_ratio * dim) are at least 1, and dim is a multiple of heads"
    with warnings.catch_warnings(action="ignore"), expect_raises(ValueError, what=f"DiTBlock{arguments}", hint=hint):
        DiTBlock(*arguments)


@pytest.mark.parametrize("arguments", [(0, 2, 3), (4, 0, 3), (4, -1, 3), (4, 2, 0), (-4, 2, 3), (4, 2, -3)], ids=str)
def test_wrong_sizes_of_the_final_layer_are_errors(arguments):
    """(-1)^2 is 1, and no patch has -1 pixels on a side."""
    with (
        warnings.catch_warnings(action="ignore"),
        expect_raises(ValueError, what=f"FinalLayer{arguments}", hint="each of the three is at least 1"),
    ):
        FinalLayer(*arguments)
