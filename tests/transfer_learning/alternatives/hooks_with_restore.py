"""Freezing by a pair of hooks: eval mode while a layer runs, its own mode again afterwards, so that `training` shows what
train() last said."""

import functools

from torch import nn


class Freezer:
    """One for each layer; knows the mode that it found."""

    def __init__(self):
        self.modes = []

    def before(self, module, args):
        self.modes.append(module.training)
        module.training = False

    def after(self, module, args, output):
        module.training = self.modes.pop()


def freeze(module):
    for part in module.modules():
        if not any(isinstance(getattr(hook, "__self__", None), Freezer) for hook in part._forward_pre_hooks.values()):
            freezer = Freezer()
            part.register_forward_pre_hook(freezer.before)
            part.register_forward_hook(freezer.after, always_call=True)
    for parameter in module.parameters():
        parameter.requires_grad_(False).grad = None


def _linears(model):
    found = {name: layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    if not found:
        raise ValueError("no linear layer")
    return found


def replace_head(model, num_classes):
    if num_classes < 1:
        raise ValueError("num_classes")
    name, old = _linears(model).popitem()
    if name == "":
        raise ValueError("the model is its own head")
    new = type(old)(old.in_features, num_classes, bias=old.bias is not None).to(old.weight)
    parent = functools.reduce(getattr, name.split(".")[:-1], model)
    parent.register_module(name.split(".")[-1], new)
    return new


def trainable_parameters(model):
    return [p for p in model.parameters() if p.requires_grad]


def fine_tune_groups(model, backbone_lr, head_lr):
    _, head = _linears(model).popitem()
    mine = {p for p in head.parameters()}  # hashed by identity
    everything = trainable_parameters(model)
    return [
        {"params": [p for p in everything if p not in mine], "lr": backbone_lr},
        {"params": [p for p in everything if p in mine], "lr": head_lr},
    ]
