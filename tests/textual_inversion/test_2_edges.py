"""Stage 2. Any shape of ids, rows that hold NaN, options of the base, halves and weights of the loss, wrong arguments."""

import pytest
import torch

from dojo.testing import backward, expect, expect_close, expect_equal, expect_raises, expect_unchanged, randint, randn
from dojo.testing.modules import fill
from katas.textual_inversion import LearnedTokens, prior_preservation_loss

from .helpers import pictures, rows_of, table, trained, worked_example

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("shape", [(), (1,), (5,), (0,), (2, 0), (2, 4), (2, 3, 4)], ids=str)
def test_ids_may_have_any_shape(rng, shape):
    """A prompt, a batch of prompts, one id, none."""
    layer, ids = trained(rng), randint(rng, 0, 9, *shape)
    want = torch.zeros(*shape, 3)
    for row, id in zip(want.view(-1, 3), ids.flatten().tolist(), strict=True):
        row.copy_(rows_of(layer)[id])
    with expect_unchanged(ids, what="ids", hint="`ids - V` makes a new tensor, `ids -= V` does not"):
        got = layer(ids)
    hint = "one row for each id, whatever the shape of ids"
    expect_equal(got.detach(), want, what=f"the rows for ids of shape {list(shape)}", hint=hint)


@pytest.mark.parametrize("sizes", [(1, 1), (1, 3), (5, 1), (2, 6)], ids=str)
def test_tables_may_have_any_number_of_rows(rng, sizes):
    """A single old row, more new rows than old ones."""
    vocab, count = sizes
    layer = trained(rng, vocab=vocab, count=count)
    ids, want = torch.arange(vocab + count).flip(0), torch.stack(rows_of(layer)[::-1])
    hint = "row 0 exists in every table, row 1 does not"
    what = f"the rows of all ids, V={vocab} and count={count}"
    expect_equal(layer(ids).detach(), want, what=what, hint=hint)


def test_ids_in_a_view_are_read_in_place(rng):
    """Tokenizers' batches come transposed or strided."""
    layer, ids = trained(rng), randint(rng, 0, 9, 4, 3)
    hint = "reshape, not view"
    expect_equal(layer(ids.T).detach(), layer(ids).transpose(0, 1).detach(), what="layer(ids.T)", hint=hint)


def test_rows_that_are_not_looked_up_reach_nothing(rng):
    """A broken row that no prompt uses does no harm. A product of rows with a mask of zeros lets its NaN through."""
    layer = trained(rng)
    with torch.no_grad():
        layer.base.weight[[0, 1, 4, 5, 6]] = NAN
        layer.new[0] = INF
    ids, hint = torch.tensor([8, 2, 3, 8]), "select with torch.where or an index; a product 0 * NaN is NaN"
    want = torch.stack([rows_of(layer)[id] for id in ids.tolist()])
    got = layer(ids)
    expect_equal(got.detach(), want, what="the rows of sound ids, beside rows of NaN and infinity", hint=hint)
    backward(got.sum(), what="the result")
    want = torch.tensor([[0.0], [2.0]]).expand(2, 3)
    expect_close(layer.new.grad, want, what="the gradient of new, beside rows of NaN and infinity", hint=hint)


def test_a_batch_without_new_ids_has_a_graph(rng):
    """The class half of DreamBooth has no new word: backward() must work there too, and give zero."""
    layer, hint = trained(rng), "no shortcut past the new rows: the result depends on them, with gradient zero"
    backward(layer(torch.tensor([[0, 1], [6, 2]])).sum(), what="the result for old ids alone", hint=hint)
    grad = torch.zeros(2, 3) if layer.new.grad is None else layer.new.grad
    expect_close(grad, torch.zeros(2, 3), what="the gradient of new for old ids alone", hint=hint)


def test_the_base_has_its_options_still(rng):
    """The padding row of CLIP's table is a word like any other, with numbers that are not zero."""
    base = table(rng, padding_idx=2, scale_grad_by_freq=True, sparse=True)
    want = base.weight[2].detach().clone()
    layer = LearnedTokens(base, 2, 2)
    hint = "freeze the base and leave everything else of it alone"
    options = (base.padding_idx, base.scale_grad_by_freq, base.sparse, base.num_embeddings)
    what = "(padding_idx, scale_grad_by_freq, sparse, num_embeddings) of the base"
    expect_equal(options, (2, True, True, 7), what=what, hint=hint)
    hint = "padding_idx concerns gradients, and the values of fresh tables"
    expect_close(layer(torch.tensor([2]))[0], want, what="the padding row, layer([padding_idx])", hint=hint)
    expect_close(layer.new[0], want, what="a new row that starts from the padding row", hint=hint)


