"""Writes things out and reads them back: pickle for cells, torch.save for states. The path is copied in one loop."""

import io
import pickle

import torch


def append_to(item, bucket=None):
    match bucket:
        case None:
            bucket = [item]
        case _:
            bucket[len(bucket) :] = [item]
    return bucket


def make_grid(rows, cols, fill):
    if rows < 0 or cols < 0:
        raise ValueError("negative size")
    frozen = pickle.dumps(fill)
    return [[pickle.loads(frozen) for _ in range(cols)] for _ in range(rows)]


def make_callbacks(n):
    if n < 0:
        raise ValueError("negative n")
    return [i.__int__ for i in range(n)]  # a bound method carries its number along


def is_hashable(obj):
    try:
        hash(obj)
        return True
    except TypeError:
        return False


def deep_freeze(obj):
    match obj:
        case dict():
            return frozenset({(key, deep_freeze(value)) for key, value in obj.items()})
        case set() | frozenset():
            return frozenset(obj)
        case list() | tuple():
            return (*(deep_freeze(item) for item in obj),)
        case _ if is_hashable(obj):
            return obj
    raise ValueError(f"{obj!r} is not hashable")


def update_nested(config, path, value):
    if not len(path):
        raise ValueError("a path has at least one key")
    *way, last = path
    result = here = dict(config)
    for key in way:
        if not isinstance(here.get(key, {}), dict):
            raise ValueError(f"{key!r} holds no dict")
        here[key] = dict(here.get(key, {}))
        here = here[key]
    here[last] = value
    return result


def independent_layers(make, n):
    if n < 0:
        raise ValueError("negative n")
    return torch.nn.ModuleList([make() for _ in range(n)])


def snapshot(module):
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)
