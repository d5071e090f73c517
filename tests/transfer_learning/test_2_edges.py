"""Stage 2. Train mode, nesting, copies, shared weights, what cannot be done."""

import copy

import pytest
import torch
from torch import nn
from torch.optim import SGD

from dojo.testing import expect, expect_equal, expect_raises, expect_unchanged, randn
from katas.transfer_learning import fine_tune_groups, freeze, replace_head, trainable_parameters

from .helpers import STAYS, Net, same, state, train


def test_what_is_not_frozen_trains_as_before(rng):
    """Freezing a part must not put the model around it into eval mode."""
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 6), nn.BatchNorm1d(6))
    freeze(model[2])
    model.train()
    before = model[0].running_mean.clone()
    model(randn(rng, 8, 4, dtype=torch.float32) + 3)
    modes = [module.training for module in model[:2]]
    expect_equal(
        modes, [True, True], what="train mode of the layers that are not frozen", hint="only touch what is in it"
    )
    drifts = not torch.equal(model[0].running_mean, before)
    expect(drifts, "a BatchNorm that is not frozen should go on learning its statistics, but did not")


@pytest.mark.parametrize("mode", [True, False])
def test_what_is_put_into_a_frozen_model_later_follows_its_mode(rng, mode):
    """A new head with dropout: in train mode it must drop, and in eval mode it must not."""
    model = Net()
    freeze(model)
    model.top["drop"] = nn.Dropout(0.5)
    for _ in range(2):
        model.train(not mode)
        model.train(mode)
        model(randn(rng, 8, 4, dtype=torch.float32))
        hint = "let train() pass on to children that are not frozen themselves"
        expect_equal(model.top["drop"].training, mode, what=f"a new layer's mode after model.train({mode})", hint=hint)


@pytest.mark.parametrize("start", ["train", "eval"])
@pytest.mark.parametrize("times", [1, 2])
def test_the_mode_in_which_it_was_frozen_does_not_matter(rng, start, times):
    """Also without another call of train(), after eval() and train(), and when frozen twice."""
    model = Net().train(start == "train")
    for _ in range(times):
        freeze(model)
    with expect_unchanged(*state(model), what="a frozen model", hint=STAYS):
        for switch in (lambda: None, model.eval, model.train, model.features.train, model.features[1].train):
            switch()
            model(randn(rng, 8, 4, dtype=torch.float32))
            model.features(randn(rng, 8, 4, dtype=torch.float32))  # parts may be called on their own
            model.features[1](randn(rng, 8, 6, dtype=torch.float32))


def test_a_copy_of_a_frozen_model_is_frozen_too(rng):
    """Best weights and averaged models are deep copies. A closure over the original layer is copied with the original
    inside, and then the copy's train() and eval() speak to the wrong model."""
    model = nn.Sequential(Net())
    freeze(model)
    twin = copy.deepcopy(model)
    hint = "bind to the layer (types.MethodType, or a hook that is given its module) instead of closing over it"
    with expect_unchanged(*state(twin), *state(model), what="a frozen model and its copy", hint=hint):
        twin.train()
        twin(randn(rng, 8, 4, dtype=torch.float32) + 3)
    expect_equal(trainable_parameters(twin), [], what="the trainable parameters of the copy")
    twin[0].top["drop"] = nn.Dropout(0.5)
    for mode in (False, True):
        twin.train(mode)
        expect_equal(twin[0].top["drop"].training, mode, what=f"a new layer's mode after copy.train({mode})", hint=hint)


def test_gradients_from_before_are_not_applied(rng):
    """requires_grad = False stops new gradients. One that is there already is used by the next optimizer step."""
    model = Net()
    optimizer = SGD(model.parameters(), lr=0.1)
    model(randn(rng, 8, 4, dtype=torch.float32)).sum().backward()
    freeze(model.features)
    with expect_unchanged(*state(model.features), what="the frozen part", hint="set its parameters' grad to None"):
        optimizer.step()


