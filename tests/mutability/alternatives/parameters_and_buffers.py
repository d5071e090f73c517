"""Collects parameters and buffers by hand, in that order; generators make callbacks; errors are raised by a decorator."""

import copy
import functools
import itertools

import torch


def sizes(*positions):
    """The arguments at these positions must not be negative."""

    def decorate(function):
        @functools.wraps(function)
        def checked(*args):
            if any(args[position] < 0 for position in positions):
                raise ValueError(f"{function.__name__}: a size is negative")
            return function(*args)

        return checked

    return decorate


def append_to(item, bucket=None):
    result = bucket if bucket is not None else []
    result.extend((item,))
    return result


@sizes(0, 1)
def make_grid(rows, cols, fill):
    return [copy.deepcopy([copy.deepcopy(fill) for _ in range(cols)]) for _ in range(rows)]


@sizes(0)
def make_callbacks(n):
    return [functools.partial(next, itertools.repeat(i)) for i in range(n)]


def is_hashable(obj):
    try:
        frozenset([obj])
    except TypeError:
        return False
    return True


def deep_freeze(obj):
    twins = {
        (dict,): lambda d: frozenset((k, deep_freeze(v)) for k, v in d.items()),
        (list, tuple): lambda s: tuple(deep_freeze(v) for v in s),
        (set, frozenset): frozenset,
    }
    for types, freeze in twins.items():
        if isinstance(obj, types):
            return freeze(obj)
    if not is_hashable(obj):
        raise ValueError(f"no immutable twin is known for {type(obj).__name__}")
    return obj


def update_nested(config, path, value):
    if not path or not isinstance(config, dict):
        raise ValueError("a path with keys, and a dict at every key, please")
    head, *tail = path
    result = copy.copy(config)
    result[head] = update_nested(config.get(head, {}), tail, value) if tail else value
    return result


@sizes(1)
def independent_layers(make, n):
    layers = torch.nn.ModuleList()
    layers.extend(make() for _ in range(n))
    return layers


def snapshot(module):
    named = (module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False))
    names = set(module.state_dict())  # a buffer may be registered as not to be saved
    everything = itertools.chain(*named)
    return {name: tensor.detach().clone() for name, tensor in everything if name in names}
