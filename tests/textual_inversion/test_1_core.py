"""Stage 1. Both lookups, the start, what trains, the merged table, the loss."""

import pytest
import torch
from torch import nn

from dojo.testing import backward, expect, expect_close, expect_equal, expect_unchanged, randn
from dojo.testing.modules import expect_parameters, fill
from katas.textual_inversion import LearnedTokens, prior_preservation_loss

from .helpers import NEW, OLD, pictures, table, trained, worked_example

TWO = torch.tensor([[1.0, 2.0], [3.0, 4.0], [0.0, 1.0], [1.0, 0.0]])  # squared errors 1 4 9 16 | 0 1 1 0 from zeros


def test_the_parameters_are_the_base_and_the_new_rows(rng):
    """Two tables, not one: `new` is a Parameter of its own, [count, dim], and no embedding layer."""
    layer = LearnedTokens(table(rng), 2, 3)
    hint = "self.base is the embedding that was given; self.new is an nn.Parameter [count, dim]; nothing else is one"
    expect_parameters(
        layer, {"base.weight": [7, 3], "new": [2, 3]}, what="LearnedTokens(base, count=2, init_id=3)", hint=hint
    )
    hint = "no buffers either: a copy of the table would be saved with every checkpoint"
    expect_equal(sorted(layer.state_dict()), ["base.weight", "new"], what="the keys of the state dict", hint=hint)


@pytest.mark.parametrize("frozen_before", [False, True])
def test_only_the_new_rows_train(rng, frozen_before):
    """The optimizer takes what requires a gradient. Scripts freeze the text encoder first: `new` must not inherit that."""
    layer = LearnedTokens(table(rng).requires_grad_(not frozen_before), 2, 3)
    names = sorted(name for name, parameter in layer.named_parameters() if parameter.requires_grad)
    hint = "freeze base.weight with requires_grad_(False); new is an nn.Parameter and requires a gradient"
    expect_equal(names, ["new"], what="the list of trainable parameters", hint=hint)


def test_the_base_is_kept_not_copied(rng):
    """The table may be tied to an output layer, and a copy is 150 MB for CLIP's."""
    base = table(rng)
    weight, tied = base.weight, base.weight.detach()
    with expect_unchanged(weight, what="the pretrained table", hint="its rows stay as they are"):
        layer = LearnedTokens(base, 2, 3)
    expect(layer.base is base, "layer.base should be the very embedding that was given, but is another", hint="no copy")
    hint = "requires_grad_(False) freezes in place"
    expect(layer.base.weight is weight, "base.weight should stay the same Parameter, but was replaced", hint=hint)
    sentence = "base.weight should stay in the same memory, but was moved: whoever shares it is cut off"
    expect(layer.base.weight.data_ptr() == tied.data_ptr(), sentence, hint=hint)


