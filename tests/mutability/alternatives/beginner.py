"""A beginner's code: plain loops, a small class in place of a closure, an explicit stack of ifs."""

import copy

import torch
from torch import nn


def append_to(item, bucket=None):
    if bucket is None:
        return [item]
    bucket.append(item)
    return bucket


def make_grid(rows, cols, fill):
    if rows < 0:
        raise ValueError("rows is negative")
    if cols < 0:
        raise ValueError("cols is negative")
    grid = [[None] * cols for r in range(rows)]
    for r in range(rows):
        for c in range(cols):
            grid[r][c] = copy.deepcopy(fill)
    return grid


class Callback:
    def __init__(self, number):
        self.number = number

    def __call__(self):
        return self.number


def make_callbacks(n):
    if n < 0:
        raise ValueError("n is negative")
    callbacks = []
    for i in range(n):
        callbacks.append(Callback(i))
    return callbacks


def is_hashable(obj):
    d = {}
    try:
        d[obj] = True
    except TypeError:
        return False
    return True


def deep_freeze(obj):
    if isinstance(obj, (list, tuple)):
        items = []
        for x in obj:
            items.append(deep_freeze(x))
        return tuple(items)
    elif isinstance(obj, dict):
        pairs = set()
        for key in obj:
            pairs.add((key, deep_freeze(obj[key])))
        return frozenset(pairs)
    elif isinstance(obj, (set, frozenset)):
        return frozenset(obj)
    elif is_hashable(obj):
        return obj
    else:
        raise ValueError("cannot be frozen")


def update_nested(config, path, value):
    if len(path) == 0:
        raise ValueError("path is empty")
    if not isinstance(config, dict):
        raise ValueError("not a dict")
    new = config.copy()
    key = path[0]
    if len(path) == 1:
        new[key] = value
    elif key in config:
        new[key] = update_nested(config[key], path[1:], value)
    else:
        new[key] = update_nested({}, path[1:], value)
    return new


def independent_layers(make, n):
    if n < 0:
        raise ValueError("n is negative")
    layers = []
    while len(layers) < n:
        layers.append(make())
    return nn.ModuleList(layers)


def snapshot(module):
    saved = {}
    for name, tensor in module.state_dict().items():
        new = torch.empty_like(tensor)
        new.copy_(tensor)
        saved[name] = new
    return saved
