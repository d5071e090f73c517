"""What any right fine-tuning does: frozen things are watched for changes, whatever is called on the model."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Adam

from dojo.testing import expect, expect_close, expect_equal, expect_raises, expect_unchanged, randint, randn
from katas.transfer_learning import fine_tune_groups, freeze, replace_head, trainable_parameters

STAYS = "a frozen layer stays in eval mode whatever train() says: override train() on it, or put it back in a hook"


class Running(nn.Module):
    """A layer that no list of known ones contains: it centres by a running mean."""

    def __init__(self, features):
        super().__init__()
        self.register_buffer("mean", torch.ones(features))

    def forward(self, x):
        if self.training:
            self.mean += 0.1 * (x.detach().mean(0) - self.mean)
        return x - self.mean


class Net(nn.Module):
    """Its head lies two levels deep, is not called `fc`, and is not the last thing that is defined."""

    def __init__(self, norm=None, bias=True):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(4, 6), norm or nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 5))
        self.top = nn.ModuleDict({"drop": nn.Identity(), "out": nn.Sequential(nn.ReLU(), nn.Linear(5, 3, bias=bias))})
        self.last = nn.Identity()

    def forward(self, x):
        return self.last(self.top["out"](self.top["drop"](self.features(x))))

    @property
    def head(self):
        return self.top["out"][1]


NORMS = {
    "BatchNorm1d": (lambda: nn.BatchNorm1d(6), (8, 6)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(6), (4, 6, 2, 3)),
    "BatchNorm3d": (lambda: nn.BatchNorm3d(6, momentum=None), (4, 6, 2, 2, 2)),
    "InstanceNorm1d": (lambda: nn.InstanceNorm1d(6, track_running_stats=True), (4, 6, 5)),
    "a layer of one's own": (lambda: Running(6), (8, 6)),
}


def state(module):
    return list(module.state_dict().values())


def same(found, wanted):
    """Equality of lists of parameters, as objects."""
    return [id(p) for p in found] == [id(p) for p in wanted]


def train(model, optimizer, rng, steps=3, classes=3):
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(randn(rng, 8, 4, dtype=torch.float32)), randint(rng, 0, classes, 8)).backward()
        optimizer.step()


# Stage 1: each function, and one fine-tuning


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
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


@pytest.mark.stage(1)
@pytest.mark.parametrize("classes", [1, 7])
def test_the_new_head_gives_the_new_classes(rng, classes):
    """In the model's forward pass, not only in an attribute."""
    model = Net()
    new = replace_head(model, classes)
    out = model(randn(rng, 8, 4, dtype=torch.float32))
    expect_equal(list(out.shape), [8, classes], what="the output's shape", hint="a new layer in the old one's place")
    expect(model.head is new, "replace_head should return the layer that is now the model's head", hint="return it")
    expect_equal(new.in_features, 5, what="the new head's in_features", hint="those of the old head")


@pytest.mark.stage(1)
def test_trainable_parameters_are_those_that_need_a_gradient():
    """A list, since an optimizer, a count and a clipping all want it; a generator is empty the second time."""
    model = Net()
    model.features[0].weight.requires_grad_(False)
    found = trainable_parameters(model)
    expect(isinstance(found, list), f"trainable_parameters should give a list, but gave a {type(found).__name__}")
    hint = "the parameters whose requires_grad is True, in their order"
    wanted = [p for name, p in model.named_parameters() if name != "features.0.weight"]
    expect(same(found, wanted), f"all 7 parameters but the frozen one should come, but {len(found)} did", hint=hint)


@pytest.mark.stage(1)
def test_backbone_and_head_get_their_own_learning_rates():
    """With one rate for both, the random head's large gradients wreck the backbone, or the head crawls. Tell parameters
    apart by identity: `p in a_list` compares their values, and raises."""
    model = Net()
    groups = fine_tune_groups(model, backbone_lr=1e-4, head_lr=1e-2)
    expect_equal([group["lr"] for group in groups], [1e-4, 1e-2], what="the groups' rates", hint="first the backbone")
    head = list(model.head.parameters())
    expect(same(groups[1]["params"], head), "the second group should hold the head's weight and bias, and nothing else")
    backbone = list(model.features.parameters())
    expect(same(groups[0]["params"], backbone), "the first group should hold all that is not the head's")
    rates = [group["lr"] for group in SGD(groups, lr=1.0).param_groups]
    expect_equal(rates, [1e-4, 1e-2], what="the rates in an optimizer", hint='the keys are "params" and "lr"')


@pytest.mark.stage(1)
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


# Stage 2: train mode, nesting, copies, shared weights, what cannot be done


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
def test_gradients_from_before_are_not_applied(rng):
    """requires_grad = False stops new gradients. One that is there already is used by the next optimizer step."""
    model = Net()
    optimizer = SGD(model.parameters(), lr=0.1)
    model(randn(rng, 8, 4, dtype=torch.float32)).sum().backward()
    freeze(model.features)
    with expect_unchanged(*state(model.features), what="the frozen part", hint="set its parameters' grad to None"):
        optimizer.step()


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
@pytest.mark.parametrize("bias", [True, False])
def test_the_new_head_has_a_bias_if_the_old_one_had(bias):
    """Without one it was a choice, of a cosine classifier for example."""
    new = replace_head(Net(bias=bias), 4)
    expect_equal(new.bias is not None, bias, what="whether the new head has a bias", hint="bias=old.bias is not None")


