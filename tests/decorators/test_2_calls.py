"""Stage 2. Exceptions and waits, the order of eviction, sizes of None and 0."""

import pytest

from dojo.testing import expect, expect_equal

from .helpers import (
    TOO_MANY,
    cached,
    described,
    ending,
    expect_count,
    expect_info,
    expect_raised,
    expect_result,
    expect_runs,
    expect_waits,
    failures,
    planned,
    recorded,
    retried,
    runs,
)

SECONDS = 2.0**-10


@pytest.mark.parametrize(
    ("error", "exceptions", "again"),
    [
        (ValueError("no"), (ValueError,), True),
        (KeyError("no"), (ValueError,), False),
        (KeyError("no"), (ValueError, KeyError), True),
        (ValueError("no"), (ValueError, KeyError), True),
        (KeyError("no"), (LookupError,), True),
        (LookupError("no"), (KeyError,), False),
        (OSError("no"), (), False),
    ],
    ids=["listed", "another", "listed second", "listed first", "subclass", "base class", "none is listed"],
)
def test_only_listed_exceptions_are_tried_again(error, exceptions, again):
    """A subclass is listed with its class, and not the other way round. Others are no reason to call again, nor to go on."""
    function, calls = planned(error, 5)
    function = retried(function, 3, exceptions, sleep=lambda _: None)
    listed = ", ".join(kind.__name__ for kind in exceptions)
    what = f"retry(3, ({listed})) after {error!r}"
    if again:
        expect_result(function, 5, what, "`except exceptions` catches subclasses, and each class of the tuple")
    else:
        expect_raised(function, error, what, "catch `exceptions` alone; what is not caught passes on by itself")
        expect_count(calls, 1, what)


@pytest.mark.parametrize("result", [None, 0, False, "", []], ids=repr)
def test_any_result_is_a_success(result):
    """Also one that is false."""
    function, calls = planned(result)
    expect_result(retried(function, 3), result, f"a function that returns {result!r}", "only exceptions are failures")
    expect_count(calls, 1, f"a result of {result!r}")


def test_every_call_begins_anew():
    """Tries and waits belong to one call, not to the decorated function."""
    waits = []
    function, _ = planned(*failures(2), 1, *failures(2), 2, *failures(2), 3)
    function = retried(function, 3, delay=SECONDS, sleep=waits.append)
    for number in (1, 2, 3):
        hint = "count the tries in a local variable of the wrapper"
        expect_result(function, number, f"call {number}, with two failures and a success,", hint)
    hint = "keep the next wait in a local variable of the wrapper, and begin with `delay`"
    expect_waits(waits, [SECONDS, 2 * SECONDS] * 3, "three calls, each with two failures,", hint)


def test_after_a_call_that_failed_the_next_begins_anew():
    """With all its tries."""
    waits, errors = [], failures(2)
    function, _ = planned(*errors, failures(1)[0], 8)
    function = retried(function, 2, delay=SECONDS, sleep=waits.append)
    expect_raised(function, errors[-1], "a call with failures only")
    expect_result(function, 8, "the next call, with a failure and a success,", "count the tries inside the wrapper")
    expect_waits(waits, [SECONDS] * 2, "both calls", "begin with `delay` in every call")


@pytest.mark.parametrize(("backoff", "right"), [(0.0, 1), (0.5, 3), (1.0, 3)])
def test_a_backoff_may_be_small(backoff, right):
    """0 leaves one wait, 1 keeps it as it is."""
    waits = []
    retried(planned(*failures(3), 0)[0], 4, delay=SECONDS, backoff=backoff, sleep=waits.append)()
    expect_waits(waits, [SECONDS * backoff**n for n in range(right)], f"retry(4, delay={SECONDS}, backoff={backoff})")


def test_the_defaults_of_retry():
    """No wait, a backoff of 2, every Exception."""
    waits = []
    retried(planned(*failures(2), 0)[0], 3, sleep=waits.append)()
    expect_waits(waits, [], "retry(3), without a delay,")
    retried(planned(OSError(), KeyError(), 0)[0], 3, delay=SECONDS, sleep=waits.append)()
    expect_waits(waits, [SECONDS, 2 * SECONDS], f"retry(3, delay={SECONDS})", "backoff is 2 by default")