@pytest.mark.parametrize("function", ["freeze", "replace_head"])
def test_the_model_keeps_its_layers_and_names(function):
    """Checkpoints, optimizers and averaged copies refer to them."""
    model = Net()
    objects = lambda: {**dict(model.named_parameters()), **dict(model.named_buffers()), **dict(model.named_modules())}  # noqa: E731
    before, order = objects(), list(model.state_dict())
    freeze(model) if function == "freeze" else replace_head(model, 2)
    expect_equal(
        list(model.state_dict()), order, what="the names in the state_dict", hint="work in place, wrap nothing"
    )
    new = [name for name, thing in objects().items() if thing is not before.get(name)]
    head = ["top.out.1", "top.out.1.bias", "top.out.1.weight"]
    wanted = head if function == "replace_head" else []
    expect_equal(sorted(new), wanted, what=f"the names of what {function} replaced", hint="change only the head")


@pytest.mark.parametrize("bias", [True, False])
def test_the_new_head_has_a_bias_if_the_old_one_had(bias):
    """Without one it was a choice, of a cosine classifier for example."""
    new = replace_head(Net(bias=bias), 4)
    expect_equal(new.bias is not None, bias, what="whether the new head has a bias", hint="bias=old.bias is not None")


def test_the_new_head_of_a_frozen_model_is_trainable():
    """That is the whole point; copying requires_grad from the old head defeats it."""
    model = Net()
    freeze(model)
    new = replace_head(model, 4)
    found = trainable_parameters(model)
    expect(
        same(found, [new.weight, new.bias]), f"the new head's 2 parameters should be trainable, but {len(found)} are"
    )


def test_the_head_is_the_last_linear_in_definition_order(rng):
    """In a Sequential, in a list, under any name; layers defined after it that are no nn.Linear do not count."""
    listed = nn.Module()
    listed.zeta, listed.alpha = nn.Linear(2, 3), nn.ModuleList([nn.Linear(3, 4), nn.Linear(4, 5), nn.ReLU()])
    listed.conv = nn.Conv1d(5, 6, 1)
    for model, where in ((listed, "alpha.1"), (nn.Sequential(nn.Linear(2, 3), nn.Tanh()), "0")):
        old = model.get_submodule(where)
        rates = fine_tune_groups(model, 0.1, 0.2)
        expect(same(rates[1]["params"], old.parameters()), f"the head's group should hold {where}'s parameters")
        new = replace_head(model, 9)
        expect(
            model.get_submodule(where) is new, f"the new head should be at {where}, but is not", hint="named_modules()"
        )


def test_a_shared_weight_is_trained_once():
    """A head that shares its weight with an embedding: an optimizer refuses a parameter that is in two groups."""
    model = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 5), nn.Linear(5, 7))
    model[2].weight = model[0].weight
    groups = fine_tune_groups(model, 0.1, 0.2)
    sizes = [len(group["params"]) for group in groups]
    expect_equal(sizes, [2, 2], what="the sizes of the groups", hint="the shared weight belongs to the head alone")
    expect_equal(len(trainable_parameters(model)), 4, what="the number of trainable parameters", hint="each one once")


def test_groups_hold_trainable_parameters_only(rng):
    """Weight decay is no danger to a parameter without gradient, but a count of what is trained would be wrong. An empty
    group stays, so that a schedule with two rates still fits."""
    model = Net()
    freeze(model.features)
    groups = fine_tune_groups(model, 0.1, 0.2)
    expect_equal(groups[0]["params"], [], what="the backbone's group when all of it is frozen")
    expect_equal(len(groups[1]["params"]), 2, what="the size of the head's group")
    with expect_unchanged(*state(model.features), what="the backbone"):
        train(model, SGD(groups, lr=1.0), rng)


@pytest.mark.parametrize(
    "model", [nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), nn.Identity()], ids=["conv", "identity"]
)
def test_a_model_without_a_linear_layer_is_refused(model):
    """An AttributeError on None would leave the caller to guess."""
    with expect_raises(ValueError, what="replace_head without an nn.Linear"):
        replace_head(model, 3)
    with expect_raises(ValueError, what="fine_tune_groups without an nn.Linear"):
        fine_tune_groups(model, 0.1, 0.2)


def test_what_cannot_be_replaced_is_refused():
    """A function cannot replace the very object that its caller holds; and no classifier has 0 classes."""
    with expect_raises(ValueError, what="replace_head of a model that is an nn.Linear itself"):
        replace_head(nn.Linear(3, 2), 4)
    for classes in (0, -1):
        with expect_raises(ValueError, what=f"replace_head with {classes} classes"):
            replace_head(Net(), classes)
