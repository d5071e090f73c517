"""Recursion over children instead of modules(); an instance attribute made with MethodType for each layer, which also
calls the original train; new weights drawn by hand."""

import types

import torch
from torch import nn


def _train(layer, mode=True):
    type(layer).train(layer, mode)
    layer.training = False
    return layer


def freeze(module):
    for child in module.children():
        freeze(child)
    for parameter in module.parameters(recurse=False):
        parameter.grad = None
        parameter.requires_grad = False
    object.__setattr__(module, "train", types.MethodType(_train, module))
    module.training = False


def _search(module, found=None):
    """(parent, attribute) of the last linear layer below `module`."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            found = module, name
        found = _search(child, found)
    return found


def replace_head(model, num_classes):
    if num_classes <= 0:
        raise ValueError("at least one class")
    place = _search(model)
    if place is None:
        raise ValueError("no nn.Linear below the model")
    parent, name = place
    old = getattr(parent, name)
    new = nn.Linear(1, 1, bias=old.bias is not None)
    new.in_features, new.out_features = old.in_features, num_classes
    new.weight = nn.Parameter(old.weight.new_empty(num_classes, old.in_features).normal_(std=0.02))
    if old.bias is not None:
        new.bias = nn.Parameter(old.bias.new_zeros(num_classes))
    setattr(parent, name, new)
    return new


def trainable_parameters(model):
    result = []
    for parameter in model.parameters():
        if parameter.requires_grad:
            result.append(parameter)
    return result


def fine_tune_groups(model, backbone_lr, head_lr):
    if isinstance(model, nn.Linear):
        head = model
    else:
        place = _search(model)
        if place is None:
            raise ValueError("no head")
        head = getattr(*place)
    theirs = torch.utils._pytree.tree_map(id, list(head.parameters()))
    groups = [{"params": [], "lr": backbone_lr}, {"params": [], "lr": head_lr}]
    for parameter in trainable_parameters(model):
        groups[int(id(parameter) in theirs)]["params"].append(parameter)
    return groups
