"""Stage 2. Freezing and updating nested containers; limits."""

import copy
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from dojo.testing import expect, expect_close, expect_equal, expect_raises
from katas.mutability import deep_freeze, independent_layers, is_hashable, make_callbacks, make_grid, update_nested


class EqualOnly:
    """Defines __eq__, which takes __hash__ away."""

    def __eq__(self, other):
        return isinstance(other, EqualOnly)


@dataclass
class Mutable:
    value: int = 0


@dataclass(frozen=True)
class Frozen:
    value: int = 0


class HashableDict(dict):
    """Mutable all the same."""

    __hash__ = object.__hash__


@pytest.mark.parametrize(
    ("obj", "want"),
    [
        *((obj, True) for obj in (torch.zeros(2), nn.Identity(), object(), Frozen())),
        *((obj, False) for obj in (EqualOnly(), Mutable(), np.zeros(2), Frozen([1]))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_hashable_does_not_mean_immutable(obj, want):
    """Tensors, modules and plain objects hash by identity though they can change. A class that defines __eq__ alone
    (a dataclass does) loses its hash; numpy arrays have none."""
    hint = "no list of types answers this, and neither does mutability: only hash() knows"
    expect_equal(is_hashable(obj), want, what=f"is_hashable of a {type(obj).__name__}", hint=hint)


def test_cells_of_a_grid_do_not_share_a_mutable_fill():
    """[[fill] * cols for _ in range(rows)] repairs the rows and leaves the cells: all hold the same list."""
    fill = [0, {"inner": []}]
    grid = make_grid(2, 2, fill)
    expect_equal(grid, [[fill, fill], [fill, fill]], what="the new grid")
    grid[0][0].append(1)
    grid[0][1][1]["inner"].append(2)
    fill[1]["inner"].append(3)
    want = [[[0, {"inner": []}, 1], [0, {"inner": [2]}]], [[0, {"inner": []}], [0, {"inner": []}]]]
    hint = "copy.deepcopy(fill) for every cell: copy.copy shares what is inside"
    expect_equal(grid, want, what="the grid after changes in two cells and in fill", hint=hint)


def test_what_a_fill_holds_is_copied_whatever_the_fill_is():
    """A tuple only promises that its slots stay, and a tensor is mutable though it is hashable: neither list nor hash
    tells what can be shared."""
    fill, hint = ([1],), "copy.deepcopy(fill), whatever its type: (1, [2]) and tensors can change, too"
    grid = make_grid(1, 2, fill)
    grid[0][0][0].append(2)
    expect_equal(
        (grid, fill), ([[([1, 2],), ([1],)]], ([1],)), what="grid and fill after a change in cell 0", hint=hint
    )
    fill = torch.zeros(2)
    grid = make_grid(1, 2, fill)
    grid[0][0].add_(1)
    fill.add_(5)
    expect_equal([cell.tolist() for cell in grid[0]], [[1, 1], [0, 0]], what="cells of a tensor, changed", hint=hint)


@pytest.mark.parametrize(("rows", "cols", "want"), [(0, 3, []), (2, 0, [[], []]), (0, 0, [])])
def test_a_grid_may_be_empty(rows, cols, want):
    """Nothing to fill is no error."""
    expect_equal(make_grid(rows, cols, 1), want, what=f"make_grid({rows}, {cols}, 1)")


def test_callbacks_do_not_depend_on_each_other():
    """In any order, as often as one likes, and beside those of another call."""
    callbacks, more = make_callbacks(3), make_callbacks(2)
    order = [callbacks[2], callbacks[0], more[1], callbacks[2], more[0], callbacks[1]]
    hint = "each function holds its own number: no counter, and nothing that is used up"
    expect_equal([c() for c in order], [2, 0, 1, 2, 0, 1], what="callbacks 2, 0, 1', 2, 0', 1", hint=hint)
    expect_equal(len(make_callbacks(0)), 0, what="the number of callbacks for n=0")


def test_nested_containers_are_frozen_all_the_way_down():
    """A tuple of lists is as unhashable as a list: every level needs its immutable twin."""
    obj = {"a": [1, {"b": {2, 3}}], "c": ([4], "text")}
    inner = frozenset({("b", frozenset({2, 3}))})
    hint = "recurse into the elements of lists and tuples and into the values of dicts"
    expect_equal(
        deep_freeze(obj), frozenset({("a", (1, inner)), ("c", ((4,), "text"))}), what=f"deep_freeze({obj})", hint=hint
    )
    expect(is_hashable(deep_freeze(obj)), "the frozen value should be hashable, but is not", hint=hint)


def test_equal_dicts_freeze_to_equal_keys():
    """Dicts compare without regard to order; tuple(d.items()) does not, and the cache misses."""
    one, other = {"lr": 0.1, "betas": [0.9, 0.99]}, {"betas": [0.9, 0.99], "lr": 0.1}
    hint = "a frozenset of (key, value) pairs has no order"
    expect_equal({deep_freeze(one): "hit"}.get(deep_freeze(other)), "hit", what="the cache's answer", hint=hint)
    for changed in ({"lr": 0.1}, {"lr": 0.2, "betas": [0.9, 0.99]}, {"lr": 0.1, "betas": [0.99, 0.9]}):
        expect(deep_freeze(one) != deep_freeze(changed), f"{one} and {changed} differ, but freeze to the same value")


@pytest.mark.parametrize(
    ("obj", "want"),
    [
        *((leaf, leaf) for leaf in ("ab", b"ab", 3, None)),
        ([], ()),
        ([("a", [1])], (("a", (1,)),)),
        ({}, frozenset()),
        (OrderedDict(a=[1]), frozenset({("a", (1,))})),
        (defaultdict(list, a=[1]), frozenset({("a", (1,))})),
        (HashableDict(a=1), frozenset({("a", 1)})),
        ({1, 2}, frozenset({1, 2})),
        (frozenset({1}), frozenset({1})),
    ],
    ids=repr,
)
def test_each_type_freezes_to_its_own_twin(obj, want):
    """A string is a leaf though it can be iterated. An OrderedDict is a dict: isinstance sees it, type(...) == does
    not. And a dict that can be hashed can change still: ask for containers first, for hash() last."""
    found = deep_freeze(obj)
    hint = "dict: frozenset of pairs; list, tuple: tuple; set: frozenset; anything else as it is"
    expect_equal(type(found).__name__, type(want).__name__, what=f"the type of deep_freeze({obj!r})", hint=hint)
    expect_equal(found, want, what=f"deep_freeze({obj!r})", hint=hint)


def test_freezing_leaves_its_argument_alone_and_keeps_apart_from_it():
    """What was frozen as a key must not change with the config, and the config stays as usable as it was."""
    obj = {"a": [1, {"b": {2}}]}
    frozen = deep_freeze(obj)
    expect_equal(obj, {"a": [1, {"b": {2}}]}, what="the argument", hint="build new containers")
    obj["a"][1]["b"].add(3)
    obj["a"].append(4)
    expect_equal(frozen, deep_freeze({"a": [1, {"b": {2}}]}), what="the frozen value after the original has changed")


def test_an_update_changes_the_value_at_its_path_and_nothing_else():
    """The lr of one run of a sweep, in a config that all runs share."""
    config = {"opt": {"lr": 0.1, "betas": [0.9, 0.99]}, "data": {"size": 32}, "seed": 0}
    before = copy.deepcopy(config)
    updated = update_nested(config, ("opt", "lr"), 0.2)
    want = {"opt": {"lr": 0.2, "betas": [0.9, 0.99]}, "data": {"size": 32}, "seed": 0}
    hint = "each new dict takes over what its old one held beside the path"
    expect_equal(updated, want, what="update_nested(config, ('opt', 'lr'), 0.2)", hint=hint)
    hint = "dict(config) and config.copy() are shallow: copy every dict along the path"
    expect_equal(config, before, what="the config after the update", hint=hint)
    updated["opt"]["momentum"] = 0.9
    updated["seed"] = 1
    expect_equal(config, before, what="the config after the updated one was changed along the path", hint=hint)
    expect_equal(update_nested(config, ["seed"], 5), {**before, "seed": 5}, what="update_nested(config, ['seed'], 5)")


def test_missing_dicts_on_the_way_are_made():
    """Also in an empty config, and under keys that are false: 0 and '' are keys like others."""
    config = {"a": {}}
    found = update_nested(config, ("a", "b", "c"), 1)
    expect_equal(found, {"a": {"b": {"c": 1}}}, what="update_nested({'a': {}}, ('a', 'b', 'c'), 1)")
    expect_equal(
        config, {"a": {}}, what="the config after that", hint="setdefault writes into the dict it is called on"
    )
    expect_equal(update_nested({}, (0, ""), None), {0: {"": None}}, what="update_nested({}, (0, ''), None)")
    found = update_nested({"a": {"b": 1}}, ("a",), {"c": 2})
    expect_equal(
        found, {"a": {"c": 2}}, what="update_nested({'a': {'b': 1}}, ('a',), {'c': 2})", hint="replace, not merge"
    )


@pytest.mark.parametrize("kind", [OrderedDict, partial(defaultdict, int)], ids=["OrderedDict", "defaultdict"])
def test_a_path_may_lead_through_subclasses_of_dict(kind):
    """Configs come from libraries: an OrderedDict is a dict, and a defaultdict must not grow when it is only read."""
    config = kind(a=kind(b=1))
    hint = "isinstance(config, dict), not type(config) is dict"
    expect_equal(update_nested(config, ("a", "b"), 2), {"a": {"b": 2}}, what="the updated config", hint=hint)
    update_nested(config, ("x", "y"), 2)
    expect_equal(config, {"a": {"b": 1}}, what="the config after two updates", hint="ask with get, not with []")


def test_the_path_is_not_used_up():
    """path.pop(0) takes the caller's list apart, and the second run of the sweep sets something else."""
    path = ["a", "b"]
    update_nested({"a": {"b": 1}}, path, 2)
    expect_equal(path, ["a", "b"], what="the path after the call", hint="slice it, or unpack it: key, *rest = path")


def test_a_tensor_is_frozen_as_it_is():
    """A tensor is hashable: a leaf. It hashes by identity."""
    weight = torch.arange(3.0)
    frozen = deep_freeze({"w": [weight]})
    ((_, (leaf,)),) = frozen
    expect_close(leaf, weight, what="a frozen tensor", hint="leave it as it is")
    hint = "leave leaves as they are: a tensor hashes by identity, and a copy of it is another key"
    expect_equal({frozen: "hit"}.get(deep_freeze({"w": [weight]})), "hit", what="the cache's answer", hint=hint)


def test_negative_sizes_are_an_error():
    """range(-1) is empty and [0] * -1 too: without a check, a wrong sign gives an empty result far from its cause."""
    for rows, cols in ((-1, 2), (2, -1), (0, -1)):
        with expect_raises(ValueError, what=f"make_grid({rows}, {cols}, 0)"):
            make_grid(rows, cols, 0)
    with expect_raises(ValueError, what="make_callbacks(-1)"):
        make_callbacks(-1)
    with expect_raises(ValueError, what="independent_layers(make, -1)"):
        independent_layers(nn.Identity, -1)


def test_what_cannot_be_hashed_cannot_be_frozen():
    """A key that fails only later, in the dict, is found far from where it was made."""
    for obj in (bytearray(b"ab"), [1, bytearray(b"ab")], {"a": Mutable()}, np.zeros(2)):
        with expect_raises(ValueError, what=f"deep_freeze({obj!r})", hint="ask is_hashable of every other leaf"):
            deep_freeze(obj)


@pytest.mark.parametrize("value", [1, None, [1], "text", 0], ids=repr)
def test_a_path_through_something_else_is_an_error(value):
    """Replacing a number by a dict in silence hides a misspelt path."""
    with expect_raises(ValueError, what=f"a path through {value!r}", hint="only dicts can be descended into"):
        update_nested({"a": value}, ("a", "b"), 2)
    with expect_raises(ValueError, what="an empty path", hint="there is no key to set"):
        update_nested({"a": value}, (), 2)
