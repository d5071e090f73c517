"""The new head is a copy of the old one with fresh parameters; freezing registers one hook on each leaf and each branch
that asks a marker attribute; groups by sets of parameters."""

import copy
import math

import torch
from torch import nn


def _hold(module, args):
    if module.training and getattr(module, "is_frozen", False):
        module.training = False


def freeze(module):
    for part in module.modules():
        if not getattr(part, "is_frozen", False):
            part.is_frozen = True
            part.register_forward_pre_hook(_hold)
        part.training = False
    for parameter in module.parameters():
        parameter.requires_grad = False
    module.zero_grad()


def _head_name(model):
    names = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    if names:
        return names[-1]
    raise ValueError("no nn.Linear")


def replace_head(model, num_classes):
    name = _head_name(model)
    if name == "" or num_classes < 1:
        raise ValueError("no")
    old = model.get_submodule(name)
    new = copy.copy(old)
    new.__dict__ = {**old.__dict__, "_parameters": {}, "_forward_pre_hooks": type(old._forward_pre_hooks)()}
    new.__dict__.pop("is_frozen", None)
    bound = 1 / math.sqrt(old.in_features)
    with torch.no_grad():
        weight = torch.empty_like(old.weight[:1].expand(num_classes, -1).contiguous()).uniform_(-bound, bound)
        new.weight = nn.Parameter(weight)
        new.register_parameter("bias", None if old.bias is None else nn.Parameter(weight[:, 0].clone().zero_()))
    new.out_features = num_classes
    model.set_submodule(name, new)
    return new


def trainable_parameters(model):
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def fine_tune_groups(model, backbone_lr, head_lr):
    head = model.get_submodule(_head_name(model))
    both = trainable_parameters(model)
    top = set(head.parameters()) & set(both)
    return [
        {"lr": backbone_lr, "params": [p for p in both if p not in top]},
        {"lr": head_lr, "params": [p for p in both if p in top]},
    ]
