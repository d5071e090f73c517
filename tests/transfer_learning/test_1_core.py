"""Stage 1. Each function, and one fine-tuning."""

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam

from dojo.testing import expect, expect_close, expect_equal, expect_unchanged, randn
from katas.transfer_learning import fine_tune_groups, freeze, replace_head, trainable_parameters

from .helpers import STAYS, Net, same, state, train


class Running(nn.Module):
    """A layer that no list of known ones contains: it centres by a running mean."""

    def __init__(self, features):
        super().__init__()
        self.register_buffer("mean", torch.ones(features))

    def forward(self, x):
        if self.training:
            self.mean += 0.1 * (x.detach().mean(0) - self.mean)
        return x - self.mean


NORMS = {
    "BatchNorm1d": (lambda: nn.BatchNorm1d(6), (8, 6)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(6), (4, 6, 2, 3)),
    "BatchNorm3d": (lambda: nn.BatchNorm3d(6, momentum=None), (4, 6, 2, 2, 2)),
    "InstanceNorm1d": (lambda: nn.InstanceNorm1d(6, track_running_stats=True), (4, 6, 5)),
    "a layer of one's own": (lambda: Running(6), (8, 6)),
}


def test_frozen_parameters_get_no_gradient(rng):
    """A misspelt attribute (`p.require_grad = False`) is created without a word, and everything goes on training."""
    model = Net()
    freeze(model.features)
    model(randn(rng, 8, 4, dtype=torch.float32)).sum().backward()
    for name, parameter in model.named_parameters():
        frozen = name.startswith("features")
        expect_equal(
            parameter.requires_grad, not frozen, what=f"requires_grad of {name}", hint="every parameter inside"
        )
        expect_equal(parameter.grad is None, frozen, what=f"whether {name} is without a gradient")


@pytest.mark.parametrize("norm", NORMS)
def test_frozen_statistics_do_not_drift_in_train_mode(rng, norm):
    """model.train() comes at the start of every epoch, and no gradient is needed to change a running mean."""
    make, shape = NORMS[norm]
    model = nn.Sequential(nn.Identity(), nn.Sequential(make()))
    freeze(model[1])
    model.train()
    with expect_unchanged(*state(model), what=f"{norm}, frozen: its buffers", hint=STAYS):
        for _ in range(3):
            model.train()
            model(randn(rng, *shape, dtype=torch.float32) + 3)


@pytest.mark.parametrize("norm", NORMS)
def test_a_frozen_layer_computes_in_train_mode_what_it_computes_in_eval_mode(rng, norm):
    """A BatchNorm with momentum 0 keeps its statistics, but normalises by the batch: another function for each batch."""
    make, shape = NORMS[norm]
    model, plain = nn.Sequential(make()), nn.Sequential(make())
    for _ in range(3):
        plain(randn(rng, *shape, dtype=torch.float32) * 2 + 1)  # pretrained: its statistics are no longer 0 and 1
    model.load_state_dict(plain.state_dict())
    x = randn(rng, *shape, dtype=torch.float32)
    freeze(model)
    expect_close(model.train()(x), plain.eval()(x), what=f"{norm}, frozen and in train mode: its output", hint=STAYS)


@pytest.mark.parametrize("classes", [1, 7])
def test_the_new_head_gives_the_new_classes(rng, classes):
    """In the model's forward pass, not only in an attribute."""
    model = Net()
    new = replace_head(model, classes)
    expect(isinstance(new, nn.Linear), f"replace_head should return an nn.Linear, but returned {type(new).__name__}")
    sizes, hint = [new.in_features, new.out_features], "in_features are the old head's, out_features num_classes"
    expect_equal(sizes, [5, classes], what="[in_features, out_features] of the new head", hint=hint)
    expect(model.head is new, "replace_head should return the layer that is now the model's head", hint="return it")
    out = model(randn(rng, 8, 4, dtype=torch.float32))
    expect_equal(list(out.shape), [8, classes], what="the output's shape", hint="a new layer in the old one's place")


def test_trainable_parameters_are_those_that_need_a_gradient():
    """A list, since an optimizer, a count and a clipping all want it; a generator is empty the second time."""
    model = Net()
    model.features[0].weight.requires_grad_(False)
    found = trainable_parameters(model)
    expect(isinstance(found, list), f"trainable_parameters should give a list, but gave a {type(found).__name__}")
    hint = "the parameters whose requires_grad is True, in their order"
    wanted = [p for name, p in model.named_parameters() if name != "features.0.weight"]
    expect(same(found, wanted), f"all 7 parameters but the frozen one should come, but {len(found)} did", hint=hint)


def test_backbone_and_head_get_their_own_learning_rates():
    """With one rate for both, the random head's large gradients wreck the backbone, or the head crawls. Tell parameters
    apart by identity: `p in a_list` compares their values, and raises."""
    model = Net()
    groups = fine_tune_groups(model, backbone_lr=1e-4, head_lr=1e-2)
    kinds = [type(group).__name__ for group in groups]
    hint = 'two dicts in a list, first the backbone: [{"params": [...], "lr": ...}, {...}]'
    expect_equal(kinds, ["dict", "dict"], what="the types of the groups", hint=hint)
    expect_equal([group["lr"] for group in groups], [1e-4, 1e-2], what="the groups' rates", hint="first the backbone")
    head = list(model.head.parameters())
    expect(same(groups[1]["params"], head), "the second group should hold the head's weight and bias, and nothing else")
    backbone = list(model.features.parameters())
    expect(same(groups[0]["params"], backbone), "the first group should hold all that is not the head's")
    rates = [group["lr"] for group in SGD(groups, lr=1.0).param_groups]
    expect_equal(rates, [1e-4, 1e-2], what="the rates in an optimizer", hint='the keys are "params" and "lr"')


@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_fine_tuning_moves_the_head_and_nothing_else(rng, optimizer):
    """The whole recipe: freeze, new head, train. Freezing first, or the new head would be frozen as well."""
    model = Net()
    freeze(model)
    head = replace_head(model, 4)
    before = head.weight.detach().clone()
    with expect_unchanged(*state(model.features), what="the backbone", hint="freeze parameters and buffers"):
        train(model, optimizer(trainable_parameters(model), lr=0.1), rng, classes=4)
    moved = not torch.equal(head.weight, before)
    expect(moved, "the new head should train, but its weight stayed as it was", hint="a new nn.Linear needs gradients")
