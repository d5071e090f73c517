"""Stage 4. Graphs of any depth, and what an operation costs."""

import gc
import sys
import tracemalloc

import pytest

from dojo.testing import called_for, expect, expect_raises
from dojo.testing.lines import expect_lines
from katas import autograd_engine
from katas.autograd_engine import Value

from .helpers import expect_number

MAKE, BACKWARD, ONCE = 60, 100, 200
KEPT = (
    "a Value may know what it was made from, and nothing made from it; a closure that names its own result is a cycle"
)


def chain(length):
    """(leaf, result): `length` operations one after the other, with derivative -1 or 1 each."""
    leaf = result = Value(0.5)
    for number in range(length):
        result = result + 1 if number % 2 else 1 - result
    return leaf, result


def ladder(length):
    """(leaf, result): each result is used twice by the next."""
    leaf = result = Value(0.5)
    for _ in range(length):
        result = result + result
    return leaf, result


def comb(length):
    """(leaf, result): the leaf is used by every operation."""
    leaf = result = Value(0.5)
    for _ in range(length):
        result = result + leaf
    return leaf, result


GRAPHS = {  # name -> (graph, number of operations, the leaf's gradient)
    "a chain of 400": (chain, 400, 1.0),
    "a chain of 1600": (chain, 1600, 1.0),
    "a leaf used 800 times": (comb, 800, 801.0),
    "b = b + b forty times": (ladder, 40, 2.0**40),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_the_work_of_an_operation_is_bounded(name):
    """When it is made, and in backward: paths are many, operations few."""
    graph, operations, right = GRAPHS[name]
    most = MAKE * operations + ONCE
    hint = "an operation looks at its operands only, not at all that they were made from"
    leaf, result = expect_lines(lambda: graph(operations), autograd_engine, most, what=f"making {name}", hint=hint)
    hint = "visit every Value once, however many paths lead to it"
    most = BACKWARD * operations + ONCE
    with called_for(f"backward of {name}", hint="depth must not be limited by recursion"):
        expect_lines(result.backward, autograd_engine, most, what=f"backward of {name}", hint=hint)
    expect_number(leaf.grad, right, f"the leaf's grad after backward of {name}")


def test_a_deep_graph_has_gradients():
    """Six thousand operations, as a loop over time steps makes them. Recursion ends at a thousand."""
    limit = sys.getrecursionlimit()
    leaf, result = chain(6000)
    with called_for("backward of a chain of 6000 operations", hint="a stack of your own instead of recursion"):
        result.backward()
    expect_number(leaf.grad, 1.0, "the leaf's grad after backward of a chain of 6000")
    expect(sys.getrecursionlimit() == limit, "the recursion limit should be left alone", hint="use a stack of your own")


def test_values_are_not_looked_up_in_lists(monkeypatch):
    """`value in visited` compares with each of them, if it is a list: quadratic, without a line of Python."""
    _, result = chain(400)
    count = 0

    def equal(one, other):
        nonlocal count
        count += 1
        return one is other

    monkeypatch.setattr(Value, "__eq__", equal)
    result.backward()
    sentence = f"backward of a chain of 400 should compare at most 8200 pairs of Values, but compares {count}"
    expect(count <= 20 * 400 + ONCE, sentence, hint="a set or a dictionary of those visited, not a list")


def test_memory_per_operation_is_bounded():
    """A list of all that came before, in every Value, would be quadratic."""
    tracemalloc.start()
    try:
        _, result = chain(1200)
        each = tracemalloc.get_traced_memory()[0] / 1200
    finally:
        tracemalloc.stop()
    result.backward()
    sentence = f"an operation should take at most 4096 bytes, but takes {each:.0f} in a chain of 1200"
    expect(each <= 4096, sentence, hint="keep the operands only")


@pytest.mark.parametrize("after", [False, True], ids=["before backward", "after backward"])
def test_a_dropped_graph_is_freed_at_once(after):
    """Not when the garbage collector comes by. What is counted are blocks of memory, of which an operation has several."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        for _ in range(3):  # the first times fill caches
            before = sys.getallocatedblocks()
            _, result = chain(300)
            if after:
                result.backward()
            del _, result
            left = sys.getallocatedblocks() - before
    finally:
        if enabled:
            gc.enable()
    when = "after its backward" if after else "without a backward"
    sentence = f"a graph of 300 operations that is dropped {when} should leave nothing, but leaves {left} blocks"
    expect(left < 300, sentence, hint=KEPT)


def test_a_failed_operation_leaves_no_trace():
    """The operands can be used as before."""
    a = Value(0.0)
    with expect_raises(ZeroDivisionError, what="1 / Value(0.0)"):
        1 / a
    (a * 3).backward()
    expect_number(a.grad, 3.0, "a.grad after 1 / a, which raised, and (a * 3).backward()")
