"""torch.utils.checkpoint, without reentry. Its checkpoint_sequential leaves the last segment plain and gives it the whole
remainder, so that here the segments before the last are its own, of one length, and its last segment is empty."""

import importlib
import math

from torch import nn

library = importlib.import_module("torch.utils.checkpoint")  # by its name: the tests refuse the import


def checkpoint(function, *args):
    return library.checkpoint(function, *args, use_reentrant=False)


def checkpoint_sequential(layers, segments, x):
    if not 1 <= segments <= len(layers):
        raise ValueError("segments")
    size = math.ceil(len(layers) / segments)
    rest = len(layers) % size or size
    first = nn.Sequential(*layers[: len(layers) - rest])
    last = nn.Sequential(*layers[len(layers) - rest :])
    if len(first):
        count = len(first) // size
        runs = [nn.Sequential(*first[i * size : (i + 1) * size]) for i in range(count)]
        x = library.checkpoint_sequential([*runs, nn.Identity()], count + 1, x, use_reentrant=False)
    return checkpoint(last, x)


def best_segments(layers):
    if layers < 1:
        raise ValueError("layers")
    return min(range(1, layers + 1), key=lambda s: (s + math.ceil(layers / s), s))
