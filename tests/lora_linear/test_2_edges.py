"""Stage 2. Shapes, dropout, bad values, merging at awkward moments."""

import copy

import pytest
import torch
from torch import nn

from dojo.testing import expect, expect_close, expect_distribution, expect_equal, expect_raises, expect_unchanged, randn
from dojo.testing.modules import fill
from katas.lora_linear import LoRALinear

from .helpers import ANSWER, MERGED, X, frozen, trained, vectors, worked_example


@pytest.mark.parametrize("shape", [(), (1,), (4,), (0,), (2, 3), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_any_leading_dimensions_work_as_in_the_base(rng, shape, bias):
    """Every vector of a batch is answered as it would be alone, and a base without bias stays without."""
    layer, x = trained(rng, bias=bias), vectors(rng, *shape, 5)
    want = torch.zeros(*shape, 7)
    for row, vector in zip(want.view(-1, 7), x.view(-1, 5), strict=True):
        row.copy_(layer(vector).detach())
    hint = "F.linear and @ take any leading dimensions; do not assume that there are one or two"
    expect_close(layer(x), want, what=f"the output for x of shape {[*shape, 5]}", hint=hint)
    zero = torch.zeros(5)
    hint = "the update has no bias of its own; the base adds its bias once, where it has one"
    expect_close(layer(zero), frozen(layer, zero), what="the output for x = 0", hint=hint)
    expect_equal(layer.base.bias is not None, bias, what="whether the base has a bias")


def test_views_with_any_strides_work_and_x_is_not_modified(rng):
    """Activations often arrive transposed. The base, and the residual around the layer, still need x as it was."""
    layer, dense = trained(rng), vectors(rng, 3, 4, 5)
    view = dense.transpose(0, 2).contiguous().transpose(0, 2)  # the same numbers, not contiguous
    with expect_unchanged(dense, view, what="x", hint="no inplace=True, no `x *=`"):
        expect_close(layer(view), layer(dense), what="the output for a transposed view", hint="reshape, not view")
        trained(rng, dropout=0.5).train()(dense)
    expect(
        not dense.requires_grad, "x should be left as it is, but requires a gradient now", hint="no requires_grad_()"
    )


def test_the_base_sees_x_without_dropout(rng):
    """With B = 0 the dropped branch adds nothing: in training mode, too, the new layer is its base."""
    layer, x = LoRALinear(nn.Linear(5, 7), 3, 1.5, 0.5).train(), vectors(rng, 20, 5)
    hint = "drop the input of the update only, and not in place"
    expect_close(layer(x), frozen(layer, x), what="a new layer with dropout, in training", hint=hint)


def test_dropout_drops_single_inputs_of_the_update():
    """x = [1, 2, 4, 8] and A of ones: the update tells which inputs survived. Chi-square over 4000 rows: 1e-6 false
    alarms. Also, an update scaled by 1 - p, or not at all, in training is another function than in evaluation."""
    p, B = 0.25, torch.tensor([[1.0], [-3.0], [0.5]])
    layer = LoRALinear(nn.Linear(4, 3, bias=False), 1, 2.0, p).train()
    fill(layer.base.weight, torch.zeros(3, 4))
    fill(layer.lora_A, torch.ones(1, 4))
    fill(layer.lora_B, B)
    x = torch.tensor([1.0, 2.0, 4.0, 8.0]).repeat(4000, 1)
    survived = layer(x).detach() * (1 - p) / (2.0 * B.T)  # the sum of the kept inputs, [4000, 3]
    what, hint = "(1 - dropout) * sum(dropout([1, 2, 4, 8]))", "kept inputs are divided by 1 - dropout"
    expect_close(survived, survived.round(), what=what, hint=hint)
    first = survived[:, :1].round()
    hint = "drop the input of the update, not its output: all outputs see the same x"
    expect_close(survived, first.expand(-1, 3), what="the sum of kept inputs, as each output sees it", hint=hint)
    kept = (torch.arange(16)[:, None] >> torch.arange(4)) & 1  # the subset of inputs behind each sum, [16, 4]
    probs = torch.where(kept == 1, 1 - p, p).prod(-1)
    hint = "each element of x is dropped on its own, with probability dropout, before A"
    expect_distribution(first.long(), probs, what="the sums of kept inputs of [1, 2, 4, 8]", hint=hint)


def test_dropout_draws_anew_in_every_pass(rng):
    """A mask that is kept, or drawn from a seed of its own, trains the same part of the adapter every time. That two
    passes over 100 inputs agree by chance has probability 2^-100."""
    layer, x = trained(rng, 100, 7, dropout=0.5).train(), vectors(rng, 1, 100)
    hint = "let nn.Dropout draw; keep no mask, and seed nothing"
    same = torch.equal(layer(x), layer(x))
    expect(not same, "two passes in training should drop different inputs, but gave the same output", hint=hint)


def test_dropout_is_off_in_evaluation():
    """F.dropout drops in any mode unless it is told `training=self.training`; an nn.Dropout module knows."""
    layer = worked_example(dropout=0.5).eval()
    for _ in range(3):
        expect_close(layer(X), ANSWER, what="layer([1, 2, 3]) in eval mode", hint="dropout is for training only")


def test_merging_merges_the_whole_update_in_training_too():
    """A weight merged from a dropped A lacks entries, and no later unmerge knows which."""
    layer = worked_example(dropout=0.5).train()
    layer.merge()
    expect_close(layer.base.weight, MERGED, what="base.weight after merge() in training", hint="no dropout in merge()")
    for _ in range(3):
        hint = "merged: base(x), with nothing dropped"
        expect_close(layer(X), ANSWER, what="the merged layer in training", hint=hint)
    layer.unmerge()
    left = torch.tensor([11.0, 22.0, 33.0, 46.0])
    expect_close(frozen(layer, X), left, what="W [1, 2, 3] + b after unmerge()", hint="no dropout in unmerge()")


def test_merging_twice_merges_once():
    """A saver asks for it, and a server asks again: the second call must not double the update."""
    layer = worked_example()
    layer.merge()
    layer.merge()
    hint = "do nothing if it is merged already"
    expect_close(layer.base.weight, MERGED, what="base.weight after merge() twice", hint=hint)
    layer.unmerge()
    expect_close(layer(X), ANSWER, what="the output after merge() twice and unmerge()", hint="one unmerge undoes it")


def test_unmerging_what_is_not_merged_does_nothing():
    """Neither at the start nor after another unmerge is there anything to subtract."""
    layer = worked_example()
    with expect_unchanged(layer.base.weight, what="base.weight", hint="unmerge only what is merged"):
        layer.unmerge()
    layer.merge()
    layer.unmerge()
    layer.unmerge()
    hint = "unmerge() checks `merged`, and sets it back to False"
    expect_close(layer(X), ANSWER, what="the output after merge() and unmerge() twice", hint=hint)


def test_merging_keeps_the_adapter_and_the_frozen_weight(rng):
    """A merged layer can be unmerged, saved and trained on; optimizers and tied layers hold on to its Parameters."""
    layer = trained(rng)
    before = {name: (parameter, parameter.requires_grad) for name, parameter in layer.named_parameters()}
    with expect_unchanged(
        layer.lora_A, layer.lora_B, what="the adapter", hint="merge() leaves lora_A and lora_B alone"
    ):
        layer.merge()
    after = dict(layer.named_parameters())
    expect_equal(sorted(after), sorted(before), what="the parameters of a merged layer", hint="keep lora_A and lora_B")
    for name, parameter in after.items():
        old, trains = before[name]
        sentence = f"{name} should stay the same Parameter, but merge() replaced it"
        expect(parameter is old, sentence, hint="write into it, in place")
        hint = "write under torch.no_grad(), or autograd makes the weight a result of A and B"
        what = f"(requires_grad, is_leaf) of {name} after merge()"
        expect_equal((parameter.requires_grad, parameter.is_leaf), (trains, True), what=what, hint=hint)
    layer.unmerge()
    for name, parameter in layer.named_parameters():
        old, trains = before[name]
        sentence = f"{name} should stay the same Parameter, but unmerge() replaced it"
        expect(parameter is old, sentence, hint="write into it, in place")
        what = f"(requires_grad, is_leaf) of {name} after merge() and unmerge()"
        hint = "unmerging leaves the base frozen and the adapter trainable"
        expect_equal((parameter.requires_grad, parameter.is_leaf), (trains, True), what=what, hint=hint)


def test_train_and_eval_do_not_merge(rng):
    """loralib merges in eval() and unmerges in train(); a checkpoint saved during evaluation then holds W + BA."""
    layer = trained(rng)
    hint = "only merge() and unmerge() write into it; there is no need to override train()"
    with expect_unchanged(layer.base.weight, what="base.weight", hint=hint):
        expect(layer.eval() is layer, "eval() should return the layer, as nn.Module's does", hint=hint)
        layer.train()
    layer.merge()
    with expect_unchanged(layer.base.weight, what="the merged base.weight", hint=hint):
        layer.eval()
        layer.train()
    expect_equal(bool(layer.merged), True, what="merged after merge(), eval() and train()", hint=hint)


def test_merging_takes_the_adapter_as_it_is_now(rng):
    """Merge to evaluate, unmerge to train on, merge again: an update that was kept from the first time is stale."""
    layer, x = trained(rng), vectors(rng, 4, 5)
    layer.merge()
    layer.unmerge()
    fill(layer.lora_B, randn(rng, 7, 3))
    answer = layer(x)
    layer.merge()
    expect_close(layer(x), answer, what="the output, merged after further training", hint="compute B A anew in merge()")


def test_merging_takes_the_base_weight_as_it_is_now(rng):
    """Another checkpoint is loaded between two merges: a copy of W from the first one would bring the old model back."""
    layer, x = trained(rng), vectors(rng, 4, 5)
    layer.merge()
    layer.unmerge()
    fill(layer.base.weight, randn(rng, 7, 5))
    weight, answer = layer.base.weight.detach().clone(), layer(x)
    layer.merge()
    hint = "add to the weight that is there now, or take the backup anew in every merge()"
    expect_close(layer(x), answer, what="the output, merged after base.weight has changed", hint=hint)
    layer.unmerge()
    what = "base.weight after changing it, merge() and unmerge()"
    expect_close(layer.base.weight, weight, what=what, hint=hint)


def test_merging_writes_into_the_memory_of_the_weight(rng):
    """A tied layer may hold a view of it, another process may map it, a captured CUDA graph reads its address: whoever
    shares the memory goes on with the old numbers when `weight.data` is exchanged."""
    layer = trained(rng)
    shared = layer.base.weight.detach()  # the same memory
    hint = "write in place: weight.add_(...) or weight.copy_(...) under no_grad, not `weight.data = ...`"
    for call in ("merge", "unmerge"):
        getattr(layer, call)()
        expect_equal(shared, layer.base.weight.detach(), what=f"a view of base.weight after {call}()", hint=hint)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_a_checkpoint_holds_each_parameter_once_and_restores_the_layer(rng, bias):
    """A second name for W doubles the file, or breaks saving; what is not registered is missing from it; and a buffer
    that nobody else knows makes every other implementation refuse it."""
    layer, other, x = trained(rng, bias=bias), trained(rng, bias=bias), vectors(rng, 4, 5)
    want = ["base.bias", "base.weight", "lora_A", "lora_B"] if bias else ["base.weight", "lora_A", "lora_B"]
    names = sorted(name for name, _ in layer.named_parameters(remove_duplicate=False))
    hint = "register base, lora_A and lora_B, and nothing of the base a second time"
    expect_equal(names, want, what="the list of registered parameters", hint=hint)
    hint = "keep the scale, the flag and a backup of W as plain attributes (or register_buffer(..., persistent=False))"
    expect_equal(sorted(layer.state_dict()), want, what="the list of names in the state dict", hint=hint)
    other.load_state_dict(layer.state_dict())
    expect_close(other(x), layer(x), what="the output of another layer with this one's state dict", hint=hint)
    other.merge()
    expect_equal(sorted(other.state_dict()), want, what="the list of names in a merged layer's state dict", hint=hint)
    other.unmerge()
    what = "base.weight of the loaded layer after merge() and unmerge()"
    hint = "take the update out of the weight that is there now; a copy made in __init__ is stale once a checkpoint is loaded"
    expect_close(other.base.weight, layer.base.weight, what=what, hint=hint)


def test_two_layers_share_nothing(rng):
    """Merging or training one layer of a model must not reach its neighbour."""
    first, second, x = trained(rng), trained(rng), vectors(rng, 4, 5)
    answer, hint = second(x).detach(), "keep state on self, not on the class or the module"
    first.merge()
    fill(first.lora_A, randn(rng, 3, 5))
    expect_equal(bool(second.merged), False, what="merged of another layer", hint=hint)
    expect_close(second(x), answer, what="the output of another layer", hint=hint)


@pytest.mark.parametrize("merged", [False, True], ids=["apart", "merged"])
def test_a_deep_copy_is_a_layer_of_its_own(rng, merged):
    """Averaged weights and a merged copy for serving both start with deepcopy, while the original trains on."""
    layer, x = trained(rng), vectors(rng, 4, 5)
    answer = layer(x).detach()
    if merged:
        layer.merge()
    twin = copy.deepcopy(layer)
    hint = "keep tensors and flags on self; a lambda or a closure goes on calling the layer that it was made for"
    expect_equal(bool(twin.merged), merged, what="merged of a deep copy", hint=hint)
    twin.unmerge()
    fill(twin.lora_B, torch.zeros(7, 3))
    expect_close(twin(x), frozen(twin, x), what="the output of a deep copy whose B is then set to zero", hint=hint)
    expect_equal(bool(layer.merged), merged, what="merged of the original after its copy is unmerged", hint=hint)
    expect_close(layer(x), answer, what="the output of the original after its copy has changed", hint=hint)


@pytest.mark.parametrize("rank", [0, -1])
def test_a_rank_below_one_is_an_error(rank):
    """Rank 0 would divide by zero; in some libraries it means 'no adapter', here it is refused."""
    with expect_raises(ValueError, what=f"LoRALinear(base, rank={rank}, alpha=1)", hint="check the rank first"):
        LoRALinear(nn.Linear(5, 7), rank, 1.0)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, 1.5, float("nan")])
def test_a_dropout_outside_zero_to_one_is_an_error(dropout):
    """nn.Dropout accepts 1.0, with which the update would be off in training and full in use; and NaN."""
    hint = "`not 0 <= dropout < 1` also catches NaN, which every other comparison lets through"
    with expect_raises(ValueError, what=f"LoRALinear(..., dropout={dropout})", hint=hint):
        LoRALinear(nn.Linear(5, 7), 3, 1.0, dropout)
