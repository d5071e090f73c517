"""Freezing by a forward pre-hook that puts each layer back into eval mode just before it runs; the parent of the head is
found by walking the name."""

from torch import nn


def _back_to_eval(module, args):
    module.training = False


def freeze(module):
    for part in module.modules():
        part.training = False
        if _back_to_eval not in part._forward_pre_hooks.values():
            part.register_forward_pre_hook(_back_to_eval)
    module.requires_grad_(False)
    module.zero_grad(set_to_none=True)


def replace_head(model, num_classes):
    if not num_classes > 0:
        raise ValueError("classes")
    where = None
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear):
            where = name
    if not where:
        raise ValueError("no head to replace")
    *path, last = where.split(".")
    parent = model
    for step in path:
        parent = getattr(parent, step)
    old = getattr(parent, last)
    options = {"device": old.weight.device, "dtype": old.weight.dtype}
    new = nn.Linear(old.in_features, num_classes, bias=old.bias is not None, **options)
    setattr(parent, last, new)
    return new


def trainable_parameters(model):
    return list(filter(lambda p: p.requires_grad, model.parameters()))


def fine_tune_groups(model, backbone_lr, head_lr):
    linears = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    if len(linears) == 0:
        raise ValueError("no head")
    head = [p for p in linears[-1].parameters() if p.requires_grad]
    rest = [p for p in trainable_parameters(model) if not any(p is q for q in head)]
    return [dict(params=rest, lr=backbone_lr), dict(params=head, lr=head_lr)]