@pytest.mark.parametrize(("count", "init_id"), [(1, 3), (2, 0), (3, 6)])
def test_new_rows_start_as_copies_of_the_init_row(rng, count, init_id):
    """A word that already means something near, "cat" for your cat, is a better start than noise."""
    base = table(rng)
    layer = LearnedTokens(base, count, init_id)
    want = torch.stack([base.weight[init_id].detach()] * count)
    what, hint = f"new for count={count} and init_id={init_id}", "each new row starts as a copy of base.weight[init_id]"
    expect_close(layer.new, want, what=what, hint=hint, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("count", [3, 1])
def test_new_rows_share_memory_with_no_other_row(rng, count):
    """An alias trains the init word too; rows that are one memory cannot learn two words."""
    layer = LearnedTokens(table(rng), count, 2)
    hint = "copy the row: detach(), a slice, and expand().contiguous() of one row share its memory"
    with expect_unchanged(layer.base.weight, what="the base's table, while new[0] is overwritten,", hint=hint):
        fill(layer.new[0], [1.0, 2.0, 3.0], what="new[0]")
    want, hint = layer.base.weight[2:3].detach().repeat(count - 1, 1), "expand() shares; repeat() copies"
    expect_equal(layer.new[1:].detach(), want, what="new[1:] after new[0] is overwritten", hint=hint)


def test_old_ids_find_old_rows_and_new_ids_new_ones():
    """A worked example: V = 4, so the ids 4 and 5 are the new rows 0 and 1."""
    layer = worked_example()
    for id, row in enumerate([*OLD, *NEW]):
        kind = f"base.weight[{id}]" if id < 4 else f"new[{id - 4}]"
        what = f"the row of id {id}, with 4 rows in the base,"
        hint = f"it is {kind}: ids from V on are new, and V itself is the first of them"
        expect_close(layer(torch.tensor([id]))[0], row, what=what, hint=hint)
    ids = torch.tensor([0, 5, 3, 4, 1, 5])
    want = torch.stack([OLD[0], NEW[1], OLD[3], NEW[0], OLD[1], NEW[1]])
    expect_close(
        layer(ids), want, what="layer([0, 5, 3, 4, 1, 5])", hint="each id on its own: old or new, place by place"
    )


def test_the_gradient_of_a_new_row_is_the_sum_over_its_places():
    """A prompt may have the word twice. Rows of the base have no gradient at all."""
    layer = worked_example()
    slope = torch.tensor([[1.0, 2.0], [10.0, 20.0], [100.0, 200.0], [1000.0, 2000.0]])
    backward((layer(torch.tensor([5, 0, 4, 5])) * slope).sum(), what="layer([5, 0, 4, 5])")
    expect(layer.new.grad is not None, "new should get a gradient, but has none", hint="no detach(), no .data")
    want = torch.tensor([[100.0, 200.0], [1001.0, 2002.0]])
    hint = "a sum, no mean; each new row has its own"
    expect_close(layer.new.grad, want, what="the gradient of new for ids [5, 0, 4, 5]", hint=hint)
    without = layer.base.weight.grad is None
    expect(without, "base.weight should get no gradient, but has one", hint="requires_grad_(False)")


def test_the_merged_table_has_all_rows_in_the_order_of_their_ids():
    """What a program that knows nothing of new words can load: an nn.Embedding with V + count rows."""
    merged = worked_example().merged()
    named = type(merged).__name__
    expect(isinstance(merged, nn.Embedding), f"merged() should be an nn.Embedding, but is a {named}")
    hint = "old rows first, then the new ones"
    expect_equal(merged.weight.detach(), torch.cat([OLD, NEW]), what="merged().weight", hint=hint)
    sizes, hint = (merged.num_embeddings, merged.embedding_dim), "make the embedding with V + count rows"
    expect_equal(sizes, (6, 2), what="(num_embeddings, embedding_dim) of merged()", hint=hint)


def test_merged_answers_as_the_layer_does(rng):
    """Old and new ids, to the last bit."""
    layer, ids = trained(rng), torch.tensor([[8, 0, 6], [7, 7, 3]])
    want, hint = layer(ids).detach(), "the same rows as in the two tables, under the same ids"
    expect_equal(layer.merged()(ids).detach(), want, what="merged()(ids), against layer(ids)", hint=hint)


def test_merged_shares_no_memory_with_the_layer(rng):
    """Whoever goes on training the one must not change the other."""
    layer = trained(rng)
    merged = layer.merged()
    with expect_unchanged(layer.base.weight, layer.new, what="a table of the layer", hint="merged() is a copy"):
        fill(merged.weight, 0.0, what="merged().weight")
    merged = layer.merged()
    with expect_unchanged(merged.weight, what="merged().weight, while the layer learns,", hint="merged() is a copy"):
        fill(layer.new, 0.0, what="new")
    leaf = merged.weight.is_leaf and isinstance(merged.weight, nn.Parameter)
    sentence = "merged().weight should be a Parameter and a leaf, but has a graph, which keeps the layer's tables alive"
    expect(leaf, sentence, hint="detach, or torch.no_grad()")


def test_the_loss_is_the_instance_mean_plus_the_weighted_class_mean():
    """A worked example: the instance half has the squared errors 1, 4, 9, 16, the class half 0, 1, 1, 0."""
    hint = "mean over the first half + prior_weight * mean over the second half"
    for prior_weight, want in ((1.0, 8.0), (0.0, 7.5), (3.0, 9.0)):
        got = prior_preservation_loss(TWO, torch.zeros(4, 2), prior_weight=prior_weight)
        what = (
            f"the loss of instance errors [1, 4, 9, 16] and class errors [0, 1, 1, 0] at prior_weight={prior_weight:g}"
        )
        expect_close(got, torch.tensor(want), what=what, hint=hint)
    what = "the loss of the same errors without a prior_weight"
    expect_close(prior_preservation_loss(TWO, torch.zeros(4, 2)), torch.tensor(8.0), what=what, hint="1 by default")


def test_exchanging_the_halves_exchanges_their_roles(rng):
    """Weight w of the class half is weight 1 / w of the instance half, but for the factor w."""
    prediction, target = pictures(rng)
    swapped = (torch.cat([each[3:], each[:3]]) for each in (prediction, target))
    got = 0.25 * prior_preservation_loss(*swapped, prior_weight=4.0)
    want = prior_preservation_loss(prediction, target, prior_weight=0.25)
    hint = "the first n samples are the instance, the last n the class; prior_weight is for the class"
    expect_close(got, want, what="a quarter of the loss of exchanged halves at prior_weight=4, against 0.25", hint=hint)


def test_each_sample_has_its_own_weight(rng):
    """A weight counts for the sample it stands beside, in either half, and for no other (Min-SNR gives such weights)."""
    prediction, target = pictures(rng)
    none = torch.zeros(6, dtype=torch.float64)
    errors = (prediction - target).square().mean((1, 2))
    for place in range(6):
        weights = none.clone()
        weights[place] = 3.0
        got = prior_preservation_loss(prediction, target, prior_weight=0.5, weights=weights)
        want = errors[place] * (1.0 if place < 3 else 0.5)  # 3 of 3 samples
        hint = "weights[i] multiplies the squared errors of sample i, before the halves' means over n samples"
        expect_close(got, want, what=f"the loss when only sample {place} of 6 counts, with weight 3", hint=hint)
    twice = prior_preservation_loss(prediction, target, weights=2.0 + none)
    want = 2 * prior_preservation_loss(prediction, target)
    hint = "do not divide by the sum of the weights"
    expect_close(twice, want, what="the loss at weights of 2, against twice the loss without weights", hint=hint)


def test_prediction_and_target_play_the_same_role(rng):
    """A squared difference: no absolute value, and no half before it."""
    prediction, target = randn(rng, 4, 2), randn(rng, 4, 2)
    once, shift = prior_preservation_loss(prediction, target), 2 * prediction - target
    hint = "squared errors, in both halves"
    got = prior_preservation_loss(shift, target)
    expect_close(got, 4 * once, what="the loss of errors twice as large, against 4 times the loss", hint=hint)
