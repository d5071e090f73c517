"""Freezing by giving every layer a subclass of its own class whose train() keeps it in eval mode; the head is found from
the back, through (parent, attribute) pairs."""

import torch
from torch import nn

_FROZEN = {}


class _Frozen:
    def train(self, mode=True):
        super().train(mode)
        self.training = False
        return self


def freeze(module):
    for part in module.modules():
        kind = type(part)
        if not issubclass(kind, _Frozen):
            if kind not in _FROZEN:
                _FROZEN[kind] = type(kind.__name__, (_Frozen, kind), {})
            part.__class__ = _FROZEN[kind]
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad = False
        parameter.grad = None


def _slots(model):
    return [
        (parent, attribute, child)
        for parent in model.modules()
        for attribute, child in parent.named_children()
        if isinstance(child, nn.Linear)
    ]


def _last_linear(model):
    for layer in reversed(list(model.modules())):
        if isinstance(layer, nn.Linear):
            return layer
    raise ValueError("there is no linear layer")


def replace_head(model, num_classes):
    old = _last_linear(model)
    if old is model or num_classes < 1:
        raise ValueError("cannot be done")
    new = nn.Linear(old.in_features, num_classes, old.bias is not None).to(old.weight.device, old.weight.dtype)
    for parent, attribute, child in _slots(model):
        if child is old:
            parent._modules[attribute] = new
    return new


def trainable_parameters(model):
    return [p for _, p in model.named_parameters() if p.requires_grad is True]


@torch.no_grad()
def fine_tune_groups(model, backbone_lr, head_lr):
    head, parameters = _last_linear(model), dict.fromkeys(trainable_parameters(model))
    top = [p for p in parameters if p is head.weight or p is head.bias]
    for p in top:
        del parameters[p]
    return [{"params": list(parameters), "lr": backbone_lr}, {"lr": head_lr, "params": top}]
