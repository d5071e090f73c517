"""Copies first and changes the copy afterwards; nothing is ever shared. Callbacks bind by a default argument."""

import copy

import torch


def append_to(item, bucket=None):
    bucket = [] if bucket is None else bucket
    bucket += [item]
    return bucket


def make_grid(rows, cols, fill):
    if min(rows, cols) < 0:
        raise ValueError("sizes must be 0 or more")
    grid = []
    for _ in range(rows):
        row = []
        for _ in range(cols):
            row.append(copy.deepcopy(fill))
        grid.append(row)
    return grid


def make_callbacks(n):
    if n < 0:
        raise ValueError("n must be 0 or more")
    return [lambda i=i: i for i in range(n)]


def is_hashable(obj):
    try:
        return len({obj}) == 1
    except TypeError:
        return False


def deep_freeze(obj):
    if isinstance(obj, dict):
        frozen = {key: deep_freeze(value) for key, value in obj.items()}
        return frozenset(frozen.items())
    if isinstance(obj, (set, frozenset)):
        return frozenset(deep_freeze(item) for item in obj)
    if isinstance(obj, (list, tuple)):
        return tuple([deep_freeze(item) for item in obj])
    try:
        hash(obj)
    except TypeError as error:
        raise ValueError(str(error)) from error
    return obj


def update_nested(config, path, value):
    if len(path) == 0:
        raise ValueError("no path")
    result = copy.deepcopy(config)
    place = result
    for key in path[:-1]:
        place = place.setdefault(key, {})
        if not isinstance(place, dict):
            raise ValueError(f"{key} is not a dict")
    place[path[-1]] = value
    return result


def independent_layers(make, n):
    if n < 0:
        raise ValueError("n must be 0 or more")
    layers = torch.nn.ModuleList()
    for _ in range(n):
        layers.append(make())
    return layers


def snapshot(module):
    return copy.deepcopy(module.state_dict())
