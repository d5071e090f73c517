"""Stage 1. Defaults, grids, closures, hashing."""

import pytest

from dojo.testing import expect_equal
from katas.mutability import append_to, is_hashable, make_callbacks, make_grid


def test_without_a_bucket_every_call_starts_a_new_list():
    """A default argument is made once, when `def` runs: as a default, [] would be one list for all calls."""
    first, second = append_to(1), append_to(2)
    first.append(3)
    hint = "default None, and a new list in the body of the function"
    expect_equal((first, second, append_to(4)), ([1, 3], [2], [4]), what="three lists made without a bucket", hint=hint)


@pytest.mark.parametrize("start", [[], [1, 2]], ids=str)
def test_the_callers_bucket_is_changed_and_returned(start):
    """In place means that the caller sees it. An empty list is false: `bucket or []` gives it up for another one."""
    bucket = list(start)
    result = append_to(7, bucket)
    hint = "append to the list that was given, also to an empty one (test `is None`, not truth), and return it"
    expect_equal(bucket, [*start, 7], what=f"the caller's list, {start} before append_to(7, bucket)", hint=hint)
    expect_equal(result, [*start, 7], what="the result", hint="list.append returns None")
    result.append(8)
    expect_equal(bucket, [*start, 7, 8], what="the caller's list after appending 8 to the result", hint=hint)


def test_a_list_is_appended_as_one_item():
    """`bucket += item` and extend() take a list apart."""
    expect_equal(append_to([1, 2], [0]), [0, [1, 2]], what="append_to([1, 2], [0])", hint="append, not extend")


def test_the_rows_of_a_grid_are_lists_of_their_own():
    """[[0] * cols] * rows is one row, seen `rows` times."""
    grid = make_grid(3, 2, 0)
    expect_equal(grid, [[0, 0], [0, 0], [0, 0]], what="make_grid(3, 2, 0)", hint="3 rows of 2 cells")
    grid[0][1] = 5
    hint = "make a new list for each row: a comprehension over the rows, not * rows"
    expect_equal(grid, [[0, 5], [0, 0], [0, 0]], what="the grid after grid[0][1] = 5", hint=hint)


def test_every_callback_returns_its_own_number():
    """A lambda in a loop looks i up when it is called, and by then the loop has left it at its last value."""
    hint = "bind i while you make the function: a default argument, functools.partial, or a function that makes it"
    expect_equal([callback() for callback in make_callbacks(4)], [0, 1, 2, 3], what="four callbacks", hint=hint)


@pytest.mark.parametrize("obj", [1, 0.5, "ab", b"ab", None, True, (), (1, 2), frozenset({1}), len, int], ids=repr)
def test_immutable_values_and_functions_are_hashable(obj):
    """Numbers, strings, tuples of them, functions, classes: all can be keys."""
    expect_equal(is_hashable(obj), True, what=f"is_hashable({obj!r})", hint="ask hash() itself")


@pytest.mark.parametrize("obj", [[], [1, 2], {}, {1}, bytearray(b"ab"), (1, [2]), ((1, {}), 2)], ids=repr)
def test_mutable_containers_and_tuples_that_hold_them_are_not_hashable(obj):
    """isinstance(obj, Hashable) sees only that tuples have a __hash__, not that this one's would fail."""
    expect_equal(is_hashable(obj), False, what=f"is_hashable({obj!r})", hint="call hash(obj) and catch the TypeError")
