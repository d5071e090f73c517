"""Transfer learning.

How do you adapt a pretrained classifier to new classes? Freeze what it has learned, give it a new head, and train
either the head alone or everything, the backbone with a smaller learning rate.

A frozen module computes the same function for ever. Its parameters need no gradient, but that is only half of it:
BatchNorm changes its running statistics in every forward pass in train mode, without any gradient, and normalises by
the batch instead of by them. And every epoch starts with `model.train()`, which reaches the frozen layers, too.

The *head* is the model's last `nn.Linear` in definition order, that is, the last that `model.named_modules()` lists,
however deep it lies. The rest is the backbone.

Rules: everything happens in place. Layers keep their names, parameters stay the same objects (an optimizer or a
state_dict may refer to them), and nothing is wrapped.

Stage 1: each function on its own, and one fine-tuning.  Stage 2: train mode, nesting, copies, shared weights, what
cannot be done.  Stage 3: dtypes, devices, gradients.  Stage 4: what is frozen costs no backward pass.
"""

from types import MethodType

from torch import nn

# kata: begin


def _stay_in_eval(self: nn.Module, mode: bool = True) -> nn.Module:
    """Takes the place of `train` in a frozen module: it stays as it is, what was put into it later does not."""
    for child in self.children():
        child.train(mode)
    return self


def _find_head(model: nn.Module) -> tuple[str, nn.Linear]:
    linears = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    if not linears:
        raise ValueError(f"{type(model).__name__} has no nn.Linear that could be its head")
    return linears[-1]


# kata: end


def freeze(module: nn.Module) -> None:
    """Fixes all parameters and buffers of `module`, and of everything in it, for good.

    The parameters need no gradient any more, and gradients left over from before are dropped (an optimizer that still
    holds the parameters would apply them). Gradients still flow through the module to what lies before it.

    Layers that change their buffers in train mode (BatchNorm of any kind, but also layers that you do not know) compute
    as in eval mode from now on, whatever mode the module is in when it is frozen, and also after `train()` is called on
    it or on a model that it is part of. That holds for a deep copy as well. Whether dropout inside stays active is
    free. What is put into the module afterwards (a new head) is not frozen: it follows `train()` and `eval()` as usual.
    Freezing twice does no more than freezing once.
    """
    # kata: begin
    for part in module.modules():
        part.training = False
        # A method bound to the layer, not a closure over it: a deep copy then has one bound to the copy.
        vars(part)["train"] = MethodType(_stay_in_eval, part)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None
    # kata: end


def replace_head(model: nn.Module, num_classes: int) -> nn.Linear:
    """Puts a new, trainable nn.Linear with `num_classes` outputs in the head's place; returns it.

    in_features, dtype and device are the old head's, and it has a bias if the old one had. It needs gradients even if
    the old head was frozen. Nothing else in the model changes.
    Raises ValueError if num_classes < 1, if the model has no nn.Linear, or if it is itself one (it cannot be replaced
    from within).
    """
    # kata: begin
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    name, old = _find_head(model)
    if old is model:
        raise ValueError("the model is a single nn.Linear: there is nothing around it to put a new one into")
    weight = old.weight
    new = nn.Linear(old.in_features, num_classes, old.bias is not None, device=weight.device, dtype=weight.dtype)
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, new)
    return new
    # kata: end


def trainable_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that need a gradient, each once, in the order of `model.parameters()`."""
    # kata: begin
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
    # kata: end


def fine_tune_groups(model: nn.Module, backbone_lr: float, head_lr: float) -> list[dict]:
    """Two parameter groups for an optimizer: {"params": [...], "lr": ...}, first the backbone, then the head.

    Together they hold every trainable parameter once. A weight that backbone and head share belongs to the head. A
    group with nothing to train has an empty list. Raises ValueError if the model has no nn.Linear.
    """
    # kata: begin
    _, head = _find_head(model)
    in_head = set(map(id, head.parameters()))  # `in` a list of tensors would compare their values
    trainable = trainable_parameters(model)
    return [
        {"params": [p for p in trainable if id(p) not in in_head], "lr": backbone_lr},
        {"params": [p for p in trainable if id(p) in in_head], "lr": head_lr},
    ]
    # kata: end
