"""functools and operators: partial binds early, singledispatch picks the twin of a type, reduce rebuilds the path."""

from copy import deepcopy
from functools import partial, reduce, singledispatch

import torch
from torch import nn


def append_to(item, bucket=None):
    target = list() if bucket is None else bucket
    target.insert(len(target), item)
    return target


def _check(n):
    if n < 0:
        raise ValueError(f"{n} is negative")
    return range(n)


def make_grid(rows, cols, fill):
    rows, cols = _check(rows), _check(cols)
    return list(map(lambda _: list(map(lambda _: deepcopy(fill), cols)), rows))


def make_callbacks(n):
    return [partial(int, i) for i in _check(n)]


def is_hashable(obj):
    try:
        dict.fromkeys([obj])
    except TypeError:
        return False
    else:
        return True


@singledispatch
def deep_freeze(obj):
    if is_hashable(obj):
        return obj
    raise ValueError(f"not hashable: {type(obj)}")


@deep_freeze.register(dict)
def _(obj):
    return frozenset(zip(obj, map(deep_freeze, obj.values()), strict=True))


@deep_freeze.register(list)
@deep_freeze.register(tuple)
def _(obj):
    return tuple(deep_freeze(item) for item in obj)


@deep_freeze.register(set)
@deep_freeze.register(frozenset)
def _(obj):
    return frozenset(obj)


def update_nested(config, path, value):
    if not path:
        raise ValueError("an empty path")
    levels = [config]
    for key in path[:-1]:
        levels.append(levels[-1].get(key, {}) if isinstance(levels[-1], dict) else None)
    if not all(isinstance(level, dict) for level in levels):
        raise ValueError(f"{path} does not lead through dicts")
    return reduce(lambda inner, step: step[0] | {step[1]: inner}, zip(levels[::-1], path[::-1], strict=True), value)


def independent_layers(make, n):
    return nn.ModuleList([make() for _ in _check(n)])


@torch.no_grad()
def snapshot(module):
    state = module.state_dict(keep_vars=True)
    return dict(zip(state, map(torch.clone, state.values()), strict=True))