@pytest.mark.parametrize("decorate", [lambda f: retried(f, 3), lambda f: cached(f, 4)], ids=["retry", "lru_cache"])
def test_keywords_may_have_any_name(decorate):
    """Also those of the decorators and of what is inside them. They are the function's."""
    names = (
        "times",
        "exceptions",
        "delay",
        "backoff",
        "sleep",
        "wait",
        "attempt",
        "function",
        "func",
        "fn",
        "maxsize",
        "key",
    )
    keywords = {name: number for number, name in enumerate((*names, "cache", "args", "kwargs"))}
    function, _ = recorded()
    hint = "def wrapper(*args, **kwargs), without parameters of its own; bind other values by a closure"
    expect_result(
        lambda: decorate(function)(**keywords), described((), keywords), "f(times=0, exceptions=1, ...)", hint
    )


@pytest.mark.parametrize("decorate", [lambda f: retried(f, 3), lambda f: cached(f, 4)], ids=["retry", "lru_cache"])
def test_a_method_can_be_decorated(decorate):
    """`self` is one more argument."""

    class Holder:
        def __init__(self, number):
            self.number = number

        @decorate
        def plus(self, other):
            return self.number + other

    one, two = Holder(1), Holder(2)
    hint = "return a function; a class as a wrapper needs __get__"
    for holder in (one, two, one):
        expect_result(lambda holder=holder: holder.plus(5), holder.number + 5, f"plus(5) of {holder.number}", hint)


@pytest.mark.parametrize(
    ("size", "keys", "right"),
    [
        (2, "AAABCA", "A..BCA"),
        (3, "ABCABDABCD", "ABC..D..CD"),
        (3, "ABCBADCAB", "ABC..DC.B"),
        (3, "ABCCCADBC", "ABC...DBC"),
    ],
)
def test_every_use_moves_an_entry_to_the_end(size, keys, right):
    """How often it was used does not matter, nor when it came in."""
    function, calls = recorded()
    hint = "when it is full, the entry whose last use is longest ago goes"
    expect_runs(cached(function, size), calls, keys, right, f"with a size of {size}", hint)


def test_a_call_that_raises_removes_no_entry():
    """It brings no new one, and is a miss all the same."""
    function, calls = planned("a", "b", *failures(2), TOO_MANY)
    function = cached(function, 2)
    function("A")
    function("B")
    for key in "CD":
        _, error = ending(lambda key=key: function(key))
        expect(error is not None, "a call whose function raises should raise")
    hint = "make room after the function has returned, when there is a result to be kept"
    expect_equal(
        runs(function, calls, "AB"), "..", what="after A, B and two calls that raised, A and B (. is a hit)", hint=hint
    )
    expect_info(function, 2, 4, 2, 2, "A, B, two calls that raised, A, B", "a call that is no hit is a miss")
    function = cached(planned(*failures(2), TOO_MANY)[0], 3)
    for key in "AB":
        ending(lambda key=key: function(key))
    expect_info(function, 0, 2, 3, 0, "two calls that raised", "currsize is the number of entries, not that of misses")


def test_no_limit_with_none():
    """Far more than 128 entries stay."""
    function, calls = recorded()
    function = cached(function, None)
    for number in (*range(300), *range(300)):
        function(number)
    expect_count(calls, 300, "lru_cache(None): 300 arguments, each twice,", "None means that nothing is removed")
    expect_info(function, 300, 300, None, 300, "300 arguments, each twice")


def test_nothing_is_kept_with_a_size_of_0():
    """Calls are counted all the same."""
    function, calls = recorded()
    function = cached(function, 0)
    expect_runs(function, calls, "AABA", "AABA", "with a size of 0", "0 is not None: `if not maxsize` confuses them")
    expect_info(function, 0, 4, 0, 0, "four calls with a size of 0")


def test_the_default_size_is_128():
    """The first of 128 is there, the first of 129 is not."""
    function, calls = recorded()
    function = cached(function)
    for number in (*range(128), 0):
        function(number)
    expect_count(calls, 128, "lru_cache(): 128 arguments and the first again")
    function(128)
    function(1)
    expect_count(calls, 130, "lru_cache(): a 129th argument, and the second again,", "the default maxsize is 128")
    expect_info(function, 1, 130, 128, 128, "131 calls")