@pytest.mark.parametrize("padding", [0, 1, 6])
def test_no_new_row_is_a_padding_row(rng, padding):
    """The base's padding_idx is a row of the base. Passed on to the new table, it stops the row of that number."""
    layer = trained(rng, padding_idx=padding)
    backward(layer(torch.tensor([7, 8, padding])).sum(), what="the result")
    hint = "look new rows up without the base's padding_idx"
    what = f"the gradient of new for ids [7, 8, {padding}], where the base has padding_idx={padding}"
    expect_close(layer.new.grad, torch.ones(2, 3), what=what, hint=hint)


@pytest.mark.parametrize("option", ["scale_grad_by_freq", "sparse"])
def test_the_gradient_is_a_dense_sum_whatever_options_the_base_has(rng, option):
    """AdamW takes no sparse gradients, and a word that stands twice in a prompt pulls twice."""
    layer = trained(rng, **{option: True})
    backward(layer(torch.tensor([8, 7, 8, 8])).sum(), what="the result")
    hint = f"look new rows up without {option}"
    dense = layer.new.grad.layout == torch.strided
    expect(dense, f"the gradient of new should be dense, but is {layer.new.grad.layout}", hint=hint)
    want = torch.tensor([[1.0], [3.0]]).expand(2, 3)
    expect_close(layer.new.grad, want, what=f"the gradient of new for ids [8, 7, 8, 8], {option}=True", hint=hint)


@pytest.mark.parametrize("padding", [None, 0, 6])
def test_merged_has_the_options_of_the_base(rng, padding):
    """Also the padding row's numbers: a fresh nn.Embedding zeroes them, and so do some ways of filling it."""
    for flags in ((True, False), (False, True), (False, False)):
        layer = trained(rng, padding_idx=padding, scale_grad_by_freq=flags[0], sparse=flags[1])
        merged = layer.merged()
        options = (merged.padding_idx, merged.scale_grad_by_freq, merged.sparse, merged.max_norm)
        what, hint = (
            "(padding_idx, scale_grad_by_freq, sparse, max_norm) of merged()",
            "hand the base's options to nn.Embedding",
        )
        expect_equal(options, (padding, *flags, None), what=what, hint=hint)
    want, hint = torch.stack(rows_of(layer)), "fill the table after the padding row was zeroed"
    expect_equal(merged.weight.detach(), want, what=f"merged().weight with padding_idx={padding}", hint=hint)


def test_merging_leaves_the_layer_as_it_is(rng):
    """Called in the middle of training to save a picture: new still trains, base does not, and both tables are two."""
    layer = trained(rng)
    base, weight, new = layer.base, layer.base.weight, layer.new
    with expect_unchanged(weight, new, what="a table of the layer", hint="merged() makes a table of its own"):
        layer.merged()
    same = layer.base is base and base.weight is weight and layer.new is new
    expect(same, "merged() should leave base and new as they are, but replaced one", hint="build another nn.Embedding")
    state = (weight.requires_grad, new.requires_grad, base.num_embeddings)
    what = "(base.weight.requires_grad, new.requires_grad, base.num_embeddings) after merged()"
    expect_equal(state, (False, True, 7), what=what, hint="merged() changes nothing")


@pytest.mark.parametrize("training", [True, False])
def test_tables_count_as_they_are_at_the_call(rng, training):
    """A checkpoint is loaded, or the rows have learned: a table that was made earlier is stale, after eval() too."""
    layer, hint = trained(rng).train(training), "read base.weight and new at each call"
    layer(torch.tensor([0, 8])), layer.merged()
    fill(layer.base.weight, randn(rng, 7, 3), what="base.weight")
    fill(layer.new, randn(rng, 2, 3), what="new")
    want = torch.stack(rows_of(layer))
    expect_equal(layer(torch.arange(9)).detach(), want, what="the rows after both tables changed", hint=hint)
    expect_equal(layer.merged().weight.detach(), want, what="merged().weight after both tables changed", hint=hint)


