"""Stage 3. Layers and state dicts."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from dojo.testing import FLOATS, expect, expect_close, expect_equal, expect_unchanged, randn
from katas.mutability import independent_layers, snapshot

from .helpers import network, train


def test_layers_share_no_parameter():
    """[layer] * n has n entries and the parameters of one: the model trains as if its layers were tied."""
    layers = independent_layers(partial(nn.Linear, 3, 3), 4)
    expect_equal(len(layers), 4, what="the number of layers")
    before = [layer.weight.detach().clone() for layer in layers]
    with torch.no_grad():
        layers[1].weight.add_(1.0)
    moved = [not torch.equal(layer.weight, old) for layer, old in zip(layers, before, strict=True)]
    hint = "call make() once for each layer"
    expect_equal(moved, [False, True, False, False], what="which weights change when layer 1's does", hint=hint)


def test_every_layer_starts_from_weights_of_its_own():
    """copy.deepcopy of one layer shares nothing either, but all copies start alike, and that is not what n draws are."""
    calls = []

    def make():
        calls.append(len(calls))
        return nn.Linear(4, 4)

    layers = independent_layers(make, 3)
    expect_equal(len(calls), 3, what="how often make() was called for 3 layers", hint="once for each layer")
    distinct = {tuple(layer.weight.flatten().tolist()) for layer in layers}
    expect_equal(
        len(distinct), 3, what="how many different initial weights 3 layers have", hint="no deepcopy of the first"
    )


def test_the_layers_are_registered():
    """A plain list hides its layers: parameters(), to(device), state_dict() and train() pass it by."""
    model = nn.Module()
    model.blocks = independent_layers(partial(nn.Linear, 2, 5), 3)
    hint = "return nn.ModuleList(...)"
    expect_equal(len(list(model.parameters())), 6, what="the number of parameters of a model with 3 layers", hint=hint)
    names = [f"blocks.{i}.{name}" for i in range(3) for name in ("weight", "bias")]
    expect_equal(list(model.state_dict()), names, what="the names in its state_dict", hint=hint)
    kind = type(independent_layers(nn.Identity, 0)).__name__
    expect_equal(kind, "ModuleList", what="the container", hint="a Sequential would also call them one after the other")
    expect_equal(len(independent_layers(nn.Identity, 0)), 0, what="the number of layers for n=0")


def expect_state(found, want, what, hint):
    expect_equal(sorted(found), sorted(want), what=f"the names in {what}", hint=hint)
    for name, tensor in want.items():
        expect_close(found[name], tensor, what=f"{name} in {what}", hint=hint, rtol=0.0, atol=0.0)


def test_later_training_does_not_change_a_snapshot(rng):
    """The usual bug of 'keep the best model': state_dict() and dict(state_dict()) hold the live tensors, detach() and
    numpy() share their memory, and the 'best' weights turn out to be the last ones."""
    model = network()
    want = copy.deepcopy(model.state_dict())
    taken = snapshot(model)
    train(model, randn(rng, 8, 3))
    hint = "clone every tensor of the state_dict, the buffers (running_mean, num_batches_tracked) too"
    expect_state(taken, want, "a snapshot after training", hint)


def test_a_snapshot_and_its_module_are_apart(rng):
    """Averaging weights in a snapshot must not train the model, and taking one must not change it."""
    model = network()
    with expect_unchanged(*model.state_dict().values(), what="the module", hint="clone"):
        taken = snapshot(model)
        for tensor in taken.values():
            tensor.zero_()
    expect(all(p.requires_grad for p in model.parameters()), "the module's parameters should still require gradients")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_snapshot_keeps_dtypes_and_drops_the_graph(dtype):
    """A clone of a parameter requires gradients and remembers where it comes from: detach it. Counters stay integers."""
    model = network(dtype)
    taken = snapshot(model)
    expect_state(taken, model.state_dict(), f"a snapshot of a {dtype} module", "neither convert nor leave out anything")
    graph = [name for name, tensor in taken.items() if tensor.requires_grad]
    expect_equal(
        graph, [], what="the entries that require gradients", hint="state_dict() detaches, parameters() do not"
    )


def test_a_snapshot_has_the_names_of_the_state_dict():
    """named_parameters() names tied weights once, named_buffers() includes what is not to be saved: load_state_dict
    takes neither."""
    tied = nn.Linear(2, 2)
    model = nn.Sequential(tied, nn.ReLU(), tied)
    model.register_buffer("scratch", torch.zeros(1), persistent=False)
    names = sorted(snapshot(model))
    expect_equal(names, ["0.bias", "0.weight", "2.bias", "2.weight"], what="the names", hint="start from state_dict()")