@pytest.mark.stage(2)
def test_the_new_head_of_a_frozen_model_is_trainable():
    """That is the whole point; copying requires_grad from the old head defeats it."""
    model = Net()
    freeze(model)
    new = replace_head(model, 4)
    found = trainable_parameters(model)
    expect(
        same(found, [new.weight, new.bias]), f"the new head's 2 parameters should be trainable, but {len(found)} are"
    )


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
@pytest.mark.parametrize(
    "model", [nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()), nn.Identity()], ids=["conv", "identity"]
)
def test_a_model_without_a_linear_layer_is_refused(model):
    """An AttributeError on None would leave the caller to guess."""
    with expect_raises(ValueError, what="replace_head without an nn.Linear"):
        replace_head(model, 3)
    with expect_raises(ValueError, what="fine_tune_groups without an nn.Linear"):
        fine_tune_groups(model, 0.1, 0.2)


@pytest.mark.stage(2)
def test_what_cannot_be_replaced_is_refused():
    """A function cannot replace the very object that its caller holds; and no classifier has 0 classes."""
    with expect_raises(ValueError, what="replace_head of a model that is an nn.Linear itself"):
        replace_head(nn.Linear(3, 2), 4)
    for classes in (0, -1):
        with expect_raises(ValueError, what=f"replace_head with {classes} classes"):
            replace_head(Net(), classes)


@pytest.mark.stage(2)
def test_a_shared_weight_is_trained_once():
    """A head that shares its weight with an embedding: an optimizer refuses a parameter that is in two groups."""
    model = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 5), nn.Linear(5, 7))
    model[2].weight = model[0].weight
    groups = fine_tune_groups(model, 0.1, 0.2)
    sizes = [len(group["params"]) for group in groups]
    expect_equal(sizes, [2, 2], what="the sizes of the groups", hint="the shared weight belongs to the head alone")
    expect_equal(len(trainable_parameters(model)), 4, what="the number of trainable parameters", hint="each one once")


@pytest.mark.stage(2)
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


# Stage 3: dtypes, devices, gradients


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_the_new_head_has_the_models_dtype(dtype):
    """nn.Linear is float32 unless told otherwise, and the first forward pass raises."""
    new = replace_head(Net().to(dtype), 4)
    for name, parameter in new.named_parameters():
        expect_equal(parameter.dtype, dtype, what=f"the dtype of the new {name}", hint="dtype=old.weight.dtype")


@pytest.mark.stage(3)
def test_the_new_head_is_on_the_models_device():
    """On the meta device, which every machine has."""
    new = replace_head(Net().to("meta"), 4)
    for name, parameter in new.named_parameters():
        expect_equal(parameter.device.type, "meta", what=f"the new {name}'s device", hint="device=old.weight.device")


@pytest.mark.stage(3)
def test_gradients_flow_through_what_is_frozen(rng):
    """A prompt or an adapter before a frozen network trains through it: no torch.no_grad() around its forward."""
    model = Net().double().eval()
    x = randn(rng, 8, 4).requires_grad_()
    (wanted,) = torch.autograd.grad(model(x).square().sum(), x)
    freeze(model)
    out = model.train()(x)
    expect(out.requires_grad, "the output should depend on x, but has no graph", hint="freeze parameters, not the pass")
    out.square().sum().backward()
    expect_close(x.grad, wanted, what="the gradient through a frozen model", hint="that of the model in eval mode")


# Stage 4: cost


@pytest.mark.stage(4)
def test_a_frozen_backbone_costs_no_backward_pass(rng, cost):
    """Nothing below the head needs a gradient, so backward is one product: the gradient of the head's weight. And the
    forward pass is that of the model in eval mode."""
    sizes = [(32, 64), (64, 64), (64, 16)]
    layers = [nn.Linear(*sizes[0]), nn.BatchNorm1d(64), nn.Linear(*sizes[1]), nn.ReLU(), nn.Linear(*sizes[2])]
    model, x = nn.Sequential(*layers).eval(), randn(rng, 10, 32, dtype=torch.float32)
    with cost() as plain:
        model(x)
    freeze(model)
    replace_head(model, 16)
    model.train()
    with cost() as spent:
        loss = model(x).sum()
    expect(
        spent.operators <= plain.operators + 1, f"a frozen forward should take {plain.operators} operators, took more"
    )
    with cost() as spent:
        loss.backward()
    products = spent.flops / (2 * 10 * 64 * 16)
    hint = "requires_grad_(False) on every parameter of the backbone"
    expect(products == 1, f"backward should cost 1 product of the head's size, but costs {products:g}", hint=hint)