@pytest.mark.parametrize("rest", [(), (4,), (1, 2, 3), (2, 1, 2, 2)], ids=str)
@pytest.mark.parametrize("n", [1, 3])
def test_samples_may_have_any_shape(rng, n, rest):
    """The mean over a half is over all its elements, so it is the mean of its samples' means."""
    prediction, target = pictures(rng, 2 * n, rest)
    weights = randint(rng, 1, 5, 2 * n).double()
    errors = [((a - b) ** 2).mean() * w for a, b, w in zip(prediction, target, weights, strict=True)]
    with expect_unchanged(prediction, target, weights, what="an argument", hint="work out of place"):
        got = prior_preservation_loss(prediction, target, prior_weight=0.3, weights=weights)
    want = sum(errors[:n]) / n + 0.3 * sum(errors[n:]) / n
    hint = "one scalar; chunk the batch dimension in two, for weights as well"
    expect_close(got, want, what=f"the loss of {n} + {n} samples of shape {list(rest)}", hint=hint)


def test_predictions_in_a_view_work(rng):
    """Channels last, or a slice of a larger batch."""
    prediction, target = pictures(rng, 4, (3, 2, 5))
    want = prior_preservation_loss(prediction, target)
    views = [each.transpose(1, 3).contiguous().transpose(1, 3) for each in (prediction, target)]
    hint = "reshape, not view"
    expect_close(prior_preservation_loss(*views), want, what="the loss of transposed views", hint=hint)


@pytest.mark.parametrize("count", [0, -1])
def test_no_new_rows_is_an_error(rng, count):
    with expect_raises(ValueError, what=f"LearnedTokens(base, count={count}, init_id=0)"):
        LearnedTokens(table(rng), count, 0)


@pytest.mark.parametrize("init_id", [-1, -7, 7, 8])
def test_an_init_id_outside_the_base_is_an_error(rng, init_id):
    """-1 would quietly be the last row."""
    with expect_raises(ValueError, what=f"LearnedTokens(base, count=1, init_id={init_id}) with 7 rows in the base"):
        LearnedTokens(table(rng), 1, init_id)


@pytest.mark.parametrize("max_norm", [1.0, 0.0])
def test_a_base_with_max_norm_is_an_error(rng, max_norm):
    """Its lookups shrink rows in place, so a frozen table would change without an optimizer."""
    hint = "max_norm is None where there is none; 0.0 is one too"
    with expect_raises(ValueError, what=f"LearnedTokens of a base with max_norm={max_norm:g}", hint=hint):
        LearnedTokens(table(rng, max_norm=max_norm), 1, 0)


@pytest.mark.parametrize("wrong", [-1, 6, 100, -100])
def test_ids_outside_both_tables_are_errors(wrong):
    """Clamped or counted from the end, a wrong id would give some row without a word."""
    layer = worked_example()
    for ids in ([wrong], [[0, 5, wrong], [1, 2, 4]]):
        what = f"layer({ids}) with 4 old rows and 2 new ones"
        with expect_raises(ValueError, what=what, hint="0 <= id < V + count, checked before the lookup"):
            layer(torch.tensor(ids))


@pytest.mark.parametrize(
    ("prediction", "target"),
    [((4, 3), (4, 1)), ((4, 3), (2, 3)), ((4, 6), (4, 3, 2)), ((4, 3), (3,)), ((4, 3), ()), ((1, 3), (4, 3))],
    ids=str,
)
def test_prediction_and_target_of_two_shapes_are_errors(prediction, target):
    """Some broadcast to a loss that means nothing."""
    with expect_raises(ValueError, what=f"the loss of shapes {list(prediction)} and {list(target)}"):
        prior_preservation_loss(torch.ones(prediction), torch.zeros(target))


@pytest.mark.parametrize("shape", [(3, 2), (1, 4), (5,), (0, 3), (0,), ()], ids=str)
def test_a_batch_without_two_equal_halves_is_an_error(shape):
    prediction = torch.ones(shape)
    with expect_raises(
        ValueError, what=f"the loss of shape {list(shape)}", hint="an even number of samples, 2 or more"
    ):
        prior_preservation_loss(prediction, prediction + 1)


@pytest.mark.parametrize("shape", [(2,), (3,), (1,), (), (4, 1), (1, 4), (4, 4), (2, 2)], ids=str)
def test_weights_of_another_shape_are_errors(rng, shape):
    """One number for each sample of the whole batch, [4] here."""
    prediction, target = pictures(rng, 4, (4,))
    with expect_raises(ValueError, what=f"the loss of 4 samples with weights of shape {list(shape)}"):
        prior_preservation_loss(prediction, target, weights=torch.ones(shape))


@pytest.mark.parametrize("wrong", [-0.5, -INF, NAN])
def test_a_negative_prior_weight_is_an_error(rng, wrong):
    with expect_raises(ValueError, what=f"the loss at prior_weight={wrong}"):
        prior_preservation_loss(*pictures(rng), prior_weight=wrong)
