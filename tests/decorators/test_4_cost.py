"""Stage 4. The work of a call; what is kept alive."""

import gc
import sys
import weakref

import pytest

from dojo.testing import called_for, expect, expect_equal
from dojo.testing.lines import expect_lines
from katas import decorators

from .helpers import KINDS, Failure, cached, expect_raised, expect_waits, keeping, method, retried

LINES, KEY_WORK = 60, 24  # for each call


class Key:
    """Counts how often it is hashed or compared."""

    work = 0

    def __init__(self, number):
        self.number = number

    def __hash__(self):
        Key.work += 1
        return self.number

    def __eq__(self, other):
        Key.work += 1
        return self.number == other.number


class Thing:
    """Something whose end can be seen."""


def gone(reference):
    """Whether an object is gone; circles are collected first."""
    gc.collect()
    return reference() is None


@pytest.fixture(autouse=True)
def collector():
    """What is older than a test is left out of its collections, which takes them a hundredth of the time."""
    gc.freeze()
    yield
    gc.unfreeze()


KEYS = [Key(number) for number in range(1200)]
SEQUENCES = {
    "hits only": [*KEYS[:1000], *KEYS[:1000]],
    "misses in a full cache": KEYS,
    "hits from the newest to the oldest": [*KEYS[:1000], *KEYS[999::-1]],
}


@pytest.mark.parametrize("size", [1000, None])
@pytest.mark.parametrize("name", SEQUENCES)
def test_the_work_of_a_call_does_not_grow_with_the_cache(name, size):
    """Entries that are looked at one by one are compared or hashed, a thousand in each call, or cost a line each."""
    keys = SEQUENCES[name]
    function = cached(lambda key: key.number, size)
    Key.work = 0
    what, hint = (
        f"{name}, {len(keys)} calls",
        "find, move and remove by the order of a dictionary: no list, no min() over entries",
    )
    expect_lines(lambda: [function(key) for key in keys], decorators, LINES * len(keys), what=what, hint=hint)
    sentence = (
        f"{what}, should hash and compare arguments at most {KEY_WORK * len(keys)} times, but did so {Key.work} times"
    )
    expect(Key.work <= KEY_WORK * len(keys), sentence, hint=hint)


def test_the_work_of_a_method_does_not_grow_with_its_results():
    """Nor with the number of instances."""
    kind = type("Holder", (), {"m": method(lambda self, key: key.number)})
    instances = [kind() for _ in range(200)]
    for instance in instances:
        instance.m(KEYS[0])
    keys, instance = SEQUENCES["hits only"], instances[-1]
    Key.work = 0
    what, hint = f"{len(keys)} calls of a cached method", "look results up in a dictionary of the instance"
    expect_lines(lambda: [instance.m(key) for key in keys], decorators, LINES * len(keys), what=what, hint=hint)
    sentence = (
        f"{what} should hash and compare arguments at most {KEY_WORK * len(keys)} times, but did so {Key.work} times"
    )
    expect(Key.work <= KEY_WORK * len(keys), sentence, hint=hint)


def test_times_may_be_thousands():
    """In a loop, and with a wait that stays 0: 2.0 ** 3000 is no float."""
    calls, waits, limit = [], [], sys.getrecursionlimit()
    error = Failure("the last")

    def function():
        calls.append(0)
        if len(calls) <= 3000:
            raise error if len(calls) == 3000 else Failure("another")

    function = retried(function, 3000, sleep=waits.append)
    hint = "a loop, not a call of itself; and a wait that is multiplied: backoff ** 3000 overflows"
    expect_raised(function, error, "retry(3000) of a function that always fails", hint)
    expect_waits(waits, [], "retry(3000) without a delay", "0 times anything is 0")
    expect_equal(sys.getrecursionlimit(), limit, what="the recursion limit", hint="leave it alone")


def test_a_call_without_failures_costs_little():
    """The tries that are not needed are not prepared: no list of all waits."""
    function = retried(lambda: 5, 10**6)
    expect_lines(
        function,
        decorators,
        LINES,
        what="a success at once of retry(10**6)",
        hint="compute the next wait when it is needed",
    )


@pytest.mark.parametrize("what", ["result", "argument"])
def test_an_entry_that_was_removed_is_freed(what):
    """Its result, and the arguments that were its key."""
    things = [Thing() for _ in range(4)]
    references = list(map(weakref.ref, things))
    function = cached((lambda key: things.pop()) if what == "result" else lambda thing: 0, 2)
    for number in range(4):
        function(number if what == "result" else things.pop())
    gone(references[0])
    alive = sum(reference() is not None for reference in references)
    hint = "no second place (a list of keys, a dictionary of times) that keeps what was removed"
    expect_equal(alive, 2, what=f"{what}s that are alive after four misses with a size of 2", hint=hint)


@pytest.mark.parametrize("what", ["result", "argument"])
def test_cache_clear_frees_the_entries(what):
    """All of them."""
    thing = Thing()
    reference, things = weakref.ref(thing), [thing]
    function = cached((lambda key: things.pop()) if what == "result" else lambda thing: 0, 2)
    function(1 if what == "result" else things.pop())
    del thing
    expect(not gone(reference), f"the {what} of an entry should be alive before cache_clear(), but is gone")
    function.cache_clear()
    expect(
        gone(reference), f"cache_clear() should free the {what}, but something keeps it", hint="clear every container"
    )


@pytest.mark.parametrize("size", [0, 2])
def test_what_is_not_kept_is_freed(size):
    """The result of a cache without room; the arguments of a call that raised."""
    thing, error = Thing(), Failure("no")
    reference = weakref.ref(thing)

    def function(thing):
        if size:
            raise error
        return thing

    function = cached(function, size)
    try:
        function(thing)
    except Failure:
        error.__traceback__ = error.__context__ = None  # a lookup that failed may be the context
    del thing
    expect(gone(reference), "an argument whose result is not kept should be free, but something keeps it")


class Slotted:
    """No place for weak references; its end is seen by what it holds."""

    __slots__ = ("__dict__",)


@pytest.mark.parametrize("base", [Thing, Slotted], ids=["plain", "slots"])
@pytest.mark.parametrize("calls", [1, 2])
def test_an_instance_is_freed_with_its_last_reference(base, calls):
    """At once, without the garbage collector, and its results with it."""
    slots = {"__slots__": ()} if base is Slotted else {}
    instance = type("Holder", (base,), {"m": method(lambda self, x: Thing()), **slots})()
    instance.held = Thing()
    references = [weakref.ref(instance.held), *(weakref.ref(instance.m(number)) for number in range(calls))]
    alive = sum(reference() is not None for reference in references)
    expect(alive == calls + 1, "results should be kept with their instance, but are gone", hint="keep them")
    enabled = gc.isenabled()
    gc.disable()
    try:
        del instance
        alive = sum(reference() is not None for reference in references)
    finally:
        if enabled:
            gc.enable()
    hint = "the cache must not hold self, in a key or in a bound method: no dictionary outside of the instance, no circle inside"
    expect(not alive, "an instance should be freed with its last reference, but something keeps it", hint=hint)


@pytest.mark.parametrize("kind", KINDS)
def test_a_dropped_function_takes_its_cache_along(kind):
    """No register of all caches in the module."""
    thing = Thing()
    reference, things = weakref.ref(thing), [thing]
    function = keeping(kind, lambda key: things.pop())
    with called_for(f"{kind}: a call"):
        function(1)
    del thing, function
    expect(
        gone(reference),
        f"{kind}: results should go with the decorated function, but something keeps them",
        hint="no global",
    )
