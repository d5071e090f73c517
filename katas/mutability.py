"""Mutability.

Which types are mutable, and where does it bite? Immutable: numbers, str, bytes, None, tuple, frozenset. Mutable: list,
dict, set, bytearray, and almost every other object. Assignment never copies: two names, two cells or two layers may be
one object, and whoever changes it changes it for all. A default argument is made once, a closure looks its variables up
when it is called, and a tuple only promises that its slots stay: (1, [2]) can change inside, and is not hashable.

Tensors add to this. A tensor is mutable *and* hashable (by identity), so as a key it is found only by itself. Basic
indexing, view and transpose return views: an in-place operation on one changes the base. x.detach(), x.numpy() and
torch.from_numpy(a) share memory, x.clone() and torch.tensor(a) copy. state_dict() refers to the live parameters, so a
"saved" one follows the training. [layer] * 3 is one layer three times, with one set of weights.

The eight functions below are the places where this goes wrong most often. "Share" means: a change made through one can
be seen through the other. Unless a docstring says otherwise, no argument is modified.

Stage 1: defaults, grids, closures, hashing.  Stage 2: freezing and updating nested containers; limits.
Stage 3: layers and state dicts.  Stage 4: a best model that survives training, at the price of one copy.
"""

import copy
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from torch import Tensor, nn


def append_to(item: Any, bucket: list[Any] | None = None) -> list[Any]:
    """Appends item, as one element, to bucket in place and returns that list; without a bucket, to a new list.

    A bucket that is given is always used, also an empty one.
    """
    raise NotImplementedError("mutability.append_to: write me")


def make_grid(rows: int, cols: int, fill: Any) -> list[list[Any]]:
    """A list of `rows` lists of `cols` cells, each equal to fill.

    No two rows share anything. Nor do two cells, or a cell and fill, however deeply fill is nested: a mutable fill is
    copied for every cell. Raises ValueError if rows or cols is negative; 0 is fine.
    """
    raise NotImplementedError("mutability.make_grid: write me")


def make_callbacks(n: int) -> list[Callable[[], int]]:
    """n functions without arguments; number i (from 0) returns i, whenever and in whatever order they are called.

    Raises ValueError if n is negative.
    """
    raise NotImplementedError("mutability.make_callbacks: write me")


def is_hashable(obj: object) -> bool:
    """Whether obj can be a key of a dict, as it is now: (1, 2) can, [1, 2] cannot, and neither can (1, [2])."""
    raise NotImplementedError("mutability.is_hashable: write me")


def deep_freeze(obj: Any) -> Hashable:
    """A hashable value with the content of obj, for example to use a nested config as the key of a cache.

    Recursively: list and tuple become a tuple, set and frozenset a frozenset, dict a frozenset of its (key, frozen
    value) pairs; subclasses of these count as these. So equal dicts freeze to equal values whatever the order of
    insertion. Everything else (str, numbers, tensors) is returned as it is. Later changes of obj do not reach the
    result. Raises ValueError if something else in it is not hashable, say a bytearray.

    >>> deep_freeze([1, [2, "ab"]]), deep_freeze({"lr": [0.1, 0.2]}) == frozenset({("lr", (0.1, 0.2))})
    ((1, (2, 'ab')), True)
    """
    raise NotImplementedError("mutability.deep_freeze: write me")


def update_nested(config: dict[Any, Any], path: Sequence[Any], value: Any) -> dict[Any, Any]:
    """A new nested dict that equals config, but for value at path, the keys from the outside in.

    Dicts that are missing on the way are made. The result is new along the path: changing it there does not change
    config. What lies off the path may be shared with config or copied, as you like.
    Raises ValueError if path is empty, or if it leads through something that is not a dict.

    >>> update_nested({"opt": {"lr": 0.1, "name": "sgd"}, "seed": 0}, ("opt", "lr"), 0.2)
    {'opt': {'lr': 0.2, 'name': 'sgd'}, 'seed': 0}
    """
    raise NotImplementedError("mutability.update_nested: write me")


def independent_layers(make: Callable[[], nn.Module], n: int) -> nn.ModuleList:
    """n layers that share no parameter, as a ModuleList, so that a model that holds it trains and moves them all.

    Each layer comes from a call of make() of its own (n calls in all), and so starts from its own random weights.
    Raises ValueError if n is negative.
    """
    raise NotImplementedError("mutability.independent_layers: write me")


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """The module's state as it is now, parameters and buffers, under the names of its state_dict.

    Later training does not change it, and changing it does not change the module. The tensors keep dtype and device
    and have no graph; load_state_dict takes the result. One copy of the state is made, not more.
    """
    raise NotImplementedError("mutability.snapshot: write me")
